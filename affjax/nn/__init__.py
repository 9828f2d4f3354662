"""Flax layers: affine and plain convolution, dense layers, blocks of them.

`AffineConv` is an ordinary NNX module for use in any network.
"""

from affjax.nn._block import Block, GroupNorm, leaky_relu
from affjax.nn._conv import AffineConv, Conv, Dense
from affjax.nn._initializers import Normal, Values

__all__ = [
  "AffineConv",
  "Block",
  "Conv",
  "Dense",
  "GroupNorm",
  "Normal",
  "Values",
  "leaky_relu",
]
