"""Closed-form alignment of corresponding points (Umeyama 1991)."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.types import ArrayLike

ALIGNMENTS = ("none", "scale", "rigid", "similarity")


class Similarity(NamedTuple):
  """A similarity transform of points, `scale * rotation @ p + translation`.

  Attributes:
    rotation: rotation matrix, determinant +1.
    scale: factor, > 0; 1 for a rigid motion.
    translation: in the unit of the points.
  """

  rotation: Float[Array, "*b 3 3"]
  scale: Float[Array, "*b"]
  translation: Float[Array, "*b 3"]

  def __call__(self, points: Float[ArrayLike, "*b p 3"]) -> Float[Array, "*b p 3"]:
    """Transforms points."""
    turned = jnp.einsum("...pj,...ij->...pi", points, self.rotation)
    return self.scale[..., None, None] * turned + self.translation[..., None, :]


def align(
  source: Float[ArrayLike, "*b p 3"],
  target: Float[ArrayLike, "*b p 3"],
  weights: Float[ArrayLike, " p"],
  *,
  scaled: bool,
) -> Similarity:
  """Returns the transform of `source` with the least weighted squares to `target`.

  Args:
    source: points to transform.
    target: the same points where they should lie.
    weights: weight of each point, >= 0; at least three points that do not lie on a line
      need a positive one.
    scaled: whether the scale is estimated too; otherwise the motion is rigid.
  """
  share = (jnp.asarray(weights) / jnp.sum(jnp.asarray(weights)))[..., None]
  share = jnp.broadcast_to(share, (*source.shape[:-1], 1))
  from_mean = jnp.sum(share * source, -2, keepdims=True)
  to_mean = jnp.sum(share * target, -2, keepdims=True)
  a, b = source - from_mean, target - to_mean
  covariance = jnp.einsum("...pi,...pj->...ij", share * b, a, precision="highest")
  u, s, vt = jnp.linalg.svd(covariance)
  # A reflection would fit better where the determinant is negative: it is not allowed.
  sign = jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt))
  flip = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign], -1)
  rotation = jnp.einsum("...ik,...k,...kj->...ij", u, flip, vt, precision="highest")
  spread = jnp.sum(share * a * a, (-2, -1))
  scale = jnp.sum(s * flip, -1) / spread if scaled else jnp.ones_like(spread)
  moved = jnp.einsum(
    "...ij,...j->...i", rotation, from_mean[..., 0, :], precision="highest"
  )
  return Similarity(rotation, scale, to_mean[..., 0, :] - scale[..., None] * moved)


def aligned(
  source: Float[ArrayLike, "*b p 3"],
  target: Float[ArrayLike, "*b p 3"],
  weights: Float[ArrayLike, " p"],
  alignment: str,
) -> Float[Array, "*b p 3"]:
  """Returns `source` after the alignment of that name: one of `ALIGNMENTS`.

  Raises:
    ValueError: the name is unknown.
  """
  return alignment_of(source, target, weights, alignment)(source)


def alignment_of(
  source: Float[ArrayLike, "*b p 3"],
  target: Float[ArrayLike, "*b p 3"],
  weights: Float[ArrayLike, " p"],
  alignment: str,
) -> Similarity:
  """Returns the alignment of that name: one of `ALIGNMENTS`.

  "scale" is a scale and a translation, "rigid" a rotation and a translation,
  "similarity" all three.

  Raises:
    ValueError: the name is unknown.
  """
  if alignment not in ALIGNMENTS:
    raise ValueError(
      f"alignment must be one of {', '.join(ALIGNMENTS)}, got {alignment!r}"
    )
  if alignment in ("rigid", "similarity"):
    return align(source, target, weights, scaled=alignment == "similarity")
  lead = jnp.asarray(source).shape[:-2]
  still = jnp.broadcast_to(jnp.eye(3), (*lead, 3, 3))
  if alignment == "none":
    return Similarity(still, jnp.ones(lead), jnp.zeros((*lead, 3)))
  share = (jnp.asarray(weights) / jnp.sum(jnp.asarray(weights)))[..., None]
  share = jnp.broadcast_to(share, (*lead, *share.shape))
  from_mean, to_mean = (jnp.sum(share * p, -2, keepdims=True) for p in (source, target))
  a, b = source - from_mean, target - to_mean
  scale = jnp.sum(share * a * b, (-2, -1)) / jnp.sum(share * a * a, (-2, -1))
  return Similarity(
    still, scale, to_mean[..., 0, :] - scale[..., None] * from_mean[..., 0, :]
  )
