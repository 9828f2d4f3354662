"""Trains the network that reads faces where the mean head lies on a photo.

  python -m experiments.geometry.bank --photos 20000
  python -m experiments.geometry.bank --photos 1024 --split test
  python -m experiments.geometry.train --steps 30000

The photos are those of `experiments.geometry.bank`, of the synthetic source alone. The
mean head is laid on them roughly, or where the network found it when it last saw the
photo, so that it learns to go on from its own answers. A training state is written
every 250 steps; the script goes on from it. New shards of the bank are used as they
appear. Held-out errors are printed and appended to `curve.jsonl` every 500 steps.
`weights.npz` holds the moving average of the weights in float16.
"""

import argparse
import functools
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from optax import contrib

from affjax import files
from affjax.faces._surface import chart as charts
from affjax.faces._surface import network, read
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart
from affjax.faces._surface.view import View
from affjax.geometry import rotation
from affjax.types import Camera
from experiments.geometry import bank, truths
from experiments.geometry.truths import Truth

# Deviations of a rough view's rotation (rad) and translation (dm), each times up to
# `_ROUGHEST`, and of the logarithm of the camera's distance.
_TURN, _SHIFT, _ROUGHEST, _DISTANCE = 0.04, (0.012, 0.012, 0.06), 4.0, 0.2
# Share of views that are the network's own last answers.
_AGAIN = 0.6
# Weights of points beside the face and on it, and of the components.
_BESIDE, _FACE, _COMPONENTS = 0.3, 1.5, 6.0
# Weights of hidden points in the likelihoods of places, normals and positions.
_HIDDEN = {"places": 0.05, "normals": 0.05, "positions": 0.5}
# The moving average reaches back over this share of all steps so far.
_AVERAGED = 1 / 8


class Answers(NamedTuple):
  """Where the network found the mean head when it last saw each photo.

  Attributes:
    view: Where the camera sees it.
    known: Whether there is an answer.
  """

  view: View
  known: Bool[Array, " n"]


class Targets(NamedTuple):
  """What the network should answer, in its units; see `network.Outputs`."""

  face: Float[Array, "n d"]
  places: Float[Array, "n p p 2"]
  normals: Float[Array, "n p p 2"]
  positions: Float[Array, "n p p 3"]
  seen: Float[Array, "n p p 1"]


def rough_views(
  key: Array, chart: Chart, true: Truth, *, roughness: float | None = None
) -> View:
  """Draws views in which the mean head lies roughly on photos.

  Args:
    key: Random key.
    chart: Chart of the head.
    true: Truth about the photos.
    roughness: Factor on the errors of the pose instead of random ones.
  """
  rough, far, spin, move = jax.random.split(key, 4)
  n = len(true.face)
  amount = jax.random.uniform(rough, (n, 1), maxval=_ROUGHEST)
  amount = amount if roughness is None else jnp.full((n, 1), roughness)
  distance = math.log(Camera().distance) + _DISTANCE * jax.random.normal(far, (n,))
  distance = jnp.clip(distance, views.NEAREST, views.FARTHEST)
  flat = lambda x: x.reshape(n, -1, x.shape[-1])
  points = charts.points(chart.mean[None])[0].reshape(-1, 3)
  weight = chart.face.reshape(-1) + 0.02
  superpose = jax.vmap(_superposed, (None, 0, None))
  turn, shift = superpose(points, flat(true.world), weight)
  settle = functools.partial(views.settled, fixed=True, steps=2)
  settle = jax.vmap(settle, (None, 0, None, 0))
  view = settle(points, flat(true.places), weight, View(turn, shift, distance))
  turned = _TURN * amount * jax.random.normal(spin, (n, 3))
  turn = jax.vmap(rotation.axis_angle_to_matrix)(turned) @ view.turn
  moved = amount * jnp.array([_SHIFT]) * jax.random.normal(move, (n, 3))
  return View(turn, view.shift + moved, distance)


def chosen(key: Array, fresh: View, answers: Answers) -> View:
  """Returns the views of a step: rough ones, or those that the network found before."""
  n = len(answers.known)
  again = jax.random.bernoulli(key, _AGAIN, (n,)) & answers.known
  pick = lambda a, b: jnp.where(again.reshape(n, *[1] * (a.ndim - 1)), a, b)
  return View(*map(pick, answers.view, fresh))


