"""A folder of aligned photos, with optional ground truth beside each."""

import operator
import os
import pathlib
import zlib
from typing import Any

import numpy as np
from PIL import Image

from affjax.data._pictures import find_pictures
from affjax.data._record_source import Record, RecordFacts
from affjax.types import Template

_MOST_PIXELS = 100_000_000


class FolderSource:
  """Aligned photos of a folder; `name.npz` beside `name.png` holds ground truth.

  The archive may hold `visible` uint8 `[H, W, 1]`, `vertices` `[V, 3]`, `pose` `[6]`
  and `diffuse` uint8 `[S, S, 3]`. A photo without an archive is visible everywhere, has
  the template's mean shape, and `has_pose` and `has_diffuse` of 0. A diffuse map may
  also be a picture beside the photo, as `find_pictures` describes.

  Args:
    folder: Folder of the photos, which are the records, sorted by name.
    template: Template; its mean shape stands for unknown shapes.
    size: Width and height of the records' photos; others are resized.
    map_size: S, width and height of the diffuse maps.

  Raises:
    ValueError: There is no such folder, or no photo in it.
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    template: Template,
    *,
    size: int,
    map_size: int,
  ):
    self._folder = pathlib.Path(folder)
    if not self._folder.is_dir():
      raise ValueError(f"folder must be a folder of photos, got {str(folder)!r}")
    pictures = find_pictures(self._folder)
    if not pictures:
      raise ValueError(f"folder {str(folder)!r} holds no photos")
    self._paths = list(pictures)
    self._maps = list(pictures.values())
    self._template, self._size, self._map_size = template, size, map_size
    self.facts = RecordFacts(template.name, len(template.vertices), size, map_size)

  @property
  def names(self) -> list[str]:
    """Names of the photos without their suffixes, by index."""
    return [path.stem for path in self._paths]

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, index: int) -> Record:
    if not -len(self) <= operator.index(index) < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} photos")
    path = self._paths[index]
    size, maps = self._size, self._map_size
    known = _read_archive(path.with_suffix(".npz"))
    if (map_path := self._maps[index]) is not None:
      known["diffuse"] = _read_image(map_path, maps)
    record: dict[str, np.ndarray] = {
      "image": _read_image(path, size),
      "visible": np.full((size, size, 1), 255, np.uint8),
      "vertices": self._template.vertices.astype(np.float32),
      "pose": np.zeros(6, np.float32),
      "diffuse": np.zeros((maps, maps, 3), np.uint8),
      "light": np.ones((maps // 8, maps // 8, 1), np.float32),
      "light_color": np.ones(3, np.float32),
      "has_pose": np.asarray("pose" in known, np.float32),
      "has_diffuse": np.asarray("diffuse" in known, np.float32),
    }
    for name, value in known.items():
      if name in record:
        record[name] = _like(value, np.asarray(record[name]), name, path)
    return record

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records: names, sizes and times of the files."""
    stamp = 0
    for path, map_path in zip(self._paths, self._maps, strict=True):
      for file in (path, path.with_suffix(".npz"), map_path):
        if file is not None and file.exists():
          about = file.stat()
          line = f"{file.name} {about.st_size} {about.st_mtime_ns}"
          stamp = zlib.crc32(line.encode(), stamp)
    return {
      "source": "FolderSource",
      "template": self._template.name,
      "count": len(self),
      "size": self._size,
      "map_size": self._map_size,
      "files": stamp,
    }


def _read_image(path: pathlib.Path, size: int) -> np.ndarray:
  try:
    with Image.open(path) as image:
      if image.width * image.height > _MOST_PIXELS:
        raise ValueError(f"photo {path.name!r} has too many pixels: {image.size}")
      picture = image.convert("RGB")
      if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
      return np.asarray(picture)
  except (OSError, Image.DecompressionBombError) as error:
    raise ValueError(f"cannot read photo {path.name!r}: {error}") from error


def _read_archive(path: pathlib.Path) -> Record:
  if not path.exists():
    return {}
  try:
    with np.load(path, allow_pickle=False) as archive:
      return {name: archive[name] for name in archive.files}
  except Exception as error:  # NumPy raises errors of many types on damaged files.
    raise ValueError(f"cannot read ground truth {path.name!r}: {error}") from error


def _like(
  value: np.ndarray, like: np.ndarray, name: str, path: pathlib.Path
) -> np.ndarray:
  """Returns a value in the type of another after checking its shape."""
  if value.shape != like.shape or value.dtype.kind not in "uif":
    raise ValueError(
      f"{name} of {path.with_suffix('.npz').name!r} must have shape {like.shape}, got "
      f"{value.dtype} {value.shape}"
    )
  return value.astype(like.dtype)
