"""Contact sheets of the networks' results for a few photos."""

import io
import pathlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Array
from PIL import Image, ImageDraw

from affjax import files

_CELL = 128
_HEADER = 14
_ROWS = 8
# A jitted function returns its dict sorted by name.
_ORDER = (
  "photo",
  "overlay",
  "render",
  "diffuse",
  "light",
  "position",
  "true position",
  "mirrored",
  "canonical",
  "albedo",
  "depth",
  "shape",
  "confidence",
)


def sheet(
  maps: Mapping[str, Array], *, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
  """Returns a sheet with one row a sample and one column a map.

  Args:
    maps: Pictures of an `Evaluation`; the first eight samples are shown.
    low: Smallest position of the head, `[3]`, dm: black in the position maps.
    high: Largest position of the head, `[3]`, dm: white.

  Returns:
    The sheet, uint8 `[height, width, 3]`.
  """
  columns = {name: np.asarray(maps[name]) for name in _ORDER if name in maps}
  for name in ("position", "true position"):
    if name in columns:
      columns[name] = _scaled(columns[name], low, high)
  if "light" in columns:
    # Light has no upper bound; half gray is light 1, which leaves the color alone.
    columns["light"] = columns["light"] / 2
  return _tabulate(columns)


def save(path: pathlib.Path, picture: np.ndarray) -> None:
  """Writes a PNG file; makes its folder."""
  path.parent.mkdir(parents=True, exist_ok=True)
  content = io.BytesIO()
  Image.fromarray(picture).save(content, format="PNG")
  files.write_file(path, content.getvalue())


def _scaled(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """Returns positions as colors, black where there is no head."""
  colors = (values - low) / np.maximum(high - low, 1e-6)
  return np.where((values == 0).all(-1, keepdims=True), 0.0, colors)


def _tabulate(columns: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns cells of one size under a line of names."""
  rows = min(_ROWS, min(len(values) for values in columns.values()))
  width = _CELL * len(columns)
  page = Image.new("RGB", (width, _HEADER + _CELL * rows))
  write = ImageDraw.Draw(page)
  for column, (name, values) in enumerate(columns.items()):
    write.text((column * _CELL + 4, 1), name, fill=(255, 255, 255))
    for row in range(rows):
      page.paste(_cell(values[row]), (column * _CELL, _HEADER + row * _CELL))
  return np.asarray(page)


def _cell(image: np.ndarray) -> Image.Image:
  image = np.nan_to_num(image.astype(np.float32))
  pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
  if pixels.shape[-1] == 1:
    pixels = np.repeat(pixels, 3, -1)
  larger = max(pixels.shape[:2]) < _CELL
  method = Image.Resampling.NEAREST if larger else Image.Resampling.BOX
  return Image.fromarray(pixels).resize((_CELL, _CELL), method)