def _superposed(
  points: Float[Array, "p 3"], target: Float[Array, "p 3"], weight: Float[Array, " p"]
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"]]:
  """Returns the rigid motion that lays points on others (Kabsch 1976)."""
  weight = (weight / weight.sum())[:, None]
  middles = (points * weight).sum(0), (target * weight).sum(0)
  mixed = (target - middles[1][None]).T @ (weight * (points - middles[0][None]))
  left, _, right = jnp.linalg.svd(mixed)
  sign = jnp.sign(jnp.linalg.det(left @ right))
  turn = (left * jnp.array([[1.0, 1.0, sign]])) @ right
  return turn, middles[1] - turn @ middles[0]


def targets(chart: Chart, true: Truth, view: View) -> Targets:
  """Returns what the network should answer where the mean head lies in given views."""
  n, p = true.places.shape[:2]
  points = charts.points(chart.mean[None])
  seen = lambda function: jax.vmap(function, (None, 0))(points.reshape(-1, 3), view)
  grid = lambda x: x.reshape(n, p, p, -1)
  places, normals = grid(seen(views.places)), charts.normals(grid(seen(views.world)))
  return Targets(
    true.face,
    (true.places - places) / network.PLACE,
    (true.normals - normals[..., :2]) / network.NORMAL,
    (true.points - points) / network.POSITION,
    true.seen,
  )


def augmented(key: Array, photo: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
  """Tints photos and adds noise."""
  tint, noise, grain = jax.random.split(key, 3)
  n = len(photo)
  gain = jnp.exp(0.1 * jax.random.normal(tint, (n, 1, 1, 3)))
  strength = 0.03 * jax.random.uniform(noise, (n, 1, 1, 1)) ** 2
  noisy = photo * gain + strength * jax.random.normal(grain, photo.shape)
  return jnp.clip(noisy, 0, 1)


def loss(
  weights: network.Weights, chart: Chart, inputs: Array, target: Targets
) -> tuple[Array, tuple[dict[str, Array], network.Outputs]]:
  """Returns the loss, and its terms and the network's outputs.

  It is the squared error of the components, weighted by how far each moves the face;
  the likelihoods of places, normals and positions under Laplace distributions, each
  weighted by the root of its own deviation (Seitzer et al. 2022, beta-NLL) so that hard
  points are learned, too; and the cross entropy of `seen`.
  """
  out = network.outputs(weights, inputs)
  front = _BESIDE + _FACE * chart.face[None]
  terms, total = {}, jnp.zeros(())
  for k, (name, hidden) in enumerate(_HIDDEN.items()):
    away = jnp.abs(getattr(out, name) - getattr(target, name)).mean(-1, keepdims=True)
    log = out.log_deviations[..., k : k + 1]
    weight = front * (hidden + (1 - hidden) * target.seen)
    trust = jax.lax.stop_gradient(jnp.exp(0.5 * log))
    mean = lambda x, w=weight: (x * w).sum() / w.sum()
    total = total + mean(trust * (away * jnp.exp(-log) + log))
    terms[name] = mean(away)
  size = amplitude(chart)
  square = ((out.face - target.face) ** 2 * size[None]).sum(1).mean() / size.sum()
  seen = optax.sigmoid_binary_cross_entropy(out.seen, target.seen).mean()
  terms |= {"seen": seen, "face": square}
  return total + seen + _COMPONENTS * square, (terms, out)


def amplitude(chart: Chart) -> Float[Array, " d"]:
  """Returns the mean square by which each component moves the face."""
  moved = charts.points((chart.modes**2).sum(2, keepdims=True))
  return (moved * chart.face[None]).sum((1, 2, 3)) / chart.face.sum()


class State(NamedTuple):
  """State of the training."""

  step: Array
  weights: dict[str, Array]
  average: dict[str, Array]
  optimizer: optax.OptState


def optimizer(
  names: dict[str, tuple[int, ...]], rate: float, steps: int, decay: float
) -> optax.GradientTransformation:
  """Returns Muon with a warm-up, a constant rate, and a decay over a last share.

  Muon (Jordan et al. 2024) orthogonalizes the updates of 3 x 3 kernels; the first and
  the last one and all else are left to Adam.
  """

  def schedule(count):
    left = jnp.clip((steps - count) / (decay * steps), 0, 1)
    return rate * jnp.minimum(1, (count + 1) / 100) * left

  kernel = contrib.MuonDimensionNumbers((0, 1, 2), 3)
  inner = lambda name, shape: shape[0] == 3 and name not in ("in", "out")
  dimensions: dict[str, Any] = {
    name: kernel if len(shape) == 4 and inner(name, shape) else None
    for name, shape in names.items()
  }
  update = contrib.muon(
    schedule,
    consistent_rms=0.2,
    muon_weight_dimension_numbers=dimensions,
    adam_learning_rate=schedule,
  )
  return optax.chain(optax.clip_by_global_norm(1.0), update)


def arrays_of(components: int) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of all weights by name."""
  kernels = network.shapes(components)
  biases = {f"{name}/bias": shape[3:] for name, shape in kernels.items()}
  own = network.places_of(components)
  return {**kernels, **biases, **{f"{name}/place": s for name, s in own.items()}}


def initial(
  seed: int, components: int, transform: optax.GradientTransformation
) -> State:
  """Draws kernels after He et al.; layers that add to their input start small."""
  rng = np.random.default_rng(seed)
  weights: dict[str, Array] = {}
  for name, shape in arrays_of(components).items():
    small = name[-1] in "bc" or name in ("out", "face", "join")
    gain = 0.0 if "/" in name or name == "read" else 0.3 if small else 1.0
    deviation = gain * np.sqrt(2 / max(np.prod(shape[:3]), 1))
    weights[name] = jnp.asarray(rng.normal(0, 1, shape) * deviation, jnp.float32)
  average = jax.tree.map(jnp.copy, weights)
  return State(jnp.zeros((), jnp.int32), weights, average, transform.init(weights))


def stepper(transform: optax.GradientTransformation):
  """Returns the training step, which also returns its answers and loss terms."""

  @functools.partial(jax.jit, donate_argnums=0)
  def step(
    state: State, chart: Chart, photo: Array, true: Truth, answers: Answers
  ) -> tuple[State, Answers, dict[str, Array]]:
    key = jax.random.fold_in(jax.random.key(7), state.step)
    first, second, third = jax.random.split(key, 3)
    view = chosen(third, rough_views(first, chart, true), answers)
    photo = augmented(second, photo.astype(jnp.float32) / 255)
    problem = network.drawn(chart, photo, view), targets(chart, true, view)
    problem = jax.lax.stop_gradient(problem)
    gradient, (terms, out) = jax.grad(loss, has_aux=True)(
      state.weights, chart, *problem
    )
    found = read.look(chart, view, out).view
    known = jnp.isfinite(found.turn).all((1, 2)) & jnp.isfinite(found.distance)
    answers = Answers(found, known)
    update, inner = transform.update(gradient, state.optimizer, state.weights)
    weights = optax.apply_updates(state.weights, update)
    share = 1 / (1 + _AVERAGED * state.step)
    average = jax.tree.map(lambda a, w: a + share * (w - a), state.average, weights)
    return State(state.step + 1, weights, average, inner), answers, terms

  return step


@jax.jit
def held_out(
  weights: network.Weights, chart: Chart, photo: Array, true: Truth
) -> dict[str, Array]:
  """Returns errors on the face after several looks, as shares of the mean head's.

  The mean head is laid roughly on the photos at first. `face3` is the error of the head
  and `places3` that of visible points in the photo after three looks.
  """
  photos = photo.astype(jnp.float32) / 255
  view = rough_views(jax.random.key(5), chart, true, roughness=2.0)
  front, seen = chart.face[None], chart.face[None] * true.seen
  mean = lambda x, w: (jnp.abs(x) * w).sum() / w.sum()
  truth = charts.points(chart.cells(true.face))
  away = mean(targets(chart, true, view).places, seen)
  plain = mean(charts.points(chart.mean[None]) - truth, front)
  errors: dict[str, Array] = {}
  for k in (1, 2, 3):
    out = network.outputs(weights, network.drawn(chart, photos, view))
    left = mean(targets(chart, true, view).places - out.places, seen)
    found = read.look(chart, view, out)
    head = mean(charts.points(chart.cells(found.face)) - truth, front)
    errors |= {f"face{k}": head / plain, f"places{k}": left / away}
    view = found.view
  said = (out.seen > 0) == (true.seen > 0.5)
  return errors | {"seen": said.astype(jnp.float32).mean()}


class Memory:
  """The network's last answers by number of the photo; not part of the saved state."""

  def __init__(self):
    self.none = Answers(
      View(np.eye(3, dtype=np.float32), np.zeros(3, np.float32), np.float32(0)),
      np.bool_(False),
    )
    self.answers: dict[int, Answers] = {}

  def of(self, numbers: np.ndarray) -> Answers:
    """Returns the last answers to photos."""
    rows = [self.answers.get(int(k), self.none) for k in numbers]
    return jax.tree.map(lambda *x: np.stack(x), *rows)

  def keep(self, numbers: np.ndarray, answers: Answers) -> None:
    """Keeps answers to photos."""
    whole = jax.tree.map(np.asarray, answers)
    for row, k in enumerate(numbers):
      self.answers[int(k)] = jax.tree.map(lambda x, r=row: x[r], whole)


def save(state: State, folder: pathlib.Path) -> None:
  """Writes the training state, and the averaged weights in float16."""
  leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
  named = {f"leaf{k:04d}": leaf for k, leaf in enumerate(leaves)}
  _write(folder / "state.npz", named)
  average = {k: np.asarray(v, np.float16) for k, v in state.average.items()}
  _write(folder / "weights.npz", average)


def _write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
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
  parser.add_argument("--batch", type=int, default=24)
  parser.add_argument("--rate", type=float, default=1e-3)
  parser.add_argument("--decay", type=float, default=0.7, help="last share of steps")
  parser.add_argument("--start", type=pathlib.Path, help="weights to start from")
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  options.folder.mkdir(parents=True, exist_ok=True)
  head = truths.head()
  count = len(head.chart.modes)
  names = arrays_of(count)
  transform = optimizer(names, options.rate, options.steps, options.decay)
  state = initial(options.seed, count, transform)
  if options.start:
    with np.load(options.start, allow_pickle=False) as data:
      weights = {name: jnp.asarray(data[name], jnp.float32) for name in state.weights}
    average = jax.tree.map(jnp.copy, weights)
    state = state._replace(weights=weights, average=average)
  state = restored(state, options.folder)
  step = stepper(transform)
  photos = truths.Photos(head, options.bank, "train", twice=True)
  memory = Memory()
  tests: truths.Photos | None = None
  begun, recent, known = time.monotonic(), [], 0
  for k in range(int(state.step), options.steps):
    if k % 50 == 0 or not known:
      known = photos.refresh()
    rng = np.random.default_rng([options.seed, k])
    numbers = rng.choice(known, options.batch, replace=False)
    rows = photos.rows(numbers)
    state, answers, terms = step(state, head.chart, *rows, memory.of(numbers))
    memory.keep(numbers, answers)
    recent.append({name: float(value) for name, value in terms.items()})
    last = k + 1 == options.steps
    if (k + 1) % 50 == 0:
      means = {n: round(float(np.mean([r[n] for r in recent])), 4) for n in recent[0]}
      took = time.monotonic() - begun
      print(f"step {k + 1} of {known} photos {means} {took:.0f} s", flush=True)
      recent = []
    if (k + 1) % 250 == 0 or last:
      save(state, options.folder)
    if (k + 1) % 500 == 0 or last:
      tests = tests or truths.Photos(head, options.bank, "test")
      several = [
        held_out(state.average, head.chart, *tests.rows(range(a, a + bank.SHARD)))
        for a in range(0, tests.refresh(), 2 * bank.SHARD)
      ]
      means = {n: round(float(np.mean([r[n] for r in several])), 4) for n in several[0]}
      line = {"step": k + 1, "photos": known, **means}
      print("held out", line, flush=True)
      with (options.folder / "curve.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
  main()
