"""Rotations as axis-angle vectors and matrices.

The matrix of a NumPy array is a NumPy array.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import ArrayLike, ArrayT, namespace


def axis_angle_to_matrix(rotation: Float[ArrayT, "*b 3"]) -> Float[ArrayT, "*b 3 3"]:
  """Returns the rotation matrix of an axis-angle vector (Rodrigues' formula).

  Below 1e-4 rad the series of sin(a)/a and (1 - cos a)/a² replace the quotients, which
  lose precision there, and `sqrt`, whose derivative is infinite at zero. Values and
  gradients are finite everywhere.

  Args:
    rotation: axis times angle, radians.
  """
  xp = namespace(rotation)
  angle2 = xp.sum(rotation * rotation, -1)
  small = angle2 < 1e-8
  safe2 = xp.where(small, 1.0, angle2)
  angle = xp.sqrt(safe2)
  a = xp.where(small, 1 - angle2 / 6, xp.sin(angle) / angle)
  b = xp.where(small, 0.5 - angle2 / 24, (1 - xp.cos(angle)) / safe2)
  x, y, z = rotation[..., 0], rotation[..., 1], rotation[..., 2]
  zero = xp.zeros_like(x)
  cross = xp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
  cross = cross.reshape((*rotation.shape[:-1], 3, 3))
  eye = xp.broadcast_to(xp.eye(3, dtype=cross.dtype), cross.shape)
  full = {} if xp is np else {"precision": "highest"}
  square = xp.matmul(cross, cross, **full)
  return eye + a[..., None, None] * cross + b[..., None, None] * square


def matrix_to_axis_angle(matrix: Float[ArrayLike, "*b 3 3"]) -> Float[Array, "*b 3"]:
  """Returns the axis-angle vector, with angle in [0, pi], of a rotation matrix.

  Computed by way of the unit quaternion, starting from its largest component, which is
  accurate at every angle, including half turns.
  """
  m = matrix
  trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
  # Rows of the symmetric matrix 4 q qᵀ; the row of the largest diagonal is safe.
  diagonal = [
    1 + trace,
    1 + 2 * m[..., 0, 0] - trace,
    1 + 2 * m[..., 1, 1] - trace,
    1 + 2 * m[..., 2, 2] - trace,
  ]
  w = [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0]]
  w.append(m[..., 1, 0] - m[..., 0, 1])
  xy = m[..., 0, 1] + m[..., 1, 0]
  xz = m[..., 0, 2] + m[..., 2, 0]
  yz = m[..., 1, 2] + m[..., 2, 1]
  rows = [
    jnp.stack([diagonal[0], w[0], w[1], w[2]], -1),
    jnp.stack([w[0], diagonal[1], xy, xz], -1),
    jnp.stack([w[1], xy, diagonal[2], yz], -1),
    jnp.stack([w[2], xz, yz, diagonal[3]], -1),
  ]
  best = jnp.argmax(jnp.stack(diagonal, -1), -1)[..., None]
  q = jnp.take_along_axis(jnp.stack(rows, -2), best[..., None], -2)[..., 0, :]
  q = q / jnp.linalg.norm(q, axis=-1, keepdims=True)
  q = jnp.where(q[..., :1] < 0, -q, q)
  sine = jnp.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
  angle = 2 * jnp.arctan2(sine, q[..., :1])
  return q[..., 1:] * jnp.where(
    sine < 1e-6, 2.0, angle / jnp.where(sine < 1e-6, 1, sine)
  )


def euler_deg_to_axis_angle(
  yaw_deg: Float[ArrayLike, "*b"],
  pitch_deg: Float[ArrayLike, "*b"],
  roll_deg: Float[ArrayLike, "*b"],
) -> Float[Array, "*b 3"]:
  """Returns the axis-angle vector of `R_roll R_yaw R_pitch`: pitch is applied first.

  Args:
    yaw_deg: positive turns the face towards +x (the right of the image).
    pitch_deg: positive makes the face look down.
    roll_deg: positive tilts the head counter-clockwise in the image.
  """
  zero = jnp.zeros_like(yaw_deg)
  pitch, yaw, roll = (
    axis_angle_to_matrix(jnp.deg2rad(jnp.stack(v, -1)))
    for v in ((pitch_deg, zero, zero), (zero, yaw_deg, zero), (zero, zero, roll_deg))
  )
  product = jnp.matmul(yaw, pitch, precision="highest")
  return matrix_to_axis_angle(jnp.matmul(roll, product, precision="highest"))
