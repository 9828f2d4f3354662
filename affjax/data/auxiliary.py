"""Stand-in for the paper's auxiliary data: pairs of a photo and a stylized diffuse map.

A few pairs of a photo and the UV diffuse map that an artist painted for it teach the
diffuse network a style. A folder of such pairs is the source "folder" of a mixture; the
auxiliary losses apply to samples with a diffuse map.

The paper's 2,000 pairs are not public. As a stand-in,

    python -m affjax.data.auxiliary --out pairs --count 2000

writes pairs of synthetic heads, photo and map both in the flat colors and sharp edges
of a game character, with geometry and pose beside them. A stopped command continues
where it was.
"""

import argparse
import dataclasses
import functools
import io
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from affjax import pool
from affjax.data._pictures import MAP_ENDING
from affjax.data._record_source import RecordSource
from affjax.data._synthetic.source import SyntheticFaces
from affjax.files import write_file
from affjax.heads import open_head

_MOST_PAIRS = 10**5
_STEPS = 9  # levels of each color channel


@dataclasses.dataclass(frozen=True)
class PairOptions:
  """The options of the command; each field is a flag with the help text in `metadata`.

  Attributes:
    out: folder of the pairs; made if missing.
    count: number of pairs.
    size: width and height of photos and maps.
    seed: seed of the synthetic heads.
    workers: number of processes.
  """

  out: pathlib.Path = dataclasses.field(
    metadata={"help": "Write the pairs into this folder."}
  )
  count: int = dataclasses.field(
    default=2000, metadata={"help": "Write this many pairs. Default: %(default)s."}
  )
  size: int = dataclasses.field(
    default=512,
    metadata={"help": "Set the width of photos and maps, px. Default: %(default)s."},
  )
  seed: int = dataclasses.field(
    default=2000, metadata={"help": "Seed the synthetic heads. Default: %(default)s."}
  )
  workers: int = dataclasses.field(
    default=os.cpu_count() or 1,
    metadata={"help": "Use this many processes. Default: %(default)s, the CPU cores."},
  )

  def __post_init__(self):
    if not 0 < self.count <= _MOST_PAIRS:
      raise ValueError(f"--count must lie in [1, {_MOST_PAIRS}], got {self.count}")
    if self.size < 8 or self.size % 8:
      raise ValueError(f"--size must be a positive multiple of 8, got {self.size}")


def stylized(picture: UInt8[np.ndarray, "h w 3"], warmth: float) -> np.ndarray:
  """Returns a picture in flat, saturated colors with sharp edges.

  Args:
    picture: Photo or diffuse map.
    warmth: Palette in [-1, 1], from cool to warm.
  """
  image = Image.fromarray(picture)
  radius = max(1, round(len(picture) / 256))
  # A median filter keeps edges, which a blur would not.
  for _ in range(2):
    image = image.filter(ImageFilter.MedianFilter(2 * radius + 1))
  color = np.asarray(image, np.float32) / 255
  luma = color @ np.array([0.299, 0.587, 0.114], np.float32)
  color = luma[..., None] + 1.2 * (color - luma[..., None])
  color = color * (1 + 0.06 * warmth * np.array([1, 0.2, -1], np.float32))
  steps = np.clip(color, 0, 1) * (_STEPS - 1)
  # Soft steps are flat within a color and have no jagged borders between two.
  part = steps - np.floor(steps)
  soft = np.floor(steps) + np.clip(4 * (part - 0.5) + 0.5, 0, 1)
  flat = 0.65 * soft + 0.35 * steps
  return np.rint(flat / (_STEPS - 1) * 255).astype(np.uint8)


def write_pair(folder: pathlib.Path, index: int, *, size: int, seed: int) -> bool:
  """Writes a pair unless it exists, and returns whether it was written.

  The photo is written last: where it exists, the other files do.

  Args:
    folder: Folder of the pairs.
    index: Number of the pair.
    size: Width and height of photo and map, px.
    seed: Seed of the synthetic heads.
  """
  photo = folder / f"{index:05d}.png"
  if photo.exists():
    return False
  record = _source(size, seed)[index]
  warmth = float(np.random.default_rng((seed, index)).uniform(-1, 1))
  visible, vertices, pose = (record[k] for k in ("visible", "vertices", "pose"))
  stream = io.BytesIO()
  np.savez(stream, visible=visible, vertices=vertices, pose=pose)
  write_file(photo.with_suffix(".npz"), stream.getvalue())
  for path, name in (
    (photo.with_name(f"{photo.stem}{MAP_ENDING}.png"), "diffuse"),
    (photo, "image"),
  ):
    stream = io.BytesIO()
    Image.fromarray(stylized(record[name], warmth)).save(stream, "PNG")
    write_file(path, stream.getvalue())
  return True


@functools.lru_cache(maxsize=1)
def _source(size: int, seed: int) -> RecordSource:
  # Artists paint faces without occluders.
  head = open_head("embedded")
  return SyntheticFaces(head, _MOST_PAIRS, size, seed=seed, occluders=0.0)


def write_pairs(options: PairOptions) -> int:
  """Writes the pairs that do not exist yet, and returns how many were written."""
  options.out.mkdir(parents=True, exist_ok=True)
  make: Callable[[], Callable[[int], bool]] = functools.partial(
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
  return written


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m affjax.data.auxiliary",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  for field in dataclasses.fields(PairOptions):
    required = field.default is dataclasses.MISSING
    parser.add_argument(
      f"--{field.name}",
      type=pathlib.Path if field.name == "out" else int,
      required=required,
      default=None if required else field.default,
      help=field.metadata["help"],
    )
  given = parser.parse_args(arguments)
  try:
    options = PairOptions(**vars(given))
  except ValueError as error:
    parser.error(str(error))
  written = write_pairs(options)
  print(f"{options.count} pairs in {options.out}, {written} of them new")
  return 0


if __name__ == "__main__":
  sys.exit(main())
