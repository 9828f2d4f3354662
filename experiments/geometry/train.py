"""Trains the network that reads the head's surface off a photo.

  python -m experiments.geometry.bank --photos 20000
  python -m experiments.geometry.bank --photos 320 --split test
  python -m experiments.geometry.train --steps 30000

The photos are those of `experiments.geometry.bank`, of the synthetic source alone.
What each pixel should show is rasterized in the training step from the head's shape and
pose. A training state is written every 250 steps; the script goes on from it. New
shards of the bank are used as they appear. Held-out errors are printed and appended to
`curve.jsonl` every 500 steps. `weights.npz` holds the moving average of the weights in
float16.
"""

import argparse
import functools
import json
import math
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, UInt8
from optax import contrib

from affjax import files
from affjax.faces._surface import network
from affjax.geometry import camera as cameras
from affjax.geometry import mesh
from affjax.heads import open_head
from affjax.render import interpolate, rasterize
from affjax.types import Camera
from experiments.geometry import bank

# Sides of the photo, of the mask of skin and of the surface, px.
SIZE, HALF, QUARTER = bank.SIZE, bank.SIZE // 2, bank.SIZE // 4
# Photos are moved by up to so many pixels of the surface.
_MOVE = 2
# Weight of a hidden pixel, and additional weight of the front of the face.
_HIDDEN, _FRONT = 0.1, 2.0
# The moving average reaches back over this share of all steps so far.
_AVERAGED = 1 / 8
_FIELDS = ("photo", "skin", "identity", "expression", "pose", "distance")


class Batch(NamedTuple):
  """Photos and what they were painted from, as `bank` stores them."""

  photo: UInt8[Array, "n s s 3"]
  skin: UInt8[Array, "n h h"]
  identity: Float[Array, "n k"]
  expression: Float[Array, "n e"]
  pose: Float[Array, "n 6"]
  distance: Float[Array, " n"]


class Truth(NamedTuple):
  """What the pixels of photos show, at a quarter of the side (skin: at half)."""

  points: Float[Array, "n q q 3"]
  normals: Float[Array, "n q q 3"]
  weight: Float[Array, "n q q 1"]
  skin: Float[Array, "n h h 1"]


class Head(NamedTuple):
  """Arrays of the morphable head."""

  vertices: Float[Array, "v 3"]
  identity: Float[Array, "k v 3"]
  expression: Float[Array, "e v 3"]


@functools.cache
def _head() -> tuple[Head, np.ndarray]:
  model = open_head("embedded")
  arrays = (model.template.vertices, model.identity_basis, model.expression_basis)
  return Head(*(jnp.asarray(a, jnp.float32) for a in arrays)), model.template.faces


def vertices(
  head: Head, identity: Float[Array, "n k"], expression: Float[Array, "n e"]
) -> Float[Array, "n v 3"]:
  """Returns the vertices of heads, dm."""
  moved = jnp.tensordot(identity, head.identity, 1)
  return head.vertices[None] + moved + jnp.tensordot(expression, head.expression, 1)


def truth(head: Head, faces: np.ndarray, batch: Batch) -> Truth:
  """Rasterizes what the pixels show."""
  shape = vertices(head, batch.identity, batch.expression)
  world = cameras.head_to_world(shape, batch.pose)
  normals = mesh.vertex_normals(world, jnp.asarray(faces))
  raster = rasterize(_clip(world, batch.distance), faces, (QUARTER, QUARTER))
  points = jnp.broadcast_to(head.vertices[None], world.shape)
  seen = interpolate(jnp.concatenate([points, normals], -1), raster, faces)
  length = jnp.linalg.norm(seen[..., 3:], axis=-1, keepdims=True)
  skin = batch.skin[..., None].astype(jnp.float32) / 255
  small = skin.reshape(-1, QUARTER, 2, QUARTER, 2, 1).mean((2, 4))
  covered = (raster[..., 3:] > 0).astype(jnp.float32)
  weight = covered * jnp.where(small > 0.5, 1.0, _HIDDEN)
  front = _FRONT * jax.nn.sigmoid((seen[..., 2:3] - 0.1) / 0.05)
  return Truth(
    seen[..., :3] / network.UNIT,
    seen[..., 3:] / jnp.maximum(length, 1e-6),
    weight * (1 + front),
    skin,
  )


