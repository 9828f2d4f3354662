"""Losses of shape and pose against their (pseudo) ground truth."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from affjax.geometry import camera
from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.types import ArrayLike


def position_l1(
  position: Float[ArrayLike, "n s s 3"],
  target: Float[ArrayLike, "n s s 3"],
  support: Float[ArrayLike, "s s"] | Bool[ArrayLike, "s s"],
) -> Mean:
  """Returns the L1 difference of position maps (paper, eq. 4).

  Args:
    position: Predicted position maps, head space, dm.
    target: Pseudo ground truth, dm.
    support: Texels that count: `UVTable.support`, the charts and their gutter.

  Returns:
    The mean absolute difference of a coordinate, dm: 0.009 is one percent of the
    distance of the outer eye corners.
  """
  _mean.require_same_shape("position", position, "target", target)
  return _mean.masked_l1(position, target, support[None, :, :, None])


def pose_l1(
  pose: Float[ArrayLike, "n 6"],
  target: Float[ArrayLike, "n 6"],
  has_pose: Float[ArrayLike, " n"],
  points: Float[ArrayLike, "p 3"],
) -> Mean:
  """Returns how far apart two poses move the same head; not in the paper.

  Comparing moved points instead of the six numbers needs no weight between radians and
  decimeters, and it has no jump where the axis-angle vector wraps around.

  Args:
    pose: Predicted axis-angle rotation (radians) and translation (dm).
    target: Known pose; read only where `has_pose` is positive.
    has_pose: Weight of each sample.
    points: Points of the head, head space, dm: the template's vertices, or some.

  Returns:
    The mean absolute difference of a coordinate over the points, dm.
  """
  _mean.require_same_shape("pose", pose, "target", target)
  known = (has_pose > 0)[:, None]
  # An unknown pose may hold anything; zeros keep the rotation's gradient finite.
  moved, wanted = (
    camera.head_to_world(points, jnp.where(known, p, 0.0)) for p in (pose, target)
  )
  return _mean.masked_l1(moved, wanted, has_pose[:, None, None])
