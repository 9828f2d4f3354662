"""Paints the photos that the geometry network is trained on.

  python -m experiments.geometry.bank --folder runs/geometry/bank --photos 20000

Each photo is a portrait of the synthetic source, seen by a camera at one of four
distances, with things laid before it and the faults of `experiments.regions.snapshots`.
The photos lie in shards of 32; a shard is written whole, so that the script goes on
where it was killed, and several processes (`--process 0/2`, `--process 1/2`) share the
work. A shard holds

  photo       uint8 [32, 192, 192, 3]
  skin        uint8 [32, 96, 96]       share of visible bare skin, 255 = all
  identity    float32 [32, K]
  expression  float32 [32, E]
  pose        float32 [32, 6]
  distance    float32 []               of the camera, dm
"""

import argparse
import functools
import math
import pathlib
import time

import numpy as np

from affjax import files
from affjax.types import Camera
from experiments.regions import snapshots
from experiments.regions.bare_skin import Portraits

SIZE, SHARD = 192, 32
# Distances of the camera, dm, and their frequencies; the size in the image is the same.
DISTANCES, FREQUENCIES = (10.0, 6.5, 4.5, 3.3), (0.55, 0.2, 0.15, 0.1)
# Chance that things are laid before a portrait and that the photo is degraded.
_DEGRADED = 0.75


def camera(distance: float) -> Camera:
  """Returns the camera at a distance in which a head at the origin is as large."""
  usual = Camera()
  half = usual.distance * math.tan(math.radians(usual.fov_deg) / 2)
  fov = 2 * math.degrees(math.atan(half / distance))
  return Camera(fov_deg=fov, distance=distance)


@functools.cache
def portraits(split: str, distance: float, each: int) -> Portraits:
  """Returns the source of portraits that a camera at a distance sees.

  Args:
    split: "train" or "test".
    distance: Distance of the camera, dm.
    each: Number of photos of each person.
  """
  return Portraits(
    1 << 30,
    SIZE,
    split,
    occluders=0.3,
    seed=612,
    camera=camera(distance),
    map_size=256,
    each=each,
  )


def shard(split: str, index: int, each: int = 1) -> dict[str, np.ndarray]:
  """Paints a shard; the same arguments always give the same photos."""
  rng = np.random.default_rng([612, split == "test", index])
  distance = float(rng.choice(DISTANCES, p=FREQUENCIES))
  source = portraits(split, distance, each)
  rows: list[dict[str, np.ndarray]] = []
  last = source[index * SHARD]
  for number in range(index * SHARD, (index + 1) * SHARD):
    portrait, scene = source[number], source.scene(number)
    image = portrait.image.astype(np.float32) / 255
    bare = portrait.bare.astype(np.float32) / 255
    if rng.random() < _DEGRADED:
      image, bare = snapshots.training_snapshot(rng, portrait, last, moved=False)
    half = bare.reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3))
    rows.append(
      {
        "photo": np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8),
        "skin": np.rint(np.clip(half, 0, 1) * 255).astype(np.uint8),
        "identity": scene.identity,
        "expression": scene.expression,
        "pose": portrait.pose,
      }
    )
    last = portrait
  arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  return {**arrays, "distance": np.float32(distance)}


def path(folder: pathlib.Path, split: str, index: int) -> pathlib.Path:
  """Returns the file of a shard."""
  return folder / f"{split}-{index:05d}.npz"


def main() -> None:
  """Paints the shards that the folder lacks."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--folder", type=pathlib.Path, default="runs/geometry/bank")
  parser.add_argument("--photos", type=int, default=20_000)
  parser.add_argument("--split", choices=("train", "test"), default="train")
  parser.add_argument("--process", default="0/1", help="number/count of processes")
  parser.add_argument("--first", type=int, default=0, help="number of the first shard")
  parser.add_argument("--each", type=int, default=1, help="photos of each person")
  options = parser.parse_args()
  options.folder.mkdir(parents=True, exist_ok=True)
  number, count = map(int, options.process.split("/"))
  shards = -(-options.photos // SHARD)
  for index in range(options.first + number, options.first + shards, count):
    target = path(options.folder, options.split, index)
    if target.exists():
      continue
    begun = time.monotonic()
    arrays = shard(options.split, index, options.each)
    with files.written_file(target) as partial, partial.open("wb") as file:
      np.savez(file, allow_pickle=False, **arrays)
    took = (time.monotonic() - begun) / SHARD
    print(f"{target.name}: {took:.3f} s a photo", flush=True)


if __name__ == "__main__":
  main()