def _clip(
  world: Float[Array, "n v 3"], distance: Float[Array, " n"]
) -> Float[Array, "n v 4"]:
  """Projects vertices as `bank.camera(distance)` does, each photo's own."""
  usual = Camera()
  half = usual.distance * math.tan(math.radians(usual.fov_deg) / 2)
  away = distance[:, None]
  depth = away - world[..., 2]
  near, far = 0.5, usual.far
  z = ((far + near) * depth - 2 * far * near) / (far - near)
  focal = away / half
  return jnp.stack([focal * world[..., 0], -focal * world[..., 1], z, depth], -1)


def augmented(
  key: Array, photo: Float[Array, "n s s 3"], true: Truth
) -> tuple[Float[Array, "n s s 3"], Truth]:
  """Mirrors, moves and tints photos."""
  flip, move, tint, noise, grain = jax.random.split(key, 5)
  n = len(photo)
  mirrored = jax.random.bernoulli(flip, 0.5, (n, 1, 1, 1))
  back = lambda x: jnp.where(mirrored, x[:, :, ::-1], x)
  sign = jnp.where(mirrored, jnp.array([-1.0, 1, 1])[None, None, None], 1.0)
  true = Truth(*map(back, true))
  true = true._replace(points=true.points * sign, normals=true.normals * sign)
  steps = jax.random.randint(move, (n, 2), 0, 2 * _MOVE + 1)
  photo = _moved(back(photo), steps, 4, "edge")
  widths = Truth(1, 1, 1, 2)
  true = Truth(
    *(_moved(x, steps, w, "constant") for x, w in zip(true, widths, strict=True))
  )
  gain = jnp.exp(0.08 * jax.random.normal(tint, (n, 1, 1, 3)))
  strength = 0.03 * jax.random.uniform(grain, (n, 1, 1, 1)) ** 2
  photo = photo * gain + strength * jax.random.normal(noise, photo.shape)
  return jnp.clip(photo, 0, 1), true


def _moved(
  x: Float[Array, "n h w c"], steps: Array, width: int, mode: str
) -> Float[Array, "n h w c"]:
  pad = _MOVE * width
  padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode)
  cut = lambda image, at: jax.lax.dynamic_slice(
    image, (at[0] * width, at[1] * width, 0), x.shape[1:]
  )
  return jax.vmap(cut)(padded, steps)


def loss(
  weights: network.Weights, photo: Float[Array, "n s s 3"], true: Truth
) -> tuple[Array, dict[str, Array]]:
  """Returns the loss: likelihoods of the surface, cross entropy of skin.

  The likelihoods are those of Laplace distributions, each weighted by the root of its
  own deviation (Seitzer et al. 2022, beta-NLL), so that hard pixels are learned, too.
  """
  out = network.outputs(weights, photo)
  total = jnp.maximum(true.weight.sum(), 1.0)
  terms = {}
  for k, name in enumerate(("points", "normals")):
    away = jnp.abs(getattr(out, name) - getattr(true, name)).mean(-1, keepdims=True)
    log = out.log_deviations[..., k : k + 1]
    trust = jax.lax.stop_gradient(jnp.exp(0.5 * log))
    value = trust * (away * jnp.exp(-log) + log)
    terms[name] = (value * true.weight).sum() / total
  terms["skin"] = optax.sigmoid_binary_cross_entropy(out.skin, true.skin).mean()
  terms["error"] = (
    (jnp.abs(out.points - true.points) * true.weight).sum() * network.UNIT / (3 * total)
  )
  return terms["points"] + terms["normals"] + terms["skin"], terms


class State(NamedTuple):
  """State of the training."""

  step: Array
  weights: dict[str, Array]
  average: dict[str, Array]
  optimizer: optax.OptState


