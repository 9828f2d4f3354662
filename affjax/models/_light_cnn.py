"""Light CNN 29 (Wu et al. 2018, arXiv:1511.02683): an aligned gray face -> 256 numbers.

Both published variants: "v1" pools by the maximum and ends in a max-feature-map layer,
"v2" pools by the sum of maximum and mean and ends in a linear layer. Users bring the
weights, which its authors trained and allow for non-commercial use.
"""

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from affjax.models._params import Params
from affjax.models._resnet import tensor
from affjax.nn import Conv, Dense
from affjax.types import ArrayLike

SIZE = 128
VARIANTS = ("v1", "v2")
# Channels before each stage, number of residual blocks of it, and whether the image is
# halved after its group.
_STAGES = ((48, 1, True), (96, 2, True), (192, 3, False), (128, 4, True))
_CHANNELS = (48, 96, 192, 128, 128)
_FEATURES, _GRID = 256, 8
# Weights of red, green and blue in gray (ITU-R BT.601), as OpenCV converts photos.
_LUMA = (0.299, 0.587, 0.114)


class MaxFeatureMap(nnx.Module):
  """A convolution, and the larger one of each pair of its output channels."""

  def __init__(
    self, in_features: int, out_features: int, *, kernel_size: int = 3, rngs: nnx.Rngs
  ):
    self.filter = Conv(
      in_features, 2 * out_features, kernel_size=kernel_size, rngs=rngs
    )

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n h w o"]:
    return _larger_half(self.filter(x))


class LightCNN(nnx.Module):
  """The network.

  Args:
    variant: "v1" or "v2".
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, variant: str, *, rngs: nnx.Rngs):
    self.variant = variant
    for name, size, before, after in _maps():
      layer = MaxFeatureMap(before, after, kernel_size=size, rngs=rngs)
      setattr(self, _attribute(name), layer)
    self.fc = Dense(*_output_shape(variant), rngs=rngs)

  def __call__(self, images: Float[ArrayLike, "n 128 128 3"]) -> Float[Array, "n 256"]:
    """Returns the embedding of aligned faces in [0, 1]."""
    x = jnp.asarray(images) @ jnp.array(_LUMA).reshape(3, 1)
    x = self._pooled(self._layer("conv1", x))
    for stage, (_, depth, halved) in enumerate(_STAGES, start=1):
      for block in (f"block{stage}.{k}" for k in range(depth)):
        x = x + self._layer(f"{block}.conv2", self._layer(f"{block}.conv1", x))
      x = self._layer(f"group{stage}.conv_a", x)
      x = self._layer(f"group{stage}.conv", x)
      x = self._pooled(x) if halved else x
    x = self.fc(x.reshape(len(x), -1))
    return _larger_half(x) if self.variant == "v1" else x

  def _layer(self, name: str, x: Array) -> Array:
    return getattr(self, _attribute(name))(x)

  def _pooled(self, x: Array) -> Array:
    window = (1, 2, 2, 1)
    largest = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
    if self.variant == "v1":
      return largest
    return largest + lax.reduce_window(x, 0.0, lax.add, window, window, "VALID") / 4


def from_torch(tensors: Mapping[str, np.ndarray]) -> tuple[str, Params]:
  """Returns the variant and the parameters of the authors' PyTorch checkpoint.

  Args:
    tensors: Tensors by their names in the checkpoint ("module.conv1.filter.weight",
      ...); the classifier `fc2` is not used.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
  variant = "v1" if "fc.filter.weight" in tensors else "v2"
  params: Params = {}
  for name, size, before, after in _maps():
    weight = tensor(tensors, f"{name}.filter.weight", (2 * after, before, size, size))
    bias = tensor(tensors, f"{name}.filter.bias", (2 * after,))
    params[_attribute(name)] = {"filter": _layer(weight.transpose(2, 3, 1, 0), bias)}
  inputs, outputs = _output_shape(variant)
  key = "fc.filter" if variant == "v1" else "fc"
  weight = tensor(tensors, f"{key}.weight", (outputs, inputs))
  # PyTorch flattens [channel, row, column], we [row, column, channel].
  weight = weight.reshape(outputs, -1, _GRID, _GRID).transpose(2, 3, 1, 0)
  bias = tensor(tensors, f"{key}.bias", (outputs,))
  params["fc"] = _layer(weight.reshape(inputs, outputs), bias)
  return variant, params


def _larger_half(x: Array) -> Array:
  return jnp.maximum(*jnp.split(x, 2, -1))


def _output_shape(variant: str) -> tuple[int, int]:
  outputs = 2 * _FEATURES if variant == "v1" else _FEATURES
  return _GRID * _GRID * _CHANNELS[-1], outputs


def _maps() -> Iterator[tuple[str, int, int, int]]:
  """Yields PyTorch's name, kernel size, input and output channels of each layer."""
  yield "conv1", 5, 1, _CHANNELS[0]
  for stage, (channels, depth, _) in enumerate(_STAGES, start=1):
    for block in range(depth):
      yield f"block{stage}.{block}.conv1", 3, channels, channels
      yield f"block{stage}.{block}.conv2", 3, channels, channels
    yield f"group{stage}.conv_a", 1, channels, channels
    yield f"group{stage}.conv", 3, channels, _CHANNELS[stage]


def _attribute(name: str) -> str:
  return name.replace(".", "_")


def _layer(kernel: np.ndarray, bias: np.ndarray) -> Params:
  return {
    "kernel": jnp.asarray(kernel, jnp.float32),
    "bias": jnp.asarray(bias, jnp.float32),
  }
