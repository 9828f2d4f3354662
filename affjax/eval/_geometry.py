"""Errors of shapes, normals, poses and landmarks whose truth is known.

Every function returns one number a sample, so that tables can print medians, intervals
and strata. Points are vertices or texels of a position map, in head space.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.eval._alignment import aligned
from affjax.geometry import rotation
from affjax.types import ArrayLike


def position_error(
  predicted: Float[ArrayLike, "n p 3"],
  truth: Float[ArrayLike, "n p 3"],
  weights: Float[ArrayLike, " p"],
  *,
  alignment: str = "none",
  region: Float[ArrayLike, " p"] | None = None,
) -> Float[Array, " n"]:
  """Mean absolute difference of a coordinate, dm.

  Args:
    predicted: predicted points, dm.
    truth: true points, dm.
    weights: weight of each point in the alignment (usually the mask of the face).
    alignment: "none", "rigid" or "similarity" (closed form, least squares).
    region: weight of each point in the mean; default: `weights`.

  Returns:
    The error of each sample, dm. Divided by 0.009 it is in percent of the distance of
    the outer eye corners of the mean embedded head.

  Raises:
    ValueError: the alignment is unknown.
  """
  moved = aligned(predicted, truth, weights, alignment)
  return _weighted_mean(jnp.mean(jnp.abs(moved - truth), -1), weights, region)


def distance_error(
  predicted: Float[ArrayLike, "n p 3"],
  truth: Float[ArrayLike, "n p 3"],
  weights: Float[ArrayLike, " p"],
  *,
  alignment: str = "none",
  region: Float[ArrayLike, " p"] | None = None,
) -> Float[Array, " n"]:
  """Mean distance of corresponding points, mm; arguments as `position_error`."""
  moved = aligned(predicted, truth, weights, alignment)
  distance = 100 * jnp.linalg.norm(moved - truth, axis=-1)
  return _weighted_mean(distance, weights, region)


def normal_error(
  predicted: Float[ArrayLike, "n p 3"],
  truth: Float[ArrayLike, "n p 3"],
  weights: Float[ArrayLike, "n p"],
) -> Float[Array, " n"]:
  """Mean angle between normals, degrees.

  Args:
    predicted: predicted normals of any length > 0.
    truth: true normals of any length > 0.
    weights: weight of each normal in its sample. A sample without any gives NaN.
  """
  cosine = jnp.sum(_unit(predicted) * _unit(truth), -1)
  angle = jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))
  return jnp.sum(angle * weights, -1) / jnp.sum(jnp.asarray(weights), -1)


def rotation_error(
  predicted: Float[ArrayLike, "n 6"], truth: Float[ArrayLike, "n 6"]
) -> Float[Array, " n"]:
  """Angle of the rotation between two poses, degrees."""
  first = rotation.axis_angle_to_matrix(jnp.asarray(predicted)[:, :3])
  second = rotation.axis_angle_to_matrix(jnp.asarray(truth)[:, :3])
  between = jnp.einsum("nij,nik->njk", first, second, precision="highest")
  # The chord is exact for small angles, where the arc cosine of the trace is not.
  chord = jnp.linalg.norm(between - jnp.eye(3)[None], axis=(-2, -1))
  return jnp.degrees(2 * jnp.arcsin(jnp.clip(chord / jnp.sqrt(8.0), 0, 1)))


def translation_error(
  predicted: Float[ArrayLike, "n 6"], truth: Float[ArrayLike, "n 6"]
) -> Float[Array, "n 2"]:
  """Offset of a pose across and along the optical axis, mm."""
  offset = 100 * (jnp.asarray(predicted)[:, 3:] - jnp.asarray(truth)[:, 3:])
  return jnp.stack([jnp.linalg.norm(offset[:, :2], axis=-1), jnp.abs(offset[:, 2])], -1)


def landmark_error(
  predicted: Float[ArrayLike, "n 68 2"],
  truth: Float[ArrayLike, "n 68 2"],
) -> Float[Array, "n 2"]:
  """Normalized mean error of the 68 landmarks, percent of the interocular distance.

  Returns:
    For each sample the error of the inner landmarks (17 to 67) and of the contour
    (0 to 16), divided by the distance of the true outer eye corners (36 and 45).
  """
  truth = jnp.asarray(truth)
  unit = jnp.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)[:, None]
  distance = 100 * jnp.linalg.norm(predicted - truth, axis=-1) / unit
  return jnp.stack([jnp.mean(distance[:, 17:], 1), jnp.mean(distance[:, :17], 1)], -1)


def _weighted_mean(
  values: Float[Array, "n p"],
  weights: Float[ArrayLike, " p"],
  region: Float[ArrayLike, " p"] | None,
) -> Float[Array, " n"]:
  chosen = jnp.asarray(weights if region is None else region)
  return jnp.sum(values * chosen[None], -1) / jnp.sum(chosen)


def _unit(vectors: Float[ArrayLike, "n p 3"]) -> Float[Array, "n p 3"]:
  vectors = jnp.asarray(vectors)
  norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norm, 1e-12)