def optimizer(
  rate: float, steps: int, decay: float = 0.6
) -> optax.GradientTransformation:
  """Returns Muon with a warm-up, a constant rate, and a decay over a last share.

  Muon (Jordan et al. 2024) orthogonalizes the updates of 3 x 3 kernels; the others and
  the biases are left to Adam.
  """

  def schedule(count):
    left = jnp.clip((steps - count) / (decay * steps), 0, 1)
    return rate * jnp.minimum(1, (count + 1) / 100) * left

  kernel = contrib.MuonDimensionNumbers((0, 1, 2), 3)
  shapes = network.shapes()
  dimensions = {name: kernel if _inner(name) else None for name in shapes}
  dimensions |= {f"{name}/bias": None for name in shapes}
  update = contrib.muon(
    schedule,
    consistent_rms=0.2,
    muon_weight_dimension_numbers=dimensions,
    adam_learning_rate=schedule,
  )
  return optax.chain(optax.clip_by_global_norm(1.0), update)


def _inner(name: str) -> bool:
  """Returns whether a kernel is 3 x 3 and neither the first nor the last."""
  return network.shapes()[name][0] == 3 and name not in ("half", "surface", "skin")


def initial(seed: int, transform: optax.GradientTransformation) -> State:
  """Draws weights after He et al.; layers that add to their input start small."""
  rng = np.random.default_rng(seed)
  weights = {}
  for name, shape in network.shapes().items():
    gain = 0.3 if name[-1] in "bc" or name in ("surface", "skin", "join") else 1.0
    deviation = gain * np.sqrt(2 / np.prod(shape[:3]))
    weights[name] = jnp.asarray(rng.normal(0, deviation, shape), jnp.float32)
    weights[f"{name}/bias"] = jnp.zeros(shape[3], jnp.float32)
  bias = weights["surface/bias"]
  weights["surface/bias"] = bias.at[6:].set(jnp.log(0.3))
  average = jax.tree.map(jnp.copy, weights)
  return State(jnp.zeros((), jnp.int32), weights, average, transform.init(weights))


def stepper(transform: optax.GradientTransformation):
  """Returns the compiled training step `(state, batch) -> (state, terms)`."""
  head, faces = _head()

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.key(7), state.step)
    true = jax.lax.stop_gradient(truth(head, faces, batch))
    photo = batch.photo.astype(jnp.float32) / 255
    photo, true = augmented(key, photo, true)
    gradient, terms = jax.grad(loss, has_aux=True)(state.weights, photo, true)
    update, inner = transform.update(gradient, state.optimizer, state.weights)
    weights = optax.apply_updates(state.weights, update)
    share = 1 / (1 + _AVERAGED * state.step)
    average = jax.tree.map(lambda a, w: a + share * (w - a), state.average, weights)
    return State(state.step + 1, weights, average, inner), terms

  return step


class Bank:
  """All photos of a bank's split that are there."""

  def __init__(self, folder: pathlib.Path, split: str):
    self.folder, self.split = folder, split
    self.shards: list[dict[str, np.ndarray]] = []

  def refresh(self) -> int:
    """Reads new shards; returns the number of photos."""
    known = {str(shard["name"]) for shard in self.shards}
    for file in sorted(self.folder.glob(f"{self.split}-*.npz")):
      if file.name not in known:
        with np.load(file, allow_pickle=False) as data:
          arrays = {name: data[name] for name in _FIELDS}
        self.shards.append({**arrays, "name": np.array(file.name)})
    return len(self.shards) * bank.SHARD

  def rows(self, numbers) -> Batch:
    """Returns the photos of these numbers."""
    places = [divmod(int(k), bank.SHARD) for k in numbers]
    fields = [
      np.stack([self.shards[i][name][j] for i, j in places]) for name in _FIELDS[:-1]
    ]
    return Batch(*fields, np.stack([self.shards[i]["distance"] for i, _ in places]))


def held_out(weights: network.Weights, photos: Bank) -> dict[str, float]:
  """Returns mean errors of held-out photos over the visible surface.

  `points` is the mean absolute error of a coordinate (dm), `face` the same on the front
  of the face, `normals` the mean angle (degrees), `skin` the IoU of visible skin.
  """
  head, faces = _head()
  count = len(photos.shards) * bank.SHARD
  parts = []
  for first in range(0, count, bank.SHARD):
    batch = photos.rows(range(first, first + bank.SHARD))
    parts.append(_errors(weights, head, faces.tobytes(), batch))
  return {k: round(float(np.mean([p[k] for p in parts])), 5) for k in parts[0]}


