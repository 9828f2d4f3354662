"""Levenberg-Marquardt over pose and coefficients, for one face; made for `vmap`.

Unknowns: a turn and a shift of the head, the focal length where it is not known, and D
coefficients with Gaussian priors and bounds. Data: pixels of 51 inner landmarks, which
are fixed to the surface, and 17 of the jaw, which slide: at each step each of them is
the candidate that lies on the outline, near where it belongs. Its distance along the
outline counts little. Errors are in percent of the interocular distance, through Geman
and McClure's robust kernel.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import linalg
from jaxtyping import Array, Bool, Float

from affjax.faces._fit.model_points import Marks
from affjax.geometry import rotation

INNER = 51


@dataclasses.dataclass(frozen=True)
class Settings:
  """Noise and effort.

  Attributes:
    inner: standard deviation of inner landmarks, % of the interocular distance.
    across: of the jaw's, across the outline.
    along: of the jaw's, along the outline.
    outlier: from about this multiple of them on an error loses its weight.
    facing: cosine between normal and line of sight that costs a candidate as much as
      `slide`.
    slide: distance on the head, dm.
    pose_steps: steps with the mean head.
    steps: steps with everything.
    focal: prior standard deviation of the logarithm of the focal length over the
      lens's; 0 = the lens is right.
  """

  inner: float = 1.5
  across: float = 3.0
  along: float = 8.0
  outlier: float = 4.0
  facing: float = 0.35
  slide: float = 0.1
  pose_steps: int = 8
  steps: int = 12
  focal: float = 0.0


class Lens(NamedTuple):
  """A pinhole camera in px: px = focal (x, -y) / (distance - z) + center."""

  focal: Float[Array, ""]
  distance: float
  center: float


class State(NamedTuple):
  """A head: rotation matrix, translation (dm), logarithm of zoom, coefficients."""

  turn: Float[Array, "3 3"]
  shift: Float[Array, " 3"]
  zoom: Float[Array, ""]
  values: Float[Array, " d"]


class Seen(NamedTuple):
  """The 68 model points in the picture.

  `chosen` are the indices of the points among the marks.
  """

  px: Float[Array, "68 2"]
  jacobian: Float[Array, "68 2 n"]
  chosen: Array


def project(world: Float[Array, "*b 3"], lens: Lens) -> Float[Array, "*b 2"]:
  """World space to px; what a step takes behind the camera stays before it."""
  depth = jnp.maximum(lens.distance - world[..., 2], 0.1)
  return jnp.stack(
    [
      lens.focal * world[..., 0] / depth + lens.center,
      -lens.focal * world[..., 1] / depth + lens.center,
    ],
    -1,
  )


def solve(
  marks: Marks,
  target: Float[Array, "68 2"],
  starts: Float[Array, "s 6"],
  lens: Lens,
  settings: Settings,
) -> tuple[State, Seen, Bool[Array, ""]]:
  """The head whose landmarks meet given pixels.

  Args:
    marks: of the model.
    target: px (x, y), inner landmarks 17-67 first, then the jaw's 0-16.
    starts: poses to start from; the best after some steps with the mean head goes on.
    lens: of the picture.
    settings: see there.

  Returns:
    The head, its landmarks, and whether the last step hardly changed anything.
  """
  unit = 100 / jnp.maximum(jnp.linalg.norm(target[28] - target[19]), 1e-6)
  mean = _mean_head(marks)

  def begin(pose):
    state = State(
      rotation.axis_angle_to_matrix(pose[:3]), pose[3:], jnp.float32(0), mean.sigma
    )
    state, cost, _ = _iterate(
      mean, target, state, lens, unit, settings, settings.pose_steps
    )
    return state, cost

  states, costs = jax.vmap(begin)(starts)
  best = jnp.argmin(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
  state = jax.tree.map(lambda x: x[best], states)._replace(
    values=jnp.zeros_like(marks.sigma)
  )
  state, _, change = _iterate(
    marks, target, state, lens, unit, settings, settings.steps
  )
  return state, see(marks, state, lens, settings), change < 1e-2


def _mean_head(marks: Marks) -> Marks:
  """The marks without any modes."""
  none = marks.sigma[:0]
  modes = marks.modes[..., :0]
  return dataclasses.replace(marks, modes=modes, sigma=none, low=none, high=none)


def see(marks: Marks, state: State, lens: Lens, settings: Settings) -> Seen:
  """The landmarks of a head, px, with derivatives by all unknowns, in their order."""
  lens = lens._replace(focal=lens.focal * jnp.exp(state.zoom))
  points = marks.mean + marks.modes @ state.values
  world = points @ state.turn.T
  chosen = _on_outline(marks, world[INNER:] + state.shift[None], state, lens, settings)
  at = jnp.concatenate([jnp.arange(INNER), chosen])
  turned = world[at]
  placed = turned + state.shift[None]
  depth = jnp.maximum(lens.distance - placed[:, 2], 0.1)
  scale = lens.focal / depth
  # Rows of d px / d world; the columns are scale, 0, scale x / depth, and so on.
  across = scale * placed[:, 0] / depth
  down = -scale * placed[:, 1] / depth
  modes = jnp.einsum("ij,qjd->qid", state.turn, marks.modes[at])
  spin = -_cross_matrices(turned)
  eye = jnp.broadcast_to(jnp.eye(3), (len(at), 3, 3))
  by = jnp.concatenate([spin, eye, modes], -1)
  px = project(placed, lens)
  s, a, d = (x[:, None] for x in (scale, across, down))
  jacobian = jnp.stack([s * by[:, 0] + a * by[:, 2], -s * by[:, 1] + d * by[:, 2]], 1)
  larger = (px - lens.center)[..., None]
  jacobian = jnp.concatenate([jacobian[..., :6], larger, jacobian[..., 6:]], -1)
  return Seen(px, jacobian, at)


def _on_outline(marks: Marks, placed, state: State, lens: Lens, settings: Settings):
  """Which candidate stands for each of the jaw's landmarks."""
  count = marks.slide.shape[1]
  placed = placed.reshape(17, count, 3)
  normals = marks.normals @ state.turn.T
  sight = jnp.array([[[0.0, 0.0, lens.distance]]]) - placed
  facing = (normals * sight).sum(-1) / jnp.linalg.norm(sight, axis=-1)
  # What faces away is not seen at all.
  facing = jnp.where(facing < 0, 3 * facing, facing)
  cost = (facing / settings.facing) ** 2 + (marks.slide / settings.slide) ** 2
  return INNER + jnp.arange(17) * count + jnp.argmin(cost, 1)


