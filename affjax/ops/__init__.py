"""Affine convolution (paper, equation 2), plain convolution, resampling and blur.

`affine_conv` convolves with a window that a matrix warps at each output pixel, and
`deformable_conv` with taps that are displaced one by one. `affjax.ops.theta` makes,
converts and composes the matrices. All functions are pure and work under `jit`,
`grad`, `vmap` and `shard_map`.

A stride-2 convolution of `x [1, 64, 64, C]` with windows rotated by a quarter turn:

    turn = jnp.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    matrices = jnp.broadcast_to(turn, (1, 32, 32, 2, 3))
    y = affine_conv(x, matrices, kernel, stride=2)

`affjax.nn` has the Flax layer that predicts the matrices from its input.
"""

from affjax.ops import theta
from affjax.ops._affine_conv import AFFINE_BACKENDS, affine_conv, deformable_conv
from affjax.ops._blur import gaussian_blur
from affjax.ops._conv import conv
from affjax.ops._resize import average_pool, resize_bilinear, upsample_nearest
from affjax.ops._sampling import bilinear

__all__ = [
  "AFFINE_BACKENDS",
  "affine_conv",
  "average_pool",
  "bilinear",
  "conv",
  "deformable_conv",
  "gaussian_blur",
  "resize_bilinear",
  "theta",
  "upsample_nearest",
]
