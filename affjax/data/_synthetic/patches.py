"""Backgrounds cut from a folder of photographs."""

import pathlib

import numpy as np
from PIL import Image

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_MOST_PIXELS = 50_000_000


class PhotoPatches:
  """Random square cuts of the photos of a folder.

  Args:
    folder: Folder of photos; subfolders are not read.

  Raises:
    ValueError: There is no such folder, or no image in it.
  """

  def __init__(self, folder: str | pathlib.Path):
    self._folder = pathlib.Path(folder)
    if not self._folder.is_dir():
      raise ValueError(f"backgrounds must be a folder, got {str(folder)!r}")
    self._paths = sorted(
      p for p in self._folder.iterdir() if p.suffix.lower() in _SUFFIXES
    )
    if not self._paths:
      raise ValueError(f"backgrounds folder {str(folder)!r} holds no images")

  def names(self) -> list[str]:
    """Returns the file names, sorted."""
    return [path.name for path in self._paths]

  def patch(self, rng: np.random.Generator, size: int) -> np.ndarray:
    """Returns a random cut, float32 `[size, size, 3]` in [0, 1].

    Raises:
      ValueError: The file cannot be read as an image.
    """
    path = self._paths[rng.integers(len(self._paths))]
    place = rng.random(3)
    try:
      with Image.open(path) as image:
        if image.width * image.height > _MOST_PIXELS:
          raise ValueError(f"background {path.name!r} has too many pixels")
        side = min(image.size) * (0.35 + 0.65 * place[2])
        left = (image.width - side) * place[0]
        top = (image.height - side) * place[1]
        box = (left, top, left + side, top + side)
        cut = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box)
    except (OSError, Image.DecompressionBombError) as error:
      raise ValueError(f"cannot read background {path.name!r}: {error}") from error
    return np.asarray(cut, np.float32) / 255
