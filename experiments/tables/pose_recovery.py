"""Recovers poses, scales and shapes of meshes from their pictures, through silhouettes.

    python -m experiments.tables.pose_recovery [--starts 100] [--only cube,head,shape]

One picture of a mesh in a random pose (4 x 4 samples a pixel, noise of 2/255, 8 bits)
is all that the optimizer sees, besides the mesh, its texture and the camera. It starts
up to 30 degrees off about each of three axes (composed: 29 degrees in the mean, 50 at
most) and shifted. It has succeeded if its end is within 0.5 degrees of the truth and,
of a shape, if the vertices are on average within 1 mm of theirs as well:

- `cube`: six plain colors; rotation and translation.
- `head`: the embedded head's mean; rotation and translation.
- `shape`: the head of another person; rotation, shift, scale and six identity
  coefficients (of one standard deviation; the mean head is 6 mm off).

The recipe, for users:

- The difference of the pictures is blurred, less and less, and the picture small at
  first (`LEVELS`); at the end the mesh is drawn with 2 x 2 samples a pixel, without
  which the picture's own sampling is the largest error.
- Levenberg-Marquardt steps. The Jacobian is exact: `jax.linearize` through `rasterize`,
  `interpolate`, `texture` and `antialias` shares one search for triangles between all
  parameters. Rotation, shift, scale and coefficients have each a limit of their own to
  a step, so that none waits for another.
- A shape's parameters are worth their prior (a standard deviation each) against the
  picture's noise, estimated as the mean square of the difference as it is: far from the
  truth the shape hardly moves, near it the picture decides.
- Turned the wrong way is a local minimum. Where the picture still differs by more than
  its noise, 96 turned starts are drawn, the coarse levels begin again from the three
  that look most like it, and the one that then differs least goes on; that up to four
  times.

Writes `experiments/results/pose_recovery.json` and
`docs/images/rendering_pose_*.png`.
"""

import argparse
import functools
import json
import pathlib
import platform
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax.ops import gaussian_blur
from experiments.tables import pose_scenes as scenes

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results" / "pose_recovery.json"
PICTURES = ROOT / "docs" / "images"
CHUNK = 25
# Longest steps: radians, dm, logarithm, standard deviations.
BLOCKS = ((slice(0, 3), 0.3), (slice(3, 6), 0.3), (slice(6, 7), 0.1), (slice(7, 99), 1))
WITHIN_DEG, WITHIN_DM = 0.5, 0.01
# Noise and sampling of a solved picture make 0.008 or 0.009 (root mean square).
UNFOUND = 0.01
TURNED_DEG, SCANNED, TRIED = 35.0, 96, 3


class Level(NamedTuple):
  """A comparison of images: both are shrunk, then their difference is blurred."""

  shrunk: int  # the side, by this factor
  samples: int  # samples per pixel of the mesh's image, along each axis
  sigma: float  # shrunk pixels, 0 = not blurred
  steps: int  # at most


SEARCH = (Level(2, 1, 4.0, 8), Level(2, 1, 2.0, 6), Level(2, 1, 1.0, 6))
LEVELS = (Level(1, 1, 2.0, 6), Level(1, 1, 0.7, 6), Level(1, 2, 0.0, 8))


class Equations(NamedTuple):
  """`J^T J`, `J^T r` and `r^2` of each picture's difference."""

  A: jax.Array | np.ndarray
  g: jax.Array | np.ndarray
  r2: jax.Array | np.ndarray


