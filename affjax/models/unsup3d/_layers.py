"""Layers of Unsup3D's networks: convolutions without biases, and stacks of them."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from affjax.nn import AffineConv, Conv, GroupNorm, Normal
from affjax.types import ArrayLike

LEAK = 0.2
"""Slope below zero of the rectifiers in front of the bottleneck; 0 after it."""

# PyTorch's default: a variance of 1 / (3 fan in).
_GAIN = 3**-0.5
# Channels a group; that is 16 groups for each 64 channels.
_GROUP = 4


class ConvTranspose(nnx.Module):
  """A transposed convolution with kernels of 4 x 4 px, without bias.

  The kernel is stored as it is applied to the input between whose pixels zeros lie;
  PyTorch's is turned by half a turn and has its first two axes exchanged.

  Args:
    in_features: Number C of input channels.
    out_features: Number O of output channels.
    stride: 2 doubles the side of the input; 1 makes 4 x 4 px of one pixel.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self, in_features: int, out_features: int, *, stride: int = 2, rngs: nnx.Rngs
  ):
    # PyTorch counts the fan in of a transposed kernel by its output channels.
    gain = _GAIN * (in_features / out_features) ** 0.5
    self.conv = conv(
      in_features, out_features, kernel_size=4, gain=gain, valid=True, rngs=rngs
    )
    self.stride = stride

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    pad = 2 if self.stride == 2 else 3
    return lax.conv_general_dilated(
      jnp.asarray(x),
      self.conv.kernel[...],
      (1, 1),
      ((pad, pad), (pad, pad)),
      lhs_dilation=(self.stride, self.stride),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def conv(
  in_features: int,
  out_features: int,
  *,
  kernel_size: int,
  stride: int = 1,
  valid: bool = False,
  gain: float = _GAIN,
  rngs: nnx.Rngs,
) -> Conv:
  """Returns a convolution without bias, by default padded by half its kernel."""
  return Conv(
    in_features,
    out_features,
    kernel_size=kernel_size,
    stride=stride,
    padding="valid" if valid else "half",
    kernel_init=Normal(gain),
    bias_init=None,
    rngs=rngs,
  )


def affine_halving(
  in_features: int, out_features: int, backend: str, *, rngs: nnx.Rngs
) -> AffineConv:
  """Returns an affine convolution of 4 x 4 px and stride 2 that starts as `conv`."""
  return AffineConv(
    in_features,
    out_features,
    kernel_size=4,
    stride=2,
    backend=backend,
    kernel_init=Normal(_GAIN),
    bias_init=None,
    rngs=rngs,
  )


class Layer(nnx.Module):
  """A convolution, its group normalization if it has one, and a rectifier.

  Args:
    layer: The convolution.
    features: Number of its output channels; 0 = no normalization.
    slope: Slope of the rectifier below zero.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    layer: Conv | AffineConv | ConvTranspose,
    features: int = 0,
    *,
    slope: float = 0.0,
    rngs: nnx.Rngs,
  ):
    self.conv = layer
    self.norm = GroupNorm(features, group_size=_GROUP, rngs=rngs) if features else None
    self.slope = slope

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    y = self.conv(x)
    if self.norm is not None:
      y = self.norm(y)
    return jnp.maximum(y, self.slope * y)


class Stack(nnx.Module):
  """Layers that are applied one after the other.

  Args:
    layers: The layers, named layer1, layer2, ...
  """

  def __init__(self, *layers: Layer):
    for number, layer in enumerate(layers, start=1):
      setattr(self, f"layer{number}", layer)
    self.depth = len(layers)

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    y = jnp.asarray(x)
    for number in range(1, self.depth + 1):
      y = getattr(self, f"layer{number}")(y)
    return y
