"""A mean whose sum and count stay apart until the end."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.types import ArrayLike

Mask = Float[ArrayLike, "*m"] | Bool[ArrayLike, "*m"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
  """A weighted mean, as the sum of the weighted values and the sum of the weights.

  The mean of the means of shards is wrong where masks differ between the shards; sums
  may be added in any order. Under plain `jit`, with or without sharded inputs, nothing
  needs to be done; inside `shard_map`, or over accumulated steps, add first
  (`mean.psum("data")`, `a + b`) and take `value` last.

  Attributes:
    total: Sum of weight times value.
    weight: Sum of the weights, >= 0.
  """

  total: Float[ArrayLike, ""]
  weight: Float[ArrayLike, ""]

  @property
  def value(self) -> Float[Array, ""]:
    """The mean; 0 with zero gradient where nothing has weight."""
    empty = self.weight <= 0
    return jnp.where(empty, 0.0, self.total / jnp.where(empty, 1.0, self.weight))

  def __add__(self, other: "Mean") -> "Mean":
    return Mean(self.total + other.total, self.weight + other.weight)

  def psum(self, axis_name: str | Sequence[str]) -> "Mean":
    """Returns the mean over all devices of a `shard_map` axis."""
    return Mean(*jax.lax.psum((self.total, self.weight), axis_name))


def masked_mean(values: Float[ArrayLike, "*s"], mask: Mask | None = None) -> Mean:
  """Returns the mean of values under a mask.

  Args:
    values: Values of any shape.
    mask: Weights >= 0 of the same rank; axes of length 1 broadcast; `None` = all ones.

  Raises:
    ValueError: The shapes do not fit.
  """
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  if mask is None:
    return Mean(jnp.sum(values), jnp.asarray(float(values.size), values.dtype))
  fits = values.ndim == mask.ndim and all(
    m in (1, v) for v, m in zip(values.shape, mask.shape, strict=True)
  )
  if not fits:
    raise ValueError(
      f"mask must have the rank of the values and their lengths or 1, got mask "
      f"{mask.shape} for values {values.shape}"
    )
  mask = mask.astype(values.dtype)
  repeats = values.size // max(mask.size, 1)
  return Mean(jnp.sum(values * mask), jnp.sum(mask) * repeats)


def masked_l1(
  values: Float[ArrayLike, "*s"],
  target: Float[ArrayLike, "*s"],
  mask: Mask | None = None,
) -> Mean:
  """Returns the mean absolute difference under a mask, as `masked_mean` does.

  Where the mask is zero, values and target may be anything, NaN included: neither the
  mean nor its gradient sees them.
  """
  if mask is None:
    return masked_mean(jnp.abs(values - target))
  # Selected before `abs`: the slope of |NaN| times zero would still be NaN.
  return masked_mean(jnp.abs(jnp.where(mask > 0, values - target, 0.0)), mask)


def require_same_shape(
  name: str, array: ArrayLike, target_name: str, target: ArrayLike
) -> None:
  """Raises a ValueError unless two arrays have one shape: nothing may broadcast."""
  if array.shape != target.shape:
    raise ValueError(
      f"{name} and {target_name} must have the same shape, got {array.shape} and "
      f"{target.shape}"
    )
