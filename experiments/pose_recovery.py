"""Recovers poses, scales and shapes of meshes from their pictures, through silhouettes.

    python experiments/pose_recovery.py [--starts 100] [--only cube,head,shape]

A picture of a mesh in a random pose (4 x 4 samples a pixel, noise of 2/255, 8 bits) is
all that the optimiser sees, besides the mesh, its texture and the camera. It starts up
to 30 degrees off about each of three axes (composed: 29 degrees in the mean, 50 at
most) and shifted, and succeeds within 0.5 degrees of the truth:

- `cube`: six plain colours; rotation and translation.
- `head`: the embedded head's mean; rotation and translation.
- `shape`: the head of another person; rotation, shift, scale and six identity
  coefficients, from up to 15 degrees off. Not solved: none of 25 (`--retries 0`).
  Most likely because a step is limited by its largest entry, and coefficients that the
  picture hardly shows ask for large ones, so that the rotation stands still.

The recipe, for users: the difference of the pictures is blurred, less and less (sigma
of an eighth of the picture, then half as much each time, then none), and each time
reduced by Levenberg-Marquardt steps. The Jacobian is exact: `jax.linearize` through
`rasterize`, `interpolate`, `texture` and `antialias` shares one search for triangles
between all parameters. A picture whose difference stays above 0.0175 (root mean square;
noise and sampling make 0.015) was not found: up to six times it is tried again, from
the start and from the best end in turn, turned by up to 25 degrees about each axis, and
the best end counts. The figures
say how many needed none of that.

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

from affjax import render
from affjax.geometry import camera as cameras
from affjax.geometry import mesh, rotation, uv
from affjax.heads import embedded
from affjax.ops import blur
from affjax.render import head
from affjax.types import Camera

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results" / "pose_recovery.json"
PICTURES = ROOT / "docs" / "images"
SIZE, SAMPLES, CHUNK = 64, 4, 25
CAMERA = Camera(distance=13.0)
SIGMAS = (8.0, 4.0, 2.0, 1.0, 0.0)
STEPS = 8
UNFOUND = 0.0175
MODES = 6
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
QUADS = np.array(
  [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
)


class State(NamedTuple):
  """What is to be found, for each picture."""

  rotation: jax.Array  # [N, 3, 3]
  translation: jax.Array  # [N, 3], dm
  shape: jax.Array  # [N, K]: log of the scale, then identity coefficients

  def moved(self, step) -> "State":
    """A step `[N, 6 + K]`: turned about the mesh's centre, shifted, deformed."""
    turn = rotation.axis_angle_to_matrix(step[:, :3])
    turned = jnp.einsum("nij,njk->nik", turn, self.rotation, precision="highest")
    return State(turned, self.translation + step[:, 3:6], self.shape + step[:, 6:])


class Task(NamedTuple):
  """A mesh to recover."""

  draw: object  # (state, size) -> pictures [N, size, size, 3] over black
  free: tuple[int, ...]  # of `State.moved`'s step
  angle_deg: float  # off at the start, at most, about each axis
  modes: int  # K


def world(points, state: State):
  """Points in the world."""
  turned = jnp.einsum("nvj,nij->nvi", points, state.rotation, precision="highest")
  return turned + state.translation[:, None]


def cube() -> Task:
  """A cube with an edge of 1 dm, a colour on each face."""
  tri = np.concatenate([QUADS[:, [0, 1, 2]], QUADS[:, [0, 2, 3]]]).astype(np.int32)
  colors = [[0.9, 0.3, 0.2], [0.2, 0.6, 0.9], [0.3, 0.8, 0.3], [0.9, 0.8, 0.2]]
  colors += [[0.7, 0.3, 0.8], [0.9, 0.9, 0.9]]
  corner_colors = jnp.asarray(
    np.repeat(np.tile(np.array(colors), (2, 1)), 3, 0)[None], jnp.float32
  )
  own_corners = np.arange(36, dtype=np.int32).reshape(12, 3)
  points = jnp.asarray(0.5 * CORNERS[None], jnp.float32)

  def draw(state, size):
    placed = world(jnp.repeat(points, len(state.shape), 0), state)
    clip = cameras.world_to_clip(placed, CAMERA)
    rast = render.rasterize(clip, tri, (size, size))
    color = render.interpolate(corner_colors, rast, own_corners)
    return render.antialias(color, rast, clip, tri)

  return Task(draw, tuple(range(6)), 30.0, 0)


