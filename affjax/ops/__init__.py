"""Affine convolution (paper, eq. 2), plain convolution, resampling and blur."""

from affjax.ops._affine_conv import affine_conv, deformable_conv
from affjax.ops._blur import gaussian_blur
from affjax.ops._conv import conv
from affjax.ops._resize import average_pool, resize_bilinear, upsample_nearest
from affjax.ops._sampling import bilinear

__all__ = [
  "affine_conv",
  "average_pool",
  "bilinear",
  "conv",
  "deformable_conv",
  "gaussian_blur",
  "resize_bilinear",
  "upsample_nearest",
]
