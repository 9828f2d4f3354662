"""Gaussian blur by two matrix products, exact up to the border."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import ArrayLike


def gaussian_blur(
  x: Float[ArrayLike, "*b h w c"], *, sigma: float, size: int | None = None
) -> Float[Array, "*b h w c"]:
  """Blurs images or UV maps with a truncated, normalized Gaussian.

  The border pixels repeat outside the image, so constants stay constant. The kernel is
  symmetric, so blurring commutes with flips.

  Args:
    x: Images with any number of leading axes.
    sigma: Standard deviation, px; 0 returns the input.
    size: Odd number of taps. By default the kernel ends at two sigma,
      `2 ceil(2 sigma) + 1`; for `sigma = S / 32` this is `S / 8 + 1`, which MeInGame
      uses for its maps.

  Returns:
    The blurred images, in float32 or the wider dtype of `x`.

  Raises:
    ValueError: `sigma` is negative or not finite, or `size` is not odd and positive.
  """
  if not (math.isfinite(sigma) and sigma >= 0):
    raise ValueError(f"sigma must be finite and >= 0, got {sigma}")
  if size is None:
    size = 2 * math.ceil(2 * sigma) + 1
  if size < 1 or size % 2 == 0:
    raise ValueError(f"size must be odd and positive, got {size}")
  x = jnp.asarray(x)
  if sigma == 0:
    return x
  # A banded matrix for each axis: one product is much faster than a depthwise
  # convolution of 65 taps, on CPU and on GPU, and the matrix includes the border.
  rows = _blur_matrix(x.shape[-3], float(sigma), size)
  columns = _blur_matrix(x.shape[-2], float(sigma), size)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
  x = product("ih,...hwc->...iwc", rows, x)
  return product("jw,...hwc->...hjc", columns, x)


@functools.lru_cache(maxsize=32)
def _blur_matrix(length: int, sigma: float, size: int) -> np.ndarray:
  """Returns float32 `[length, length]`; row i has the weights of pixels in output i."""
  reach = size // 2
  tap = np.arange(-reach, reach + 1)
  kernel = np.exp(-0.5 * (tap / sigma) ** 2)
  kernel /= kernel.sum()
  matrix = np.zeros((length, length))
  row = np.repeat(np.arange(length), size)
  column = np.clip(row + np.tile(tap, length), 0, length - 1)
  np.add.at(matrix, (row, column), np.tile(kernel, length))
  return matrix.astype(np.float32)