def heads(*, deformed: bool) -> Task:
  """The embedded head, optionally of unknown size and identity."""
  model = embedded.load()
  template = model.template
  texture = painted(template)
  mean = jnp.asarray(template.vertices)[None]
  basis = jnp.asarray(
    model.identity_basis[:MODES] * model.identity_std[:MODES, None, None]
  )

  def draw(state, size):
    points = jnp.repeat(mean, len(state.shape), 0)
    if deformed:
      points += jnp.einsum(
        "nk,kvc->nvc", state.shape[:, 1:], basis, precision="highest"
      )
      points *= jnp.exp(state.shape[:, :1, None])
    return head.render_head(
      world(points, state), texture, template, CAMERA, (size, size)
    )[0]

  if not deformed:
    return Task(draw, tuple(range(6)), 30.0, 0)
  # Scale and distance look alike through this narrow lens: the distance is known.
  free = (*range(5), *range(6, 7 + MODES))
  return Task(draw, free, 15.0, 1 + MODES)


def painted(template) -> jax.Array:
  """Skin with lips, brows and eyes, and a light from the upper left painted on."""
  color = np.broadcast_to([0.88, 0.68, 0.58], (*template.masks["skin"].shape, 3))
  for name, paint in (
    ("lips", [0.7, 0.35, 0.35]),
    ("brows", [0.25, 0.18, 0.12]),
    ("eyes", [0.3, 0.25, 0.22]),
    ("mouth", [0.4, 0.2, 0.18]),
  ):
    weight = template.masks[name][..., None]
    color = color * (1 - weight) + np.array(paint) * weight
  normal = mesh.vertex_normals(jnp.asarray(template.vertices)[None], template.faces)
  light = 0.45 + 0.55 * jnp.maximum(normal @ jnp.array([-0.45, 0.55, 0.7]), 0)
  shade = uv.map_from_vertices(light[..., None], uv.uv_table(template, len(color)))
  return jnp.asarray(color, jnp.float32)[None] * shade


def random_state(rng, task: Task, count: int) -> State:
  """Truths: up to 15 degrees about each axis, 0.15 dm off, shapes of one sigma."""
  turn = rotation.axis_angle_to_matrix(random_turn(rng, 15.0, count))
  shift = rng.uniform(-0.15, 0.15, (count, 3))
  shape = rng.normal(size=(count, task.modes))
  shape[:, :1] = rng.uniform(-0.12, 0.12, (count, min(task.modes, 1)))
  return State(turn, *(jnp.asarray(v, jnp.float32) for v in (shift, shape)))


def random_start(rng, task: Task, truth: State) -> State:
  """Turned off the truth and shifted by up to 0.3 dm (0.5 in depth); mean shape."""
  count = len(truth.shape)
  off = rng.uniform(-1, 1, (count, 3)) * [0.3, 0.3, 0.5]
  off[:, 2] *= 5 in task.free
  step = np.concatenate([random_turn(rng, task.angle_deg, count), off], 1)
  bare = truth._replace(shape=jnp.zeros((count, 0)))
  moved = bare.moved(jnp.asarray(step, jnp.float32))
  return moved._replace(shape=jnp.zeros_like(truth.shape))


def random_turn(rng, limit_deg: float, count: int) -> np.ndarray:
  """Axis-angle of three turns, each up to a limit."""
  angles = (rng.uniform(-limit_deg, limit_deg, count) for _ in range(3))
  return np.asarray(rotation.euler_deg_to_axis_angle(*angles))