@functools.partial(jax.jit, static_argnums=2)
def _errors(weights, head, _, batch: Batch) -> dict[str, Array]:
  true = truth(head, _head()[1], batch)
  out = network.outputs(weights, batch.photo.astype(jnp.float32) / 255)
  away = jnp.abs(out.points - true.points).mean(-1) * network.UNIT
  seen = (true.weight[..., 0] >= 1).astype(jnp.float32)
  front = seen * (true.points[..., 2] > 0.1 / network.UNIT)
  normals = out.normals / jnp.maximum(
    jnp.linalg.norm(out.normals, axis=-1, keepdims=True), 1e-6
  )
  angle = jnp.degrees(jnp.arccos(jnp.clip((normals * true.normals).sum(-1), -1, 1)))
  mean = lambda x, w: (x * w).sum() / w.sum()
  said, skin = out.skin > 0, true.skin > 0.5
  return {
    "points": mean(away, seen),
    "face": mean(away, front),
    "normals": mean(angle, seen),
    "normals_face": mean(angle, front),
    "skin": (said & skin).sum() / (said | skin).sum(),
    "expected": mean(jnp.exp(out.log_deviations[..., 0]) * network.UNIT, front),
  }


def save(state: State, folder: pathlib.Path) -> None:
  """Writes the training state, and the averaged weights in float16."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
  named = {f"leaf{k:03d}": leaf for k, leaf in enumerate(leaves)}
  _write(folder / "state.npz", named)
  average = {k: np.asarray(v, np.float16) for k, v in state.average.items()}
  _write(folder / "weights.npz", average)


def _write(path: pathlib.Path, arrays) -> None:
  with files.written_file(path) as partial, partial.open("wb") as file:
    np.savez(file, allow_pickle=False, **arrays)


def restored(state: State, folder: pathlib.Path) -> State:
  """Returns the state that `save` wrote, or the given one if there is none."""
  if not (folder / "state.npz").exists():
    return state
  with np.load(folder / "state.npz", allow_pickle=False) as data:
    leaves = [jnp.asarray(data[name]) for name in sorted(data.files)]
  return jax.tree.unflatten(jax.tree.structure(state), leaves)


def main() -> None:
  """Trains on, and prints and saves what came out."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--bank", type=pathlib.Path, default="runs/geometry/bank")
  parser.add_argument("--folder", type=pathlib.Path, default="runs/geometry/train")
  parser.add_argument("--steps", type=int, default=30_000)
  parser.add_argument("--batch", type=int, default=12)
  parser.add_argument("--rate", type=float, default=1e-3)
  parser.add_argument("--decay", type=float, default=0.6, help="last share of steps")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  options.folder.mkdir(parents=True, exist_ok=True)
  transform = optimizer(options.rate, options.steps, options.decay)
  state = restored(initial(options.seed, transform), options.folder)
  step, photos, tests = stepper(transform), Bank(options.bank, "train"), None
  begun, recent, count = time.monotonic(), [], 0
  for k in range(int(state.step), options.steps):
    if (k % 50 == 0 and not recent) or not count:
      count = photos.refresh()
    rng = np.random.default_rng([options.seed, k])
    batch = photos.rows(rng.choice(count, options.batch, replace=False))
    state, terms = step(state, batch)
    recent.append({name: float(value) for name, value in terms.items()})
    if (k + 1) % 50 == 0:
      means = {n: round(float(np.mean([r[n] for r in recent])), 4) for n in recent[0]}
      took = time.monotonic() - begun
      print(f"step {k + 1} of {count} photos {means} {took:.0f} s", flush=True)
      recent = []
    if (k + 1) % 250 == 0 or k + 1 == options.steps:
      save(state, options.folder)
    if (k + 1) % 500 == 0 or k + 1 == options.steps:
      tests = tests or Bank(options.bank, "test")
      tests.refresh()
      line = {"step": k + 1, "photos": count, **held_out(state.average, tests)}
      print("held out", line, flush=True)
      with (options.folder / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
  main()