def _iterate(marks, target, state, lens, unit, settings: Settings, steps: int):
  """Some damped steps; the head, its cost, and the last relative change of the cost."""
  see_now = lambda state: see(marks, state, lens, settings)
  cost_of = lambda state, seen: _cost(marks, target, state, seen, unit, settings)

  def step(carry, _):
    state, seen, cost, damping, _ = carry
    trial = _moved(
      marks, state, _step(marks, target, state, seen, unit, settings, damping)
    )
    trial_seen = see_now(trial)
    trial_cost = cost_of(trial, trial_seen)
    better = trial_cost < cost
    pick = lambda new, old: jax.tree.map(lambda a, b: jnp.where(better, a, b), new, old)
    change = jnp.where(better, (cost - trial_cost) / jnp.maximum(cost, 1e-6), 0.0)
    damping = jnp.clip(damping * jnp.where(better, 0.2, 8.0), 1e-6, 1e6)
    new = pick((trial, trial_seen, trial_cost), (state, seen, cost))
    return (*new, damping, change), None

  seen = see_now(state)
  first = (state, seen, cost_of(state, seen), jnp.float32(1e-2), jnp.float32(1))
  (state, _, cost, _, change), _ = jax.lax.scan(step, first, None, length=steps)
  return state, cost, change


