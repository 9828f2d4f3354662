"""The head whose landmarks lie at given places of an image; one face, for `vmap`.

The unknowns are the pose, the focal length where it is not known, and D coefficients
with normal priors and bounds. The data are 51 inner landmarks, which are fixed to the
surface, and 17 of the jaw, which slide: at each step each of them is the candidate that
lies on the outline, near where it belongs. Its distance along the outline counts
little. Openings of lids and lips count once more: how far two landmarks are apart is
known better than where they are. Errors are in percent of the interocular distance,
under the robust loss of Geman and McClure.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from affjax.faces import _least_squares, _pose
from affjax.faces._fit.model_points import ModelPoints
from affjax.types import Camera

INNER = 51
# Outer eye corners among the inner landmarks, which are 17-67.
_EYES = (19, 28)
# Pairs of inner landmarks across the openings of eyes and mouth: the upper ones, and
# the lower ones.
_ABOVE, _BELOW = (20, 21, 26, 27, 44, 45, 46), (24, 23, 30, 29, 50, 49, 48)


@dataclasses.dataclass(frozen=True)
class FitSettings:
  """Noise and effort of a fit.

  Attributes:
    inner: Standard deviation of inner landmarks, % of the interocular distance.
    opening: Standard deviation of how far lids, and lips, are apart, %.
    across: Standard deviation of the jaw's landmarks across the outline, %.
    along: Standard deviation of the jaw's landmarks along the outline, %.
    outlier: Multiple of these from about which on an error loses its weight.
    facing: Cosine between normal and line of sight that costs a candidate as much as
      `slide`.
    slide: Distance on the head, dm.
    pose_steps: Number of steps with the mean head.
    steps: Number of steps with everything.
    focal: Prior standard deviation of the logarithm of the focal length over the
      camera's; 0 trusts the camera.
  """

  inner: float = 1.5
  opening: float = 1.0
  across: float = 3.0
  along: float = 8.0
  outlier: float = 4.0
  facing: float = 0.35
  slide: float = 0.1
  pose_steps: int = 8
  steps: int = 12
  focal: float = 0.0


class State(NamedTuple):
  """A head: rotation matrix, translation (dm), logarithm of zoom, coefficients."""

  turn: Float[Array, "3 3"]
  shift: Float[Array, " 3"]
  zoom: Float[Array, ""]
  values: Float[Array, " d"]


class Seen(NamedTuple):
  """The 68 landmarks of a head in the image.

  Attributes:
    ndc: Image coordinates in [-1, 1]; landmarks 17-67 first, then the jaw's 0-16.
    jacobian: Derivatives of `ndc` by the components of a step, see `moved`.
    chosen: Indices of the landmarks among the model's points.
  """

  ndc: Float[Array, "68 2"]
  jacobian: Float[Array, "68 2 n"]
  chosen: Int[Array, " 68"]


def solve(
  points: ModelPoints,
  target: Float[Array, "68 2"],
  camera: Camera,
  settings: FitSettings,
) -> tuple[State, Float[Array, "68 2"], Bool[Array, ""]]:
  """Returns the head whose landmarks meet given places.

  Args:
    points: Points of the model.
    target: Image coordinates in [-1, 1], in the order of `Seen`.
    camera: Camera of the image.
    settings: Noise and effort.

  Returns:
    The head, its landmarks, and whether the last step hardly changed the cost.
  """
  # Without modes the pose alone is found; the best of some starts goes on.
  mean = points.without_modes()
  zoom = jnp.zeros((), target.dtype)

  def begin(pose: _pose.Rigid):
    state = State(*pose, zoom, jnp.asarray(mean.sigma))
    return _descend(mean, target, state, camera, settings, settings.pose_steps)

  inner, weights = jnp.asarray(mean.mean)[:INNER], jnp.ones(INNER, target.dtype)
  found = jax.vmap(begin)(_pose.starts(inner, target[:INNER], weights, camera))
  best = jnp.argmin(jnp.where(jnp.isfinite(found.cost), found.cost, jnp.inf))
  state = jax.tree.map(lambda x: x[best], found.state)
  state = state._replace(values=jnp.zeros_like(points.sigma))
  end = _descend(points, target, state, camera, settings, settings.steps)
  return end.state, see(points, end.state, camera, settings).ndc, end.change < 1e-2


def _descend(
  points: ModelPoints,
  target: Float[Array, "68 2"],
  state: State,
  camera: Camera,
  settings: FitSettings,
  steps: int,
) -> _least_squares.Minimum[State]:
  def linearize(state: State):
    rows, slopes = errors(points, target, state, camera, settings)
    return rows.reshape(-1), slopes.reshape(rows.size, -1)

  def free(state: State, gradient: Float[Array, " n"]):
    # A coefficient stays at a bound while the cost falls beyond it.
    down, up = gradient[7:] > 0, gradient[7:] < 0
    stuck = ((state.values <= points.low) & down) | ((state.values >= points.high) & up)
    return jnp.concatenate([jnp.ones(6, bool), jnp.array([settings.focal > 0]), ~stuck])

  def unknowns(state: State) -> Float[Array, " n"]:
    return jnp.concatenate([jnp.zeros(6), state.zoom[None], state.values])

  focal = 1 / settings.focal**2 if settings.focal else 0.0
  prior = _least_squares.Prior(
    unknowns,
    jnp.concatenate([jnp.zeros(6), jnp.array([focal]), 1 / points.sigma**2]),
  )
  return _least_squares.minimize(
    linearize,
    functools.partial(robust_loss, settings=settings),
    moved,
    state,
    steps=steps,
    prior=prior,
    free=free,
    constrain=lambda state: state._replace(
      values=jnp.clip(state.values, points.low, points.high)
    ),
  )


def errors(
  points: ModelPoints,
  target: Float[Array, "68 2"],
  state: State,
  camera: Camera,
  settings: FitSettings,
) -> tuple[Float[Array, "75 2"], Float[Array, "75 2 n"]]:
  """Returns errors in standard deviations, and their derivatives.

  The first 68 are those of the landmarks, the others those of the openings.
  """
  unit = 100 / jnp.maximum(jnp.linalg.norm(target[_EYES[1]] - target[_EYES[0]]), 1e-8)
  seen = see(points, state, camera, settings)
  along = _along(seen.ndc[INNER:])
  scaled = lambda x: _standardized(x * unit, along, settings)
  return scaled(seen.ndc - target), jax.vmap(scaled, -1, -1)(seen.jacobian)


def see(
  points: ModelPoints, state: State, camera: Camera, settings: FitSettings
) -> Seen:
  """Returns the landmarks of a head as the camera sees them."""
  chosen = _chosen(points, state, camera, settings)
  modes = points.modes[chosen]
  turned = (points.mean[chosen] + modes @ state.values) @ state.turn.T
  ndc, by_pose = _pose.see(turned, state.shift, camera)
  by_values = jnp.einsum("pix,xy,pyd->pid", by_pose[..., 3:], state.turn, modes)
  slopes = jnp.concatenate([by_pose, ndc[..., None], by_values], -1)
  zoom = jnp.exp(state.zoom)
  return Seen(zoom * ndc, zoom * slopes, chosen)


def _chosen(
  points: ModelPoints, state: State, camera: Camera, settings: FitSettings
) -> Int[Array, " 68"]:
  """Returns which points stand for the landmarks: of the jaw's, one candidate each."""
  count = points.slide.shape[1]
  head = points.mean[INNER:] + points.modes[INNER:] @ state.values
  world = (head @ state.turn.T + state.shift[None]).reshape(17, count, 3)
  normals = points.normals @ state.turn.T
  sight = jnp.array([[[0.0, 0.0, camera.distance]]]) - world
  facing = (normals * sight).sum(-1) / jnp.linalg.norm(sight, axis=-1)
  # What faces away is not seen at all.
  facing = jnp.where(facing < 0, 3 * facing, facing)
  cost = (facing / settings.facing) ** 2 + (points.slide / settings.slide) ** 2
  jaw = INNER + jnp.arange(17) * count + jnp.argmin(cost, 1)
  return jnp.concatenate([jnp.arange(INNER), jaw])


