"""Affine convolution in portable XLA: gathers of corner vectors and one matmul."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import _sampling
from affjax.ops import theta as thetas


# The K² samples of each output pixel ("columns") are the largest array by far. They are
# sampled again in the backward pass instead of kept: 1 GB for a small plan at 512².
@functools.partial(jax.checkpoint, static_argnums=4)
def affine_conv(
  x: Float[Array, "n h w c"],
  coords: Float[Array, "n i j *m"],
  prior: Float[Array, "n i j 2 3"] | None,
  kernel: Float[Array, "k k c o"],
  stride: int,
) -> Float[Array, "n i j o"]:
  """Columns by bilinear sampling in float32, one product accumulated in float32.

  Args:
    x: float32 or bfloat16.
    coords: matrices `[N, Ho, Wo, 2, 3]`, or offsets of the taps `[N, Ho, Wo, K², 2]`.
    prior: matrices that place the windows that `coords` warp; None for none.
    kernel: of the dtype of `x`.
    stride: px.
  """
  n, height, width, _ = x.shape
  size = kernel.shape[0]
  xy = thetas.places_xy(coords, prior, size, height, width, stride)
  columns = _sampling.bilinear(x, xy)
  flat = kernel.reshape(-1, kernel.shape[-1])
  columns = columns.reshape(n, *coords.shape[1:3], flat.shape[0])
  out = jnp.matmul(columns, flat, preferred_element_type=jnp.float32)
  return out.astype(x.dtype)
