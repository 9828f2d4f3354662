"""Rigid motions between points."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def superposed(
  points: Float[Array, "p 3"], target: Float[Array, "p 3"], weight: Float[Array, " p"]
) -> tuple[Float[Array, "3 3"], Float[Array, " 3"]]:
  """Returns the rigid motion that lays points on others (Kabsch 1976).

  Args:
    points: Points.
    target: Where they should lie.
    weight: Weight of each point, of any scale.

  Returns:
    Rotation matrix and translation.
  """
  weight = (weight / weight.sum())[:, None]
  middles = (points * weight).sum(0), (target * weight).sum(0)
  mixed = (target - middles[1][None]).T @ (weight * (points - middles[0][None]))
  left, _, right = jnp.linalg.svd(mixed)
  sign = jnp.sign(jnp.linalg.det(left @ right))
  turn = (left * jnp.array([[1.0, 1.0, sign]])) @ right
  return turn, middles[1] - turn @ middles[0]
