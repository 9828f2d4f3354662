"""Resizing of images and maps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.types import ArrayLike


def resize_bilinear(
  x: Float[ArrayLike, "n h w c"], size: tuple[int, int], *, antialias: bool = False
) -> Float[Array, "n h2 w2 c"]:
  """Resizes bilinearly, keeping the outer *edges* in place and clamping at them.

  Args:
    x: Images or maps.
    size: (height, width) of the result, px.
    antialias: Whether the kernel is widened when the size shrinks.

  Raises:
    ValueError: `x` has not four axes, or a size is below 1.
  """
  if x.ndim != 4 or min(*size, *x.shape[1:3]) < 1:
    raise ValueError(f"expected x [N, H, W, C] and a size >= 1, got {x.shape}, {size}")
  shape = (x.shape[0], *size, x.shape[3])
  if x.shape == shape:
    return jnp.asarray(x)
  return jax.image.resize(x, shape, "linear", antialias=antialias)


def upsample_nearest(
  x: Float[ArrayLike, "n h w c"], size: tuple[int, int]
) -> Float[Array, "n h2 w2 c"]:
  """Doubles the size of images by repeating pixels, then crops to `size`.

  Args:
    x: Images or maps.
    size: (height, width) of the result: 2H or 2H - 1 by 2W or 2W - 1.

  Raises:
    ValueError: `size` is none of these.
  """
  n, h, w, c = x.shape
  if not (0 <= 2 * h - size[0] <= 1 and 0 <= 2 * w - size[1] <= 1):
    raise ValueError(f"a {h}x{w} image doubles to {2 * h}x{2 * w}, not to {size}")
  doubled = jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c))
  return doubled.reshape(n, 2 * h, 2 * w, c)[:, : size[0], : size[1]]


def average_pool(
  x: Float[ArrayLike, "n h w c"], factor: int
) -> Float[Array, "n h2 w2 c"]:
  """Averages blocks of `factor` x `factor` pixels, dropping incomplete last blocks.

  Raises:
    ValueError: `factor` is below 1 or larger than the images.
  """
  n, h, w, c = x.shape
  if not 1 <= factor <= min(h, w):
    raise ValueError(f"factor must lie in [1, {min(h, w)}], got {factor}")
  h, w = h // factor, w // factor
  x = jnp.asarray(x)[:, : h * factor, : w * factor]
  return x.reshape(n, h, factor, w, factor, c).mean((2, 4))
