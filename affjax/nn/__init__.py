"""Flax layers: affine, deformable and plain convolution, dense layers, their blocks.

`AffineConv` is an ordinary NNX module for use in any network.
"""

from affjax.nn._block import Block, GroupNorm, leaky_relu
from affjax.nn._conv import AffineConv, Conv, DeformableConv, Dense
from affjax.nn._initializers import Normal, NoRngs, Values

__all__ = [
  "AffineConv",
  "Block",
  "Conv",
  "DeformableConv",
  "Dense",
  "GroupNorm",
  "NoRngs",
  "Normal",
  "Values",
  "leaky_relu",
]
