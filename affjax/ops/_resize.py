"""Changing the size of images and maps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def resize_bilinear(
  x: Float[Array, "n h w c"], size: tuple[int, int], *, antialias: bool = False
) -> Float[Array, "n h2 w2 c"]:
  """Bilinear resize that keeps the outer *edges* in place, clamping at them.

  Args:
    x: images or maps.
    size: (height, width) wanted.
    antialias: widen the kernel when shrinking.
  """
  if x.ndim != 4 or min(*size, *x.shape[1:3]) < 1:
    raise ValueError(f"expected x [N, H, W, C] and a size >= 1, got {x.shape}, {size}")
  shape = (x.shape[0], *size, x.shape[3])
  if x.shape == shape:
    return x
  return jax.image.resize(x, shape, "linear", antialias=antialias)


def upsample_nearest(
  x: Float[Array, "n h w c"], size: tuple[int, int]
) -> Float[Array, "n h2 w2 c"]:
  """Doubles an image by repeating pixels, then crops to `size`.

  The cropping serves odd sizes: `size` must be 2H or 2H - 1 by 2W or 2W - 1.
  """
  n, h, w, c = x.shape
  if not (0 <= 2 * h - size[0] <= 1 and 0 <= 2 * w - size[1] <= 1):
    raise ValueError(f"a {h}x{w} image doubles to {2 * h}x{2 * w}, not to {size}")
  doubled = jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c))
  return doubled.reshape(n, 2 * h, 2 * w, c)[:, : size[0], : size[1]]


def average_pool(x: Float[Array, "n h w c"], factor: int) -> Float[Array, "n h2 w2 c"]:
  """Means of `factor` x `factor` blocks; an incomplete last block is dropped."""
  n, h, w, c = x.shape
  if not 1 <= factor <= min(h, w):
    raise ValueError(f"factor must lie in [1, {min(h, w)}], got {factor}")
  h, w = h // factor, w // factor
  x = x[:, : h * factor, : w * factor]
  return x.reshape(n, h, factor, w, factor, c).mean((2, 4))
