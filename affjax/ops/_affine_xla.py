"""Affine convolution in portable XLA: gathers of corners and one matrix product."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import _sampling, theta


# The K² samples of each output pixel ("columns") are by far the largest array, 1 GB for
# a small AffUNet at 512². The backward pass samples again instead of storing them.
@functools.partial(jax.checkpoint, static_argnums=4)
def affine_conv(
  x: Float[Array, "n h w c"],
  coords: Float[Array, "n i j *m"],
  prior: Float[Array, "n i j 2 3"] | None,
  kernel: Float[Array, "k k c o"],
  stride: int,
) -> Float[Array, "n i j o"]:
  """Samples columns in float32 and multiplies once, accumulating in float32.

  Args:
    x: Input, float32 or bfloat16.
    coords: Matrices `[N, Ho, Wo, 2, 3]`, or offsets of the taps `[N, Ho, Wo, K², 2]`.
    prior: Matrices that are applied after those of `coords`, or None.
    kernel: Weights in the dtype of `x`.
    stride: Distance of neighboring windows, px.
  """
  n, height, width, _ = x.shape
  size = kernel.shape[0]
  xy = theta.places_xy(coords, prior, size, height, width, stride)
  columns = _sampling.bilinear(x, xy)
  flat = kernel.reshape(-1, kernel.shape[-1])
  columns = columns.reshape(n, *coords.shape[1:3], flat.shape[0])
  out = jnp.matmul(columns, flat, preferred_element_type=jnp.float32)
  return out.astype(x.dtype)
