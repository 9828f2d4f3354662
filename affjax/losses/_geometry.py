"""Shape and pose against their (pseudo) ground truth."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.geometry import camera
from affjax.losses import _mean
from affjax.losses._mean import Mean


def position_l1(
  position: Float[Array, "n s s 3"],
  target: Float[Array, "n s s 3"],
  support: Float[Array, "s s"] | Bool[Array, "s s"],
) -> Mean:
  """L1 between predicted and pseudo-ground-truth position map (paper, eq. 4).

  Args:
    position: predicted position map, head space, dm.
    target: pseudo ground truth, dm.
    support: texels that count: `UVTable.support`, the charts and their gutter.

  Returns:
    The mean absolute difference of a coordinate, dm: 0.009 is one percent of the
    distance of the outer eye corners.
  """
  _mean.require_same_shape("position", position, "target", target)
  return _mean.masked_l1(position, target, support[None, :, :, None])


def pose_l1(
  pose: Float[Array, "n 6"],
  target: Float[Array, "n 6"],
  has_pose: Float[Array, " n"],
  points: Float[Array, "p 3"],
) -> Mean:
  """Auxiliary, not in the paper: how far apart two poses bring the same head.

  Comparing moved points instead of the six numbers needs no weight between radians and
  decimetres, and it has no jump where the axis-angle vector wraps around.

  Args:
    pose: predicted axis-angle rotation and translation.
    target: true pose; only read where `has_pose` is positive.
    has_pose: weight of each sample.
    points: points of the head, head space, dm: the template's vertices, or some.

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