def _along(jaw: Float[Array, "17 2"]) -> Float[Array, "17 2"]:
  """Returns the unit direction of the outline at each of the jaw's landmarks."""
  ends = jnp.concatenate([jaw[1:], jaw[-1:]]) - jnp.concatenate([jaw[:1], jaw[:-1]])
  return ends / jnp.maximum(jnp.linalg.norm(ends, axis=-1, keepdims=True), 1e-8)


def _standardized(
  error: Float[Array, "68 2"], along: Float[Array, "17 2"], settings: FitSettings
) -> Float[Array, "75 2"]:
  """Returns errors in standard deviations, the jaw's across and along the outline."""
  across = jnp.stack([-along[:, 1], along[:, 0]], -1)
  outline = jnp.stack(
    [
      (across * error[INNER:]).sum(-1) / settings.across,
      (along * error[INNER:]).sum(-1) / settings.along,
    ],
    -1,
  )
  openings = error[jnp.array(_BELOW)] - error[jnp.array(_ABOVE)]
  return jnp.concatenate(
    [error[:INNER] / settings.inner, outline, openings / settings.opening]
  )


def robust_loss(rows: Float[Array, " m"], settings: FitSettings) -> _least_squares.Loss:
  """Returns Geman and McClure's loss of pairs of rows."""
  limit = settings.outlier**2
  square = (rows.reshape(-1, 2) ** 2).sum(-1)
  weight = 2 * jnp.repeat((limit / (limit + square)) ** 2, 2)
  cost = (limit * square / (limit + square)).sum()
  return _least_squares.Loss(cost, weight * rows, weight)


def moved(state: State, step: Float[Array, " n"]) -> State:
  """Returns a head after a step."""
  return State(
    _pose.turned(state.turn, step[:3]),
    state.shift + step[3:6],
    state.zoom + jnp.clip(step[6], -0.3, 0.3),
    state.values + step[7:],
  )