@functools.partial(jax.jit, static_argnums=0)
def photographed(draw, state, noise):
  """Pictures with supersampling, noise and eight bits."""
  fine = draw(state, SIZE * SAMPLES)
  picture = fine.reshape(-1, SIZE, SAMPLES, SIZE, SAMPLES, 3).mean((2, 4)) + noise
  return jnp.round(jnp.clip(picture, 0, 1) * 255) / 255


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def normal_equations(draw, free, sigma, state, target):
  """`J^T J`, `J^T r` and `r^2` of each picture's blurred difference."""
  width = 6 + state.shape.shape[1]

  def residual(step):
    whole = jnp.zeros((len(target), width)).at[:, jnp.array(free)].set(step)
    difference = draw(state.moved(whole), SIZE) - target
    return blur.gaussian_blur(difference, sigma=sigma).reshape(len(target), -1)

  r, push = jax.linearize(residual, jnp.zeros((len(target), len(free))))
  directions = jnp.repeat(jnp.eye(len(free))[:, None], len(target), 1)
  J = jax.vmap(push)(directions)
  return (
    jnp.einsum("inp,jnp->nij", J, J, precision="highest"),
    jnp.einsum("inp,np->ni", J, r, precision="highest"),
    jnp.sum(r * r, -1),
  )


def recovered(task: Task, state: State, target) -> tuple[State, np.ndarray]:
  """The state after coarse-to-fine Levenberg-Marquardt, and its squared difference."""
  cost = np.zeros(len(target))
  for sigma in SIGMAS:
    damping = np.full(len(target), 1e-2)
    evaluate = functools.partial(normal_equations, task.draw, task.free, sigma)
    A, g, cost = (np.asarray(v, np.float64) for v in evaluate(state, target))
    for _ in range(STEPS):
      scaled = damping[:, None, None] * A * np.eye(len(task.free))
      step = -np.linalg.solve(A + scaled + 1e-9 * np.eye(len(task.free)), g[..., None])
      step = capped(step[..., 0])
      whole = np.zeros((len(target), 6 + task.modes), np.float32)
      whole[:, list(task.free)] = step
      candidate = state.moved(jnp.asarray(whole))
      fresh = [np.asarray(v, np.float64) for v in evaluate(candidate, target)]
      better = fresh[2] < cost
      damping = np.where(better, damping / 4, damping * 6)
      A, g, cost = (chosen(better, *v) for v in zip(fresh, (A, g, cost), strict=True))
      state = State(*(chosen(better, *v) for v in zip(candidate, state, strict=True)))
  return state, cost


def chosen(better, new, old):
  """The new value of each picture that has become better."""
  shape = better.reshape(-1, *[1] * (np.ndim(new) - 1))
  return np.where(shape, new, old)


def capped(step):
  """At most about 15 degrees and 0.3 dm at a time."""
  longest = np.abs(step).max(1, keepdims=True)
  return step * np.minimum(1, 0.3 / np.maximum(longest, 1e-12))


def angle_deg(a: State, b: State) -> np.ndarray:
  """Between rotations."""
  product = np.einsum(
    "nij,nij->n", *(np.asarray(v.rotation, np.float64) for v in (a, b))
  )
  return np.degrees(np.arccos(np.clip((product - 1) / 2, -1, 1)))


def run(task: Task, count: int, seed: int, retries: int):
  """Figures of a task, and pictures (start, found, truth) of the first eight."""
  rng = np.random.default_rng(seed)
  truth = random_state(rng, task, count)
  start = random_start(rng, task, truth)
  found, costs, at_once, shown, seconds = [], [], [], None, time.time()
  for first in range(0, count, CHUNK):
    part = slice(first, first + CHUNK)
    true, begin = (State(*(v[part] for v in s)) for s in (truth, start))
    noise = rng.normal(size=(len(true.shape), SIZE, SIZE, 3)) * 2 / 255
    target = photographed(task.draw, true, jnp.asarray(noise, jnp.float32))
    state, cost = recovered(task, begin, target)
    at_once.append((angle_deg(state, true) <= 0.5).sum())
    for k in range(retries):
      if rmse(cost).max() < UNFOUND:
        break
      again = state if k % 2 else begin
      state, cost = retried(task, rng, again, target, (state, cost))
    found.append(state)
    costs.append(cost)
    if shown is None:  # the first eight
      ends = [jax.jit(task.draw, static_argnums=1)(s, SIZE) for s in (begin, state)]
      shown = np.concatenate([np.asarray(v[:8]) for v in (ends[0], ends[1], target)])
    print(f"  {first + len(cost)}: {angle_deg(state, true).round(2)}", flush=True)
  found = State(*(jnp.concatenate(v) for v in zip(*found, strict=True)))
  figures = report(task, truth, start, found, np.concatenate(costs))
  figures["within_0.5_deg_at_once"] = int(sum(at_once))
  return figures | {"seconds": round(time.time() - seconds, 1)}, shown


