"""Initializers that can also fill a parameter by NumPy, without compiling.

`jit(init)` of a network costs more than compiling its training step. A parameter here
carries its initializer as metadata, and `affjax.models` fills it from NumPy.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


@dataclasses.dataclass(frozen=True)
class Normal:
  """An initializer of normal numbers of standard deviation `gain / sqrt(fan in)`.

  The fan in is the product of all axes but the last.

  Attributes:
    gain: Gain; sqrt(2) keeps the variance through a rectifier, 0 is zero.
  """

  gain: float = 1.0

  def scale(self, shape: tuple[int, ...]) -> float:
    return self.gain / max(int(np.prod(shape[:-1])), 1) ** 0.5

  def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values, float32, by NumPy."""
    if not self.gain:
      return np.zeros(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(self.scale(shape))

  def __call__(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns values of the same distribution by JAX."""
    return jax.random.normal(key, shape, jnp.float32) * self.scale(shape)


@dataclasses.dataclass(frozen=True)
class Values:
  """An initializer of fixed values, repeated over the shape.

  Attributes:
    values: Values of the last axis; one number fills it all.
  """

  values: tuple[float, ...] = (0.0,)

  def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the values, float32, by NumPy."""
    del rng
    return np.array(np.broadcast_to(np.array(self.values, np.float32), shape))

  def __call__(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns the same values by JAX."""
    del key
    return jnp.broadcast_to(jnp.array(self.values, jnp.float32), shape)


class NoRngs(nnx.Rngs):
  """Random streams of a module whose parameters are shapes without numbers."""


def parameter(
  shape: tuple[int, ...], initializer: Normal | Values, rngs: nnx.Rngs
) -> nnx.Param[Any]:
  """Returns a float32 parameter, or its shape, that remembers its initializer."""
  if isinstance(rngs, NoRngs):
    value = jax.ShapeDtypeStruct(shape, jnp.float32)
  else:
    value = initializer(rngs.params(), shape)
  return nnx.Param(value, initializer=initializer)
