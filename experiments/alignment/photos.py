"""The photos of the comparison and their truth, painted once."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax import files
from affjax.data import Wanted, pair, with_guide_noise
from affjax.geometry.camera import head_to_world
from affjax.heads import open_head
from affjax.models import Reconstructor
from affjax.ops import bilinear
from affjax.render import shade
from affjax.types import Camera, Guide
from experiments.alignment import networks
from experiments.alignment.plan import Settings

# A texel counts as visible if the cosine between its normal and the line of sight,
# times the skin that the photo shows there, is larger.
SEEN = 0.25
CHUNK = 8

Records = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Photos:
  """Photos for training and held-out ones.

  Attributes:
    train: Stacked records, with the fields of `truth`.
    held_out: The same, with noise for guides.
    deviation: Deviation of heads in photos from the mean head, `[V, 3]`, dm.
  """

  train: Records
  held_out: Records
  deviation: np.ndarray


def load(settings: Settings, root: pathlib.Path) -> Photos:
  """Returns the photos; paints what the cache below `root` lacks."""
  wanted = Wanted(
    head=open_head("embedded"),
    camera=Camera(),
    size=settings.size,
    held_out=settings.held_out,
    count=settings.photos,
    seed=0,
    occluders=0.15,
    backgrounds="",
    cache=root / f"cache-{settings.size}",
  )
  stacked = []
  for source in pair("synthetic", "", wanted):
    records = [source[index] for index in range(len(source))]
    stacked.append({name: np.stack([r[name] for r in records]) for name in records[0]})
  train, held_out = stacked
  deviation = _deviation(train)
  truth_of = networks.reconstructor("guided", settings, deviation)
  folder = root / f"cache-{settings.size}"
  train |= _stored(truth_of, train, folder / "truth-train.npz")
  held_out |= _stored(truth_of, held_out, folder / "truth-test.npz")
  held_out = with_noise(
    held_out, [np.random.default_rng(i) for i in range(len(held_out["pose"]))]
  )
  return Photos(train, held_out, deviation)


def with_noise(records: Records, rngs: list[np.random.Generator]) -> Records:
  """Returns stacked records with the random numbers of their guides."""
  given = [
    with_guide_noise({"pose": pose}, rng)
    for pose, rng in zip(records["pose"], rngs, strict=True)
  ]
  noise = {name: np.stack([g[name] for g in given]) for name in given[0]}
  return {**records, **noise}


def batches(photos: Photos, settings: Settings, seed: int) -> Iterator[Records]:
  """Yields the batches of a run: the same for all architectures."""
  rng, count = np.random.default_rng([seed, 1]), len(photos.train["pose"])
  order = np.concatenate(
    [
      rng.permutation(count)
      for _ in range(-(-settings.steps * settings.batch // count))
    ]
  )
  for step in range(settings.steps):
    index = order[step * settings.batch : (step + 1) * settings.batch]
    picked = {name: values[index] for name, values in photos.train.items()}
    yield with_noise(picked, [rng] * len(index))


def chunks(records: Records, size: int) -> Iterator[Records]:
  """Yields stacked records in equal parts."""
  for first in range(0, len(records["pose"]), size):
    yield {name: values[first : first + size] for name, values in records.items()}


def truth(nets: Reconstructor, record: dict[str, Any]) -> dict[str, jax.Array]:
  """Returns what a run should find, of stacked records.

  Returns:
    `colors` uint8 `[n, s, s, 3]`: the photo's own color on visible texels, elsewhere
    the color that the texel has in the scene's light. `seen` uint8 `[n, s, s, 1]`: 1 on
    visible texels.
  """
  unit = lambda name: jnp.asarray(record[name]).astype(jnp.float32) / 255
  pose = jnp.asarray(record["pose"])
  known = jnp.ones(len(pose))
  guide = Guide(jnp.asarray(record["vertices"]), pose, known, unit("visible"))
  alignment = nets.alignment(guide)
  limit = jnp.float32(nets.networks.size - 1)
  shown = bilinear(unit("image"), jnp.clip(alignment.places, 0.0, limit))
  lit = shade(unit("diffuse"), record["light"], record["light_color"])
  seen = alignment.visible > SEEN
  colors = jnp.where(seen, shown, lit)
  return {
    "colors": jnp.rint(255 * colors).astype(jnp.uint8),
    "seen": seen.astype(jnp.uint8),
  }


def _stored(nets: Reconstructor, records: Records, path: pathlib.Path) -> Records:
  """Returns the truth of records, from a file if it is there."""
  if not path.exists():
    compute = jax.jit(lambda record: truth(nets, record))
    fields = ("image", "visible", "vertices", "pose", "diffuse", "light", "light_color")
    few = {name: records[name] for name in fields}
    parts = [jax.device_get(compute(part)) for part in chunks(few, CHUNK)]
    whole = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    with files.written_file(path) as partial, partial.open("wb") as stream:
      np.savez(stream, **whole)
  with np.load(path, allow_pickle=False) as stored:
    return {name: stored[name] for name in stored.files}


def _deviation(records: Records) -> np.ndarray:
  """Returns the deviation of heads in photos from the mean head, dm."""
  mean = open_head("embedded").template.vertices[None]
  total = np.zeros(mean.shape[1:])
  for part in chunks(records, CHUNK):
    world = np.asarray(head_to_world(part["vertices"], part["pose"]))
    heads = networks.at_camera_distance(world, part["pose"][:, 5], Camera())
    total += ((heads - mean) ** 2).sum(0)
  return np.sqrt(total / len(records["pose"])).astype(np.float32)
