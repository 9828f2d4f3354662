"""Photos with diffuse maps in a style: the paper's auxiliary ground truth.

A few pairs of a photo and the UV diffuse map that an artist painted for it teach the
diffuse network a style. A folder of them is the source "folder" of a mixture; affjax
marks these samples for the auxiliary losses by itself.

The paper's 2,000 pairs are not public. As a stand-in,

    python -m affjax.data.auxiliary --out pairs --count 2000

writes pairs of synthetic heads, photo and map both drawn in the flat colours and firm
contours of a game character, with geometry and pose beside. The command goes on where
it was stopped.
"""

import argparse
import functools
import io
import os
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from affjax.data._preparation import pool

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MAP_ENDING = "_diffuse"
_COLOURS = 9  # steps of each channel in the drawing


def find_pictures(
  folder: str | os.PathLike,
) -> dict[pathlib.Path, pathlib.Path | None]:
  """The photos of a folder by name, each with its diffuse map or `None`.

  Two layouts: `name.png` and `name_diffuse.png` beside each other; or subfolders
  `photos` and `diffuse` in which files of one name belong together.

  Raises:
    ValueError: there are maps to which no photo belongs.
  """
  place = pathlib.Path(folder)
  apart = (place / "photos").is_dir()
  if apart:
    photos = _pictures(place / "photos")
    maps = _pictures(place / "diffuse") if (place / "diffuse").is_dir() else {}
  else:
    found = _pictures(place)
    maps = {
      stem.removesuffix(_MAP_ENDING): path
      for stem, path in found.items()
      if stem.endswith(_MAP_ENDING)
    }
    photos = {k: path for k, path in found.items() if not k.endswith(_MAP_ENDING)}
  alone = [maps[stem].name for stem in maps if stem not in photos]
  if alone:
    raise ValueError(
      f"folder {str(place)!r} holds {len(alone)} diffuse maps without a photo, such as "
      f"{alone[0]!r}"
    )
  return {path: maps.get(stem) for stem, path in photos.items()}


def _pictures(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  paths = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES]
  found = {path.stem: path for path in paths}
  if len(found) < len(paths):
    twice = next(p for p in paths if found[p.stem] != p)
    raise ValueError(f"two pictures of {str(folder)!r} are named {twice.stem!r}")
  return found


def stylised(picture: np.ndarray, warmth: float) -> np.ndarray:
  """A picture in flat, saturated colours with firm edges.

  Args:
    picture: uint8 `[H, W, 3]`, a photo or a diffuse map.
    warmth: in [-1, 1], from a cool palette to a warm one.
  """
  image = Image.fromarray(picture)
  radius = max(1, round(len(picture) / 256))
  # A median keeps edges where a blur would not.
  for _ in range(2):
    image = image.filter(ImageFilter.MedianFilter(2 * radius + 1))
  color = np.asarray(image, np.float32) / 255
  luma = color @ np.array([0.299, 0.587, 0.114], np.float32)
  color = luma[..., None] + 1.2 * (color - luma[..., None])
  color = color * (1 + 0.06 * warmth * np.array([1, 0.2, -1], np.float32))
  steps = np.clip(color, 0, 1) * (_COLOURS - 1)
  # Soft steps: flat within a colour, without jagged borders between two.
  part = steps - np.floor(steps)
  soft = np.floor(steps) + np.clip(4 * (part - 0.5) + 0.5, 0, 1)
  flat = 0.65 * soft + 0.35 * steps
  return np.rint(flat / (_COLOURS - 1) * 255).astype(np.uint8)


def write_pair(folder: pathlib.Path, index: int, *, size: int, seed: int) -> bool:
  """Writes pair `index` unless it is there; whether it was written.

  The photo comes last: where it is, the others are.
  """
  photo = folder / f"{index:05d}.png"
  if photo.exists():
    return False
  record = _source(size, seed)[index]
  warmth = float(np.random.default_rng((seed, index)).uniform(-1, 1))
  visible, vertices, pose = (record[k] for k in ("visible", "vertices", "pose"))
  stream = io.BytesIO()
  np.savez(stream, visible=visible, vertices=vertices, pose=pose)
  _move_into_place(photo.with_suffix(".npz"), stream.getvalue())
  for path, name in (
    (photo.with_name(f"{photo.stem}{_MAP_ENDING}.png"), "diffuse"),
    (photo, "image"),
  ):
    stream = io.BytesIO()
    Image.fromarray(stylised(record[name], warmth)).save(stream, "PNG")
    _move_into_place(path, stream.getvalue())
  return True


@functools.lru_cache(maxsize=1)
def _source(size: int, seed: int):
  # Imported here: `folder` needs this module's names only.
  from affjax.data._synthetic.source import SyntheticFaces
  from affjax.heads import open_head

  # Artists paint faces that nothing hides.
  return SyntheticFaces(open_head("embedded"), 10**5, size, seed=seed, occluders=0.0)


def _move_into_place(path: pathlib.Path, data: bytes):
  beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    beside.write_bytes(data)
    os.replace(beside, path)
  finally:
    beside.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
  """Writes the stand-in for the paper's pairs; the exit status."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--count", type=int, default=2000)
  parser.add_argument("--size", type=int, default=512)
  parser.add_argument("--seed", type=int, default=2000)
  parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
  options = parser.parse_args(arguments)
  if not 0 < options.count <= 10**5 or options.size < 8 or options.size % 8:
    parser.error("--count must lie in [1, 100000], --size be a multiple of 8")
  options.out.mkdir(parents=True, exist_ok=True)
  make = functools.partial(
    functools.partial, write_pair, options.out, size=options.size, seed=options.seed
  )
  indices = range(options.count)
  if options.workers > 1:
    results = pool.run(make, indices, workers=options.workers)
  else:
    results = map(make(), indices)
  written = 0
  for done, new in enumerate(results, 1):
    written += new
    if new and (written % 50 == 0 or done == options.count):
      print(f"{done} of {options.count} pairs", flush=True)
  print(f"{options.count} pairs in {options.out}, {written} of them new")
  return 0


if __name__ == "__main__":
  sys.exit(main())
