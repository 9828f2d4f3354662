"""ResNet for inference: its batch norms are folded into the convolutions."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from affjax.models._params import Params
from affjax.nn import Conv
from affjax.types import ArrayLike

# A block's output has this many times the channels of its middle.
EXPANSION = 4
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
  """A residual network (He et al. 2015); the defaults are ResNet-50.

  Attributes:
    width: Channels of the first layer and of the middle of the first blocks.
    depths: Number of blocks of each stage; each stage but the first halves the image
      and doubles the channels.
  """

  width: int = 64
  depths: tuple[int, ...] = (3, 4, 6, 3)

  def __post_init__(self):
    if self.width < 1 or not self.depths or min(self.depths) < 1:
      raise ValueError(
        f"width and depths must be positive, got {self.width}, {self.depths}"
      )

  @property
  def features(self) -> int:
    """Number of output channels."""
    return EXPANSION * self.width * 2 ** (len(self.depths) - 1)


class Bottleneck(nnx.Module):
  """Three convolutions (1 x 1, 3 x 3, 1 x 1) whose output is added to the input.

  The stride is the middle convolution's, as in "version 1.5" and in PyTorch.
  """

  def __init__(
    self, in_features: int, width: int, *, stride: int, project: bool, rngs: nnx.Rngs
  ):
    out = EXPANSION * width
    self.conv1 = Conv(in_features, width, kernel_size=1, rngs=rngs)
    self.conv2 = Conv(width, width, stride=stride, rngs=rngs)
    self.conv3 = Conv(width, out, kernel_size=1, rngs=rngs)
    self.project = project
    if project:
      self.shortcut = Conv(in_features, out, kernel_size=1, stride=stride, rngs=rngs)

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    y = jax.nn.relu(self.conv1(x))
    y = jax.nn.relu(self.conv2(y))
    return jax.nn.relu(self.conv3(y) + (self.shortcut(x) if self.project else x))


class ResNet(nnx.Module):
  """Maps photos to vectors of features.

  Args:
    config: Options of the network.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
    self.stem = Conv(3, config.width, kernel_size=7, stride=2, rngs=rngs)
    channels = config.width
    for name, width, stride, project in _blocks(config):
      block = Bottleneck(channels, width, stride=stride, project=project, rngs=rngs)
      setattr(self, name, block)
      channels = EXPANSION * width
    self.config = config

  def __call__(self, images: Float[ArrayLike, "n h w 3"]) -> Float[Array, "n c"]:
    x = jax.nn.relu(self.stem(images))
    # The border never wins: after the rectifier nothing is below its zeros.
    x = lax.reduce_window(
      x, 0.0, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    )
    for name, *_ in _blocks(self.config):
      x = getattr(self, name)(x)
    return x.mean((1, 2))


def from_torch(
  tensors: Mapping[str, np.ndarray], config: ResNetConfig, *, prefix: str = ""
) -> Params:
  """Returns parameters made of tensors named as torchvision names them.

  Args:
    tensors: Weights of convolutions, `[out, in, k, k]`, and weight, bias, running mean
      and variance of the batch norm after each, which are folded into it.
    config: Options of the network.
    prefix: Prefix of the names.

  Raises:
    ValueError: A tensor is missing, of another shape, or not finite.
  """
  stem = prefix + "conv1", prefix + "bn1"
  params: Params = {"stem": _folded(tensors, *stem, (config.width, 3, 7, 7))}
  channels = config.width
  for name, width, _, project in _blocks(config):
    stage, block = name.removeprefix("stage").split("_block")
    start = f"{prefix}layer{stage}.{block}."
    out = EXPANSION * width
    shapes = {
      "conv1": ("conv1", "bn1", (width, channels, 1, 1)),
      "conv2": ("conv2", "bn2", (width, width, 3, 3)),
      "conv3": ("conv3", "bn3", (out, width, 1, 1)),
    }
    if project:
      shapes["shortcut"] = ("downsample.0", "downsample.1", (out, channels, 1, 1))
    params[name] = {
      key: _folded(tensors, start + layer, start + norm, shape)
      for key, (layer, norm, shape) in shapes.items()
    }
    channels = out
  return params


def tensor(
  tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> np.ndarray:
  """Returns a tensor by its name, in float64.

  Raises:
    ValueError: It is missing, of another shape, or not finite.
  """
  found = tensors.get(name)
  if found is None or found.shape != shape:
    got = "nothing" if found is None else found.shape
    raise ValueError(f"tensor {name!r} must have shape {shape}, got {got}")
  if not np.isfinite(found).all():
    raise ValueError(f"tensor {name!r} has numbers that are not finite")
  return found.astype(np.float64)


def _blocks(config: ResNetConfig) -> Iterator[tuple[str, int, int, bool]]:
  """Yields `(name, width, stride, whether the shortcut is a convolution)`."""
  for stage, depth in enumerate(config.depths):
    for block in range(depth):
      stride = 2 if block == 0 and stage > 0 else 1
      name = f"stage{stage + 1}_block{block}"
      yield name, config.width * 2**stage, stride, block == 0


def _folded(
  tensors: Mapping[str, np.ndarray], layer: str, norm: str, shape: tuple[int, ...]
) -> Params:
  """Returns kernel and bias of a convolution with the batch norm that follows it."""
  weight = tensor(tensors, f"{layer}.weight", shape)
  gain, bias, mean, variance = (
    tensor(tensors, f"{norm}.{key}", shape[:1])
    for key in ("weight", "bias", "running_mean", "running_var")
  )
  if (variance < 0).any():
    raise ValueError(f"tensor '{norm}.running_var' must not be negative")
  scale = gain / np.sqrt(variance + _EPSILON)
  kernel = (weight * scale[:, None, None, None]).transpose(2, 3, 1, 0)
  return {
    "kernel": jnp.asarray(kernel, jnp.float32),
    "bias": jnp.asarray(bias - mean * scale, jnp.float32),
  }