def difference(task: scenes.Task, level: Level, state, target) -> jax.Array:
  """Between the pictures of states and those to explain, `[N, pixels]`."""
  size, by = scenes.SIZE // level.shrunk, level.shrunk
  seen = target.reshape(-1, size, by, size, by, 3).mean((2, 4))
  drawn = scenes.averaged(task.draw, state, size, level.samples)
  return gaussian_blur(drawn - seen, sigma=level.sigma).reshape(len(seen), -1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def normal_equations(task: scenes.Task, level: Level, state, target) -> Equations:
  """The least-squares problem at a state."""
  count, width = len(target), 6 + len(task.spread)

  def residual(step):
    whole = jnp.zeros((count, width)).at[:, jnp.array(task.free)].set(step)
    return difference(task, level, state.moved(whole), target)

  r, push = jax.linearize(residual, jnp.zeros((count, len(task.free))))
  directions = jnp.repeat(jnp.eye(len(task.free))[:, None], count, 1)
  J = jax.vmap(push)(directions)
  return Equations(
    jnp.einsum("inp,jnp->nij", J, J, precision="highest"),
    jnp.einsum("inp,np->ni", J, r, precision="highest"),
    jnp.sum(r * r, -1),
  )


def descended(task: scenes.Task, level: Level, state, target):
  """The state after a level's Levenberg-Marquardt steps, and its mean square."""
  count, free = len(target), list(task.free)
  inverse = np.array([0.0] * 6 + [s**-2 for s in task.spread])[free]
  pixels = 3 * (scenes.SIZE // level.shrunk) ** 2
  # Blurred pixels are fewer than they look.
  alike = max(1.0, 4 * np.pi * level.sigma**2)

  def evaluate(state):
    found = normal_equations(task, level, state, target)
    return Equations(*(np.asarray(v, np.float64) for v in found))

  def known(state):
    return np.concatenate([np.zeros((count, 6)), state.shape], 1)[:, free]

  damping, now = np.full(count, 1e-2), evaluate(state)
  for _ in range(level.steps):
    weight = (alike * now.r2 / pixels)[:, None] * inverse
    bent = now.A + weight[:, :, None] * np.eye(len(free))
    damped = bent * (1 + damping[:, None, None] * np.eye(len(free)))
    slope = now.g + weight * known(state)
    step = -np.linalg.solve(damped + 1e-9 * np.eye(len(free)), slope[..., None])
    whole = np.zeros((count, 6 + len(task.spread)), np.float32)
    whole[:, free] = step[..., 0]
    candidate = state.moved(jnp.asarray(capped(whole)))
    fresh = evaluate(candidate)
    cost = lambda r2, at, weight=weight: r2 + (weight * known(at) ** 2).sum(1)
    gain = 1 - cost(fresh.r2, candidate) / cost(now.r2, state)
    better = gain > 0
    damping = np.where(better, damping / 4, damping * 6)
    now = Equations(*(chosen(better, *v) for v in zip(fresh, now, strict=True)))
    state = kept(better, candidate, state)
    if gain.max() < 1e-3:
      break
  return state, now.r2 / pixels


def capped(step: np.ndarray) -> np.ndarray:
  """Each block of a step `[N, 6 + K]` shortened to its limit."""
  for block, limit in BLOCKS:
    longest = np.abs(step[:, block]).max(1, keepdims=True, initial=1e-12)
    step[:, block] *= np.minimum(1, limit / longest)
  return step


def chosen(better, new, old):
  """The new value of each picture that has become better."""
  return np.where(better.reshape(-1, *[1] * (np.ndim(new) - 1)), new, old)


def kept(better, new: scenes.State, old: scenes.State) -> scenes.State:
  """`chosen`, of states."""
  return scenes.State(*(chosen(better, *pair) for pair in zip(new, old, strict=True)))


def searched(task: scenes.Task, rng, begin, target):
  """Turned starts after the coarse levels: of many the few, then the one, that look
  most like the picture."""
  turns = scenes.random_turn(rng, TURNED_DEG, SCANNED * len(target))
  turns = turns.reshape(SCANNED, len(target), 3)
  costs = np.asarray(scanned(task, begin, target, turns))
  best, least = begin, np.full(len(target), np.inf)
  for order in np.argsort(costs, 0)[:TRIED]:
    step = np.zeros((len(target), 6 + len(task.spread)), np.float32)
    step[:, :3] = np.asarray(turns)[order, np.arange(len(target))]
    state, cost = solved(task, SEARCH, begin.moved(jnp.asarray(step)), target)
    best = kept(cost < least, state, best)
    least = np.minimum(cost, least)
  return best


@functools.partial(jax.jit, static_argnums=0)
def scanned(task: scenes.Task, begin, target, turns) -> jax.Array:
  """The squared difference of each picture after each turn."""
  rest = jnp.zeros((len(target), 3 + len(task.spread)))

  def one(turn):
    state = begin.moved(jnp.concatenate([turn, rest], 1))
    return jnp.sum(difference(task, SEARCH[-1], state, target) ** 2, -1)

  return jax.lax.map(one, turns)


def solved(task: scenes.Task, levels, state, target):
  """The state after some levels, and its mean square."""
  cost = np.zeros(len(target))
  for level in levels:
    state, cost = descended(task, level, state, target)
  return state, cost


def recovered(task: scenes.Task, rng, begin, target, rounds: int):
  """The states found, their root mean squares, and the states before further rounds."""
  run = functools.partial(solved, task, SEARCH + LEVELS)
  at_once, cost = in_chunks(run, begin, target)
  state = scenes.State(*(np.array(v) for v in at_once))

  def again(begin, target):
    return solved(task, LEVELS, searched(task, rng, begin, target), target)

  for _ in range(rounds):
    unfound = np.flatnonzero(np.sqrt(cost) > UNFOUND)
    print(f"  {len(unfound)} of {len(cost)} not found", flush=True)
    if not len(unfound):
      break
    # The place is nearly right after the first time, whatever the rotation.
    placed = state._replace(rotation=np.asarray(begin.rotation)).part(unfound)
    other, its = in_chunks(again, placed, target[unfound])
    better = its < cost[unfound]
    for new, old in zip(other, state, strict=True):
      old[unfound[better]] = new[better]
    cost[unfound] = np.minimum(its, cost[unfound])
  return state, np.sqrt(cost), at_once


def in_chunks(solve, begin: scenes.State, target):
  """`solve` of few pictures at a time, always as many."""
  found = []
  for first in range(0, len(target), CHUNK):
    rows = np.minimum(np.arange(first, first + CHUNK), len(target) - 1)
    state, cost = solve(begin.part(rows), target[rows])
    count = min(CHUNK, len(target) - first)
    found.append((*state.part(slice(count)), cost[:count]))
  *state, cost = (np.concatenate(v) for v in zip(*found, strict=True))
  return scenes.State(*state), cost


def run(task: scenes.Task, count: int, seed: int, rounds: int):
  """Figures of a task, and pictures (start, found, truth) of the first eight."""
  rng = np.random.default_rng(seed)
  truth = scenes.random_state(rng, task, count)
  begin = scenes.random_start(rng, task, truth)
  noise = rng.normal(size=(count, scenes.SIZE, scenes.SIZE, 3)) * scenes.NOISE
  target = np.concatenate(
    [
      scenes.photographed(task.draw, truth.part(part), jnp.asarray(noise[part]))
      for part in np.split(np.arange(count), range(CHUNK, count, CHUNK))
    ]
  )
  began = time.monotonic()
  found, rmse, at_once = recovered(task, rng, begin, target, rounds)
  end = lambda state, target: (state, rmse_of(task, state, target))
  figures = report(task, truth, begin, found, rmse, in_chunks(end, truth, target)[1])
  figures["successes_at_once"] = int(succeeded(task, at_once, truth).sum())
  figures["seconds"] = round(time.monotonic() - began, 1)
  look = lambda s: np.asarray(task.draw(s.part(slice(8)), scenes.SIZE))
  return figures, np.stack([look(begin), look(found), target[:8]])


@functools.partial(jax.jit, static_argnums=0)
def rmse_of(task: scenes.Task, state, target) -> jax.Array:
  """Root mean square difference of each picture at the last level."""
  return jnp.sqrt(jnp.mean(difference(task, LEVELS[-1], state, target) ** 2, -1))


def angle_deg(a: scenes.State, b: scenes.State) -> np.ndarray:
  """Between rotations."""
  turned = (np.asarray(v.rotation, np.float64) for v in (a, b))
  product = np.einsum("nij,nij->n", *turned)
  return np.degrees(np.arccos(np.clip((product - 1) / 2, -1, 1)))


def distance_dm(task: scenes.Task, a: scenes.State, b: scenes.State) -> np.ndarray:
  """Between the vertices, in the mean, in the world."""
  return np.linalg.norm(task.place(a) - task.place(b), axis=-1).mean(-1)


def succeeded(task: scenes.Task, found: scenes.State, truth: scenes.State):
  """Returns which poses are found."""
  good = angle_deg(found, truth) <= WITHIN_DEG
  return good & (distance_dm(task, found, truth) <= WITHIN_DM) if task.spread else good


def report(task: scenes.Task, truth, begin, found, rmse, least) -> dict:
  """Success rates and errors; `least` is the truth's own difference."""
  angle, before = angle_deg(found, truth), angle_deg(begin, truth)
  distance = distance_dm(task, found, truth)
  good = succeeded(task, found, truth)
  figures = {
    "starts": len(angle),
    "successes": int(good.sum()),
    "start_deg": {"mean": round(before.mean(), 2), "max": round(before.max(), 2)},
    "median_deg": round(float(np.median(angle)), 4),
    "worst_success_deg": round(float(angle[good].max(initial=0)), 3),
    "median_distance_mm": round(100 * float(np.median(distance)), 3),
    "failures": [
      {
        "start_deg": round(before[k], 1),
        "end_deg": round(angle[k], 2),
        "distance_mm": round(100 * float(distance[k]), 2),
        "rmse": round(float(rmse[k]), 5),
        "rmse_of_truth": round(float(least[k]), 5),
      }
      for k in np.flatnonzero(~good)
    ],
    "median_rmse": round(float(np.median(rmse)), 4),
  }
  if task.spread:
    flat = begin._replace(rotation=truth.rotation, translation=truth.translation)
    off = np.abs(np.asarray(found.shape - truth.shape))
    figures["mean_shape_distance_mm"] = round(
      100 * float(np.median(distance_dm(task, flat, truth))), 3
    )
    figures["median_scale_error"] = round(float(np.median(off[:, 0])), 5)
    figures["median_coefficient_error_sigma"] = round(float(np.median(off[:, 1:])), 4)
  return figures


def main() -> None:
  """Runs the tasks and writes figures and pictures."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
  parser.add_argument("--starts", type=int, default=100)
  parser.add_argument("--only", default="cube,head,shape", help="comma-separated")
  parser.add_argument("--rounds", type=int, default=4, help="for those not found")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--dry", action="store_true", help="write nothing")
  options = parser.parse_args()
  makers = {
    "cube": scenes.cube,
    "head": lambda: scenes.heads(deformed=False),
    "shape": lambda: scenes.heads(deformed=True),
  }
  for name in options.only.split(","):
    figures, shown = run(makers[name](), options.starts, options.seed, options.rounds)
    print(name, json.dumps(figures), flush=True)
    if not options.dry:
      settings = {k: getattr(options, k) for k in ("seed", "rounds")}
      write(name, settings | figures, shown)


def write(name: str, figures: dict, shown: np.ndarray) -> None:
  """Adds a task to the results, and its picture to the documentation's."""
  record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
  levels = {"search": SEARCH, "levels": LEVELS}
  record = {k: [v._asdict() for v in of] for k, of in levels.items()} | {
    "criterion": {"within_deg": WITHIN_DEG, "shape_within_mm": 100 * WITHIN_DM},
    "size": scenes.SIZE,
    "jax": jax.__version__,
    "machine": platform.machine(),
    "tasks": record["tasks"] | {name: figures},
  }
  scratch = RESULTS.with_name(".pose_recovery.json")
  scratch.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
  scratch.replace(RESULTS)
  size = scenes.SIZE
  sheet = shown.transpose(0, 2, 1, 3, 4).reshape(3 * size, -1, 3)
  sheet = (sheet.clip(0, 1) * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
  picture = Image.fromarray(sheet).quantize(192)
  picture.save(PICTURES / f"rendering_pose_{name}.png", optimize=True)


if __name__ == "__main__":
  main()