def retried(task: Task, rng, begin: State, target, best: tuple):
  """The better of the best so far and another try from a turned start."""
  step = np.zeros((len(target), 6 + task.modes), np.float32)
  step[:, :3] = random_turn(rng, 25.0, len(target))
  state, cost = recovered(task, begin.moved(jnp.asarray(step)), target)
  better = (cost < best[1]) & (rmse(best[1]) > UNFOUND)
  pairs = zip(state, best[0], strict=True)
  state = State(*(jnp.asarray(chosen(better, *pair)) for pair in pairs))
  return state, np.where(better, cost, best[1])


def rmse(cost):
  """Root mean square difference of a pixel."""
  return np.sqrt(cost / (SIZE * SIZE * 3))


def report(task: Task, truth: State, start: State, found: State, cost) -> dict:
  """Success rates and errors."""
  angle, before = angle_deg(found, truth), angle_deg(start, truth)
  good = angle <= 0.5
  shift = np.linalg.norm(
    np.asarray(found.translation - truth.translation)[:, :2], axis=1
  )
  figures = {
    "starts": len(angle),
    "within_0.5_deg": int(good.sum()),
    "start_deg": {"mean": round(before.mean(), 2), "max": round(before.max(), 2)},
    "median_deg": round(float(np.median(angle)), 4),
    "worst_success_deg": round(float(angle[good].max(initial=0)), 3),
    "failures": [
      {"start_deg": round(before[k], 1), "end_deg": round(angle[k], 2)}
      | {"rmse": round(float(rmse(cost[k])), 4)}
      for k in np.flatnonzero(~good)
    ],
    "median_rmse": round(float(np.median(rmse(cost))), 4),
    "median_shift_dm": round(float(np.median(shift)), 5),
  }
  if task.modes:
    off = np.asarray(found.shape - truth.shape)
    figures["median_scale_error"] = round(float(np.median(np.abs(off[:, 0]))), 5)
    figures["median_coefficient_error_sigma"] = round(
      float(np.median(np.abs(off[:, 1:]))), 4
    )
  return figures


def main() -> None:
  """Runs the tasks and writes figures and pictures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--starts", type=int, default=100)
  parser.add_argument(
    "--only", default="cube,head,shape", help="tasks, comma-separated"
  )
  parser.add_argument("--retries", type=int, default=6)
  parser.add_argument("--seed", type=int, default=0)
  arguments = parser.parse_args()
  makers = {
    "cube": cube,
    "head": lambda: heads(deformed=False),
    "shape": lambda: heads(deformed=True),
  }
  record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"tasks": {}}
  for name in arguments.only.split(","):
    figures, shown = run(
      makers[name](), arguments.starts, arguments.seed, arguments.retries
    )
    print(name, json.dumps(figures), flush=True)
    record["tasks"][name] = figures | {
      "seed": arguments.seed,
      "retries": arguments.retries,
    }
    settings = {"size": SIZE, "sigmas": SIGMAS, "steps_each": STEPS}
    record |= settings | {"jax": jax.__version__, "machine": platform.machine()}
    RESULTS.write_text(json.dumps(record, indent=2) + "\n")
    strips = shown.reshape(3, -1, SIZE, SIZE, 3).transpose(0, 2, 1, 3, 4)
    sheet = strips.reshape(3 * SIZE, -1, 3).clip(0, 1).repeat(2, 0).repeat(2, 1)
    picture = Image.fromarray((sheet * 255).astype(np.uint8)).quantize(192)
    picture.save(PICTURES / f"rendering_pose_{name}.png", optimize=True)


if __name__ == "__main__":
  main()
