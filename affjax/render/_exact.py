"""Float32 arithmetic that is the same on every backend, as `csrc/coverage.h` has it.

XLA contracts a product and a sum to one operation where it likes. Every product here
therefore passes a selection, which for the values that occur changes nothing.
"""

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
  """The same points, their largest coordinates in [1, 2), and which are usable."""
  largest = jnp.max(jnp.abs(corner), -1)
  usable = jnp.all(jnp.isfinite(corner), -1) & (largest >= TINY_CORNER)
  exponent = lax.bitcast_convert_type(jnp.where(usable, largest, 1.0), jnp.int32) >> 23
  scale = (254 - jnp.minimum(exponent, 253)) << 23
  corner = corner * lax.bitcast_convert_type(scale, jnp.float32)[..., None]
  return _without_tiny(corner, TINY_COORDINATE), usable


def moved(x, center, w):
  """A coordinate of a corner as seen from the pixel's ray: `x - center w`."""
  return _without_tiny(x - _product(center, w), TINY_COORDINATE)


def edge(a, b) -> tuple[Float[Array, "*n"], Bool[Array, "*n"]]:
  """Edge function of the pixel, and on which side it lies.

  A pixel on the edge counts as moved a little right, and less down: the top-left rule.
  """
  value = _cross(a[0], a[1], b[0], b[1])
  right = _cross(b[2], a[2], b[1], a[1])
  down = _cross(a[2], b[2], a[0], b[0])
  tie = (right > 0) | ((right == 0) & (down > 0))
  return value, (value > 0) | ((value == 0) & tie)


def weighted(weights, values):
  """`sum_k weights[k] values[k]`, in this order."""
  terms = [_product(w, v) for w, v in zip(weights, values, strict=True)]
  return terms[0] + terms[1] + terms[2]


def _without_tiny(value, least: float):
  return jnp.where(jnp.abs(value) < least, np.float32(0), value)


def _product(a, b):
  return _without_tiny(a * b, TINY_TERM)


def _cross(ax, ay, bx, by):
  """`ax by - bx ay` with the exact value's sign."""
  first, second = _product(ax, by), _product(bx, ay)
  exact = _rounding(ax, by, first) - _rounding(bx, ay, second)
  return jnp.where(first != second, first - second, exact)


def _rounding(a, b, product):
  """`a b - product`, exactly (Dekker 1971): the parts' products are all exact."""
  (a, a_low), (b, b_low) = _split(a), _split(b)
  return ((a * b - product) + a * b_low + a_low * b) + a_low * b_low


def _split(value):
  """A number as a sum of two of half as many digits."""
  bits = lax.bitcast_convert_type(value, jnp.int32)
  bits = (bits + (1 << (_LOW_BITS - 1))) & -(1 << _LOW_BITS)
  high = lax.bitcast_convert_type(bits, jnp.float32)
  return high, value - high