def _rows(target, seen: Seen, unit, settings: Settings):
  """Errors in standard deviations `[68, 2]`, and the frame `[68, 2, 2]` they are in."""
  error = (seen.px - target) * unit
  jaw = seen.px[INNER:]
  ends = jnp.concatenate([jaw[1:], jaw[-1:]]) - jnp.concatenate([jaw[:1], jaw[:-1]])
  way = ends / jnp.maximum(jnp.linalg.norm(ends, axis=-1, keepdims=True), 1e-6)
  way = jax.lax.stop_gradient(way)
  normal = jnp.stack([-way[:, 1], way[:, 0]], -1)
  frame = jnp.concatenate(
    [
      jnp.broadcast_to(jnp.eye(2) / settings.inner, (INNER, 2, 2)),
      jnp.stack([normal / settings.across, way / settings.along], 1),
    ]
  )
  return jnp.einsum("pij,pj->pi", frame, error), frame


def _cost(marks, target, state: State, seen: Seen, unit, settings: Settings):
  rows, _ = _rows(target, seen, unit, settings)
  square = (rows * rows).sum(-1)
  limit = settings.outlier**2
  prior = ((state.values / marks.sigma) ** 2).sum()
  if settings.focal:
    prior += (state.zoom / settings.focal) ** 2
  return (limit * square / (limit + square)).sum() + prior


def _step(marks, target, state, seen, unit, settings: Settings, damping):
  """The damped Gauss-Newton step `[7 + D]`; coefficients at a bound stay there."""
  rows, frame = _rows(target, seen, unit, settings)
  square = (rows * rows).sum(-1, keepdims=True)
  limit = settings.outlier**2
  weight = (limit / (limit + square)) ** 2
  jacobian = jnp.einsum("pij,pjn->pin", frame * unit, seen.jacobian)
  flat = jacobian.reshape(-1, jacobian.shape[-1])
  weights = jnp.broadcast_to(weight, rows.shape).reshape(-1)
  focal = 1 / settings.focal**2 if settings.focal else 1.0
  prior = jnp.concatenate([jnp.zeros(6), jnp.array([focal]), 1 / marks.sigma**2])
  gradient = flat.T @ (weights * rows.reshape(-1))
  gradient += prior * jnp.concatenate([jnp.zeros(6), state.zoom[None], state.values])
  hessian = (flat * weights[:, None]).T @ flat + jnp.diag(prior)
  free = jnp.concatenate(
    [
      jnp.ones(6, bool),
      jnp.array([settings.focal > 0]),
      ~((state.values <= marks.low) & (gradient[7:] > 0))
      & ~((state.values >= marks.high) & (gradient[7:] < 0)),
    ]
  )
  hessian = jnp.where(free[:, None] & free[None, :], hessian, 0.0)
  diagonal = jnp.where(free, jnp.diagonal(hessian) * damping + 1e-6, 1.0)
  factor = linalg.cho_factor(hessian + jnp.diag(diagonal))
  return -linalg.cho_solve(factor, jnp.where(free, gradient, 0.0))


def _moved(marks: Marks, state: State, step) -> State:
  # A step further than this has left the region where it means anything.
  size = jnp.linalg.norm(step[:3])
  turn = step[:3] * jnp.minimum(1.0, 0.6 / jnp.maximum(size, 1e-9))
  return State(
    rotation.axis_angle_to_matrix(turn) @ state.turn,
    state.shift + step[3:6],
    state.zoom + jnp.clip(step[6], -0.3, 0.3),
    jnp.clip(state.values + step[7:], marks.low, marks.high),
  )


def _cross_matrices(v: Float[Array, "p 3"]) -> Float[Array, "p 3 3"]:
  """`M u = v x u`."""
  x, y, z = v[:, 0], v[:, 1], v[:, 2]
  zero = jnp.zeros_like(x)
  rows = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
  return rows.reshape(-1, 3, 3)
