"""Float32 arithmetic that gives the same bits as `csrc/coverage.h` on every backend.

XLA may contract a product and a sum to one operation. Every product here therefore
passes through a selection, which does not change the values that occur.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

# The constants of `csrc/coverage.h`.
TINY_COORDINATE = 2.0**-40
TINY_TERM = 2.0**-90
TINY_CORNER = 2.0**-80
TINY_W = 2.0**-18
SLACK = 1e-6
_LOW_BITS = 12


def scaled(
  corner: Float[Array, "*b 4"],
) -> tuple[Float[Array, "*b 4"], Bool[Array, "*b"]]:
  """Returns points scaled to a largest coordinate in [1, 2), and which are usable."""
  largest = jnp.max(jnp.abs(corner), -1)
  usable = jnp.all(jnp.isfinite(corner), -1) & (largest >= TINY_CORNER)
  exponent = lax.bitcast_convert_type(jnp.where(usable, largest, 1.0), jnp.int32) >> 23
  scale = (254 - jnp.minimum(exponent, 253)) << 23
  corner = corner * lax.bitcast_convert_type(scale, jnp.float32)[..., None]
  return _without_tiny(corner, TINY_COORDINATE), usable


def moved(x: Array, center: Array, w: Array) -> Array:
  """Returns a corner's coordinate relative to the pixel's ray: `x - center w`."""
  return _without_tiny(x - _product(center, w), TINY_COORDINATE)


def edge(
  a: Sequence[Array], b: Sequence[Array]
) -> tuple[Float[Array, "*n"], Bool[Array, "*n"]]:
  """Returns the edge function of the pixel, and whether the pixel is on its left.

  A pixel on the edge counts as moved a little to the right, and still less down, which
  is the top-left rule.
  """
  value = _cross(a[0], a[1], b[0], b[1])
  right = _cross(b[2], a[2], b[1], a[1])
  down = _cross(a[2], b[2], a[0], b[0])
  tie = (right > 0) | ((right == 0) & (down > 0))
  return value, (value > 0) | ((value == 0) & tie)


def weighted(weights: Sequence[Array], values: Sequence[Array]) -> Array:
  """Returns `sum_k weights[k] values[k]`, added in this order."""
  terms = [_product(w, v) for w, v in zip(weights, values, strict=True)]
  return terms[0] + terms[1] + terms[2]


def _without_tiny(value: Array, least: float) -> Array:
  return jnp.where(jnp.abs(value) < least, np.float32(0), value)


def _product(a: Array, b: Array) -> Array:
  return _without_tiny(a * b, TINY_TERM)


def _cross(ax: Array, ay: Array, bx: Array, by: Array) -> Array:
  """Returns `ax by - bx ay` with the sign of the exact value."""
  first, second = _product(ax, by), _product(bx, ay)
  exact = _rounding(ax, by, first) - _rounding(bx, ay, second)
  return jnp.where(first != second, first - second, exact)


def _rounding(a: Array, b: Array, product: Array) -> Array:
  """Returns `a b - product` exactly (Dekker 1971): all products of parts are exact."""
  (a, a_low), (b, b_low) = _split(a), _split(b)
  return ((a * b - product) + a * b_low + a_low * b) + a_low * b_low


def _split(value: Array) -> tuple[Array, Array]:
  """Splits a number into a sum of two numbers of half as many digits."""
  bits = lax.bitcast_convert_type(value, jnp.int32)
  bits = (bits + (1 << (_LOW_BITS - 1))) & -(1 << _LOW_BITS)
  high = lax.bitcast_convert_type(bits, jnp.float32)
  return high, value - high
