"""The most probable face given what a photo says: a linear Gaussian estimate.

The pose of the mean head comes first. Around it the numbers of a photo are linear in
what is unknown: changes of the view, and the components of the face, which are
independent standard normal. The errors of the numbers are normal with a measured joint
covariance, so that the posterior is normal, too (Rasmussen and Williams 2006, A.6;
the inverse by Woodbury's identity).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces._surface import head_model
from affjax.faces._surface.anchors import Anchors, Errors, pose_features
from affjax.faces._surface.head_model import VIEW, View
from affjax.faces._surface.votes import Observed


@dataclasses.dataclass(frozen=True)
class EstimateSettings:
  """Priors and effort.

  Attributes:
    steps: Number of steps in which the mean head is placed.
    outlier: Number of deviations from which on a point loses its weight (Cauchy).
    shift: Prior deviations of the translation, dm; the crop has found the face.
    distance: Prior mean and deviation of the logarithm of the camera's distance, dm.
  """

  steps: int = 6
  outlier: float = 3.0
  shift: tuple[float, float, float] = (0.3, 0.3, 1.0)
  distance: tuple[float, float] = (2.1, 0.35)


class Estimate(NamedTuple):
  """Posterior of a photo's face.

  Attributes:
    face: Expected components, see `Anchors`.
    precision: Inverse of their covariance, before `Errors.calibration`.
    view: Where the camera sees the face.
    seen: Share of the anchors that are seen.
    misfit: Median standardized error of the numbers, in multiples of what is usual on
      held-out synthetic photos; NaN if nothing is known.
  """

  face: Float[Array, "*n d"]
  precision: Float[Array, "*n d d"]
  view: View
  seen: Float[Array, "*n"]
  misfit: Float[Array, "*n"]


def estimate(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  start: View,
  settings: EstimateSettings = EstimateSettings(),
) -> Estimate:
  """Returns the posterior of one photo's face.

  Args:
    anchors: Anchors on the head.
    errors: Distribution of the errors.
    observed: Measurements of the photo.
    start: Roughly where the mean head lies.
    settings: Priors and effort.
  """
  none = jnp.zeros(anchors.modes.shape[-1])
  spread = jnp.sqrt((errors.factors**2).sum(0) + errors.variance)
  view = _placed(anchors, errors, observed, start, settings)
  error, slopes, known = standardized(anchors, errors, observed, none, view)
  known = known * _weights(error / spread, settings)
  gradient, hessian = normal_equations(errors, error, slopes, known)
  prior = _view_precision(settings)
  gradient = gradient.at[:VIEW].add(-prior @ _away(view, settings))
  precision = hessian + jax.scipy.linalg.block_diag(prior, jnp.eye(len(none)))
  step = jnp.linalg.solve(precision, gradient)
  # What remains about the face once the view is unknown: the Schur complement.
  crossed = precision[:VIEW, VIEW:]
  inner = precision[VIEW:, VIEW:] - crossed.T @ jnp.linalg.solve(
    precision[:VIEW, :VIEW], crossed
  )
  face = errors.gain * step[VIEW:]
  turned = jnp.linalg.solve(precision[:VIEW, :VIEW], gradient[:VIEW] - crossed @ face)
  left = (error - slopes @ jnp.concatenate([turned, face])) / spread
  misfit = jnp.nanmedian(jnp.where(known > 0, jnp.abs(left), jnp.nan)) / errors.misfit
  return Estimate(
    face,
    inner,
    head_model.moved(view, turned),
    observed.seen.mean(),
    misfit,
  )


def _placed(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  start: View,
  settings: EstimateSettings,
) -> View:
  """Returns the view in which the mean head lies best on what is seen, robustly."""
  none, rigid = jnp.zeros(0), _rigid(anchors)
  spread = jnp.sqrt((errors.factors**2).sum(0) + errors.variance)
  prior = _view_precision(settings)

  def body(_, view: View) -> View:
    error, slopes, known = standardized(rigid, errors, observed, none, view)
    weight = jnp.sqrt(known * _weights(error / spread, settings)) / spread
    a, b = slopes * weight[:, None], error * weight
    right = a.T @ b - prior @ _away(view, settings)
    return head_model.moved(view, jnp.linalg.solve(a.T @ a + prior, right))

  return jax.lax.fori_loop(0, settings.steps, body, start)


def seen_from(
  anchors: Anchors,
  face: Float[Array, " d"],
  own_face: Float[Array, " d"],
  own: View,
  start: View,
) -> View:
  """Returns the view in which a face lies where another one does.

  Args:
    anchors: Anchors on the head.
    face: Components of the face.
    own_face: Components of the face that lies right.
    own: The view in which it does.
    start: Where the descent starts; the distance of the camera stays as it is.
  """
  points = jnp.concatenate([anchors.points, anchors.mesh])
  modes = jnp.concatenate([anchors.modes, anchors.mesh_modes])
  shape, none = points + modes @ face, modes[..., :0]
  target, _ = head_model.seen(points + modes @ own_face, none, face[:0], own)

  def body(_, view: View) -> View:
    place, slopes = head_model.seen(shape, none, face[:0], view)
    a = slopes[..., :6].reshape(-1, 6)
    right = a.T @ (target - place).reshape(-1)
    step = jnp.linalg.solve(a.T @ a + 1e-6 * jnp.eye(6), right)
    return head_model.moved(view, jnp.append(step, 0.0))

  return jax.lax.fori_loop(0, 6, body, start)


def _rigid(anchors: Anchors) -> Anchors:
  """Returns anchors that do not move on the head."""
  return dataclasses.replace(
    anchors,
    modes=anchors.modes[..., :0],
    normal_modes=anchors.normal_modes[..., :0],
    mesh_modes=anchors.mesh_modes[..., :0],
  )


def standardized(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  face: Float[Array, " d"],
  view: View,
) -> tuple[Float[Array, " q"], Float[Array, "q n"], Float[Array, " q"]]:
  """Returns seen less expected numbers, slopes in the same units, and what is known."""
  values, slopes = head_model.numbers(anchors, face, view)
  unit, known = head_model.scales(observed)
  error = (head_model.told(observed) - values) / unit
  return error - pose_features(view.turn) @ errors.bias, slopes / unit[:, None], known


def normal_equations(
  errors: Errors,
  error: Float[Array, " q"],
  slopes: Float[Array, "q n"],
  weight: Float[Array, " q"],
) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
  """Returns slopes.T C^-1 error and slopes.T C^-1 slopes, C the errors' covariance.

  Args:
    errors: Distribution of the errors.
    error: Standardized errors.
    slopes: Derivatives of what was expected.
    weight: Factor on the precision of each number; 0 = unknown.
  """
  root = jnp.sqrt(weight / errors.variance)
  right = jnp.concatenate([slopes, error[:, None]], 1) * root[:, None]
  factors = errors.factors * root[None]
  mixed = factors @ right
  inner = factors @ factors.T + jnp.eye(len(factors))
  product = right[:, :-1].T @ right - mixed[:, :-1].T @ jnp.linalg.solve(inner, mixed)
  return product[:, -1], product[:, :-1]


def _weights(
  error: Float[Array, " q"], settings: EstimateSettings
) -> Float[Array, " q"]:
  """Returns Cauchy's weights of points, whose x and y belong together."""
  square = (error.reshape(-1, 2) ** 2).sum(1) / settings.outlier**2
  return jnp.repeat(1 / (1 + square), 2)


def _away(view: View, settings: EstimateSettings) -> Float[Array, " 7"]:
  """Returns a view less its prior mean."""
  distance = view.distance - settings.distance[0]
  return jnp.concatenate([jnp.zeros(3), view.shift, distance[None]])


def _view_precision(settings: EstimateSettings) -> Float[Array, "7 7"]:
  # The rotation has hardly a prior: enough for a photo that shows nothing.
  deviations = jnp.array([10.0] * 3 + [*settings.shift, settings.distance[1]])
  return jnp.diag(1 / deviations**2)
