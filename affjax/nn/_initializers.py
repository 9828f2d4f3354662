"""How a parameter starts, written so that it can be filled without compiling.

`jit(init)` of a network costs more than compiling its training step. A parameter here
carries its initialiser as metadata, and `affjax.models.params` fills it from NumPy.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


@dataclasses.dataclass(frozen=True)
class Normal:
  """Normal numbers of standard deviation `gain / sqrt(fan in)`.

  The fan in is the product of all axes but the last.

  Attributes:
    gain: sqrt(2) keeps the variance through a rectifier, 0 is zero.
  """

  gain: float = 1.0

  def scale(self, shape: tuple[int, ...]) -> float:
    return self.gain / max(int(np.prod(shape[:-1])), 1) ** 0.5

  def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The values, float32, by NumPy."""
    if not self.gain:
      return np.zeros(shape, np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(self.scale(shape))

  def __call__(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The same distribution by JAX."""
    return jax.random.normal(key, shape, jnp.float32) * self.scale(shape)


@dataclasses.dataclass(frozen=True)
class Values:
  """Fixed values, repeated over the shape.

  Attributes:
    values: what the last axis holds; one number fills it all.
  """

  values: tuple[float, ...] = (0.0,)

  def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """The values, float32, by NumPy."""
    del rng
    return np.array(np.broadcast_to(np.array(self.values, np.float32), shape))

  def __call__(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The same by JAX."""
    del key
    return jnp.broadcast_to(jnp.array(self.values, jnp.float32), shape)


def parameter(
  shape: tuple[int, ...], initializer: Normal | Values, rngs: nnx.Rngs
) -> nnx.Param[Any]:
  """A float32 parameter that remembers its initialiser."""
  return nnx.Param(initializer(rngs.params(), shape), initializer=initializer)
