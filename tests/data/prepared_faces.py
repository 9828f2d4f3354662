"""Small prepared data sets for tests."""

import numpy as np

from affjax.data import _record, _shards

SIZE, MAP = 16, 32


def record(index: int, *, size: int = SIZE, vertices=None, diffuse: bool = False):
  """Returns a record of smooth colors and random numbers."""
  rng = np.random.default_rng(index)
  ramp = np.linspace(0, 1, size)
  color = rng.uniform(60, 200, 3) + 40 * ramp[:, None, None] + 10 * ramp[None, :, None]
  maps = MAP if diffuse else 1
  numbers = lambda *shape: rng.normal(0, 0.1, shape).astype(np.float32)
  return {
    "image": np.clip(color, 0, 255).astype(np.uint8),
    "visible": rng.integers(0, 2, (size, size, 1)).astype(np.uint8) * 255,
    "diffuse": np.full((maps, maps, 3), 80 * diffuse, np.uint8),
    "vertices": rng.uniform(-3, 3, (7, 3)) if vertices is None else vertices,
    "pose": numbers(6),
    "landmarks": numbers(68, 2),
    "has_pose": np.float32(1),
    "has_diffuse": np.float32(diffuse),
    "quality": np.float32(0.75),
    "crop": numbers(2, 3),
    "source": f"{index:03d}.jpg#face 0",
    "licence": "CC0 – é",
  }


def facts(
  template: str = "test", vertices: int = 7, size: int = SIZE
) -> _shards.DatasetFacts:
  """Returns the facts of the records of `record`."""
  return _shards.DatasetFacts(template, vertices, size, MAP, "test", "0.1")


def write(root, records, *, shard_count: int = 1, split: str = "train", info=None):
  """Writes a data set of one split and returns its folder."""
  folder = _shards.data_folder(root, "faces")
  counts = []
  for index in range(shard_count):
    place = folder / _shards.shard_name("faces", split, index, shard_count)
    first = index * len(records) // shard_count
    last = (index + 1) * len(records) // shard_count
    share = records[first:last]
    counts.append(_shards.write_shard(place, map(_record.encode, share)))
  _shards.write_info(folder, {split: counts}, info or facts())
  return folder
