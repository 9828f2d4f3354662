"""The discriminator of image patches at several scales (section 3.3.5)."""

import dataclasses
import functools

from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _params, _spectral
from affjax.nn import Block, Conv, leaky_relu
from affjax.ops import average_pool
from affjax.types import ArrayLike

NORMALIZATIONS = ("group", "spectral")


@dataclasses.dataclass(frozen=True)
class MultiScaleDiscriminator:
  """A discriminator with separate weights for the image at 1, 1/2, 1/4 of its size.

  Attributes:
    width: Channels of the first layer.
    depth: Number of stride-2 layers; each after the first doubles the channels.
    scales: Number of scales.
    normalization: Normalization of the layers: "group" = of the features of each hidden
      layer, "spectral" = of the kernels of all layers, as in MeInGame.
    dtype: Type of the arithmetic inside, "float32" or "bfloat16".
  """

  width: int = 64
  depth: int = 3
  scales: int = 3
  normalization: str = "group"
  dtype: str = "float32"

  def __post_init__(self):
    for name in ("width", "depth", "scales"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
    if self.normalization not in NORMALIZATIONS:
      raise ValueError(
        f"normalization must be one of {', '.join(NORMALIZATIONS)}, got "
        f"{self.normalization!r}"
      )
    if self.dtype not in ("float32", "bfloat16"):
      raise ValueError(f"dtype must be 'float32' or 'bfloat16', got {self.dtype!r}")

  def init(self, seed: int) -> _params.Params:
    """Returns fresh parameters, one subtree a scale."""
    definition = _define(self)
    return {
      f"scale{k}": _params.init(definition, seed + 1_000_003 * k)
      for k in range(self.scales)
    }

  def __call__(
    self, parameters: _params.Params, images: Float[ArrayLike, "n h w 3"]
  ) -> list[Float[Array, "n i j 1"]]:
    """Returns maps of logits, finest scale first: large where a patch looks real.

    Raises:
      ValueError: The images are too small for the coarsest scale.
    """
    least = 2 ** (self.scales - 1)
    if min(images.shape[1:3]) < least:
      raise ValueError(
        f"{self.scales} scales need images of {least} px or more, got {images.shape}"
      )
    if self.normalization == "spectral":
      parameters = _spectral.normalized(parameters)
    return [
      _params.apply(_define(self), parameters[f"scale{k}"], average_pool(images, 2**k))
      for k in range(self.scales)
    ]


class PatchDiscriminator(nnx.Module):
  """Maps an image to logits, one a patch (as in pix2pix and pix2pixHD).

  Args:
    config: Options of all scales.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: MultiScaleDiscriminator, *, rngs: nnx.Rngs):
    make = functools.partial(Conv, kernel_size=4, dtype=config.dtype, rngs=rngs)
    channels = config.width
    self.layer1 = make(3, channels, stride=2)
    for number in range(2, config.depth + 2):
      stride = 2 if number <= config.depth else 1
      layer = make(channels, 2 * channels, stride=stride)
      channels = 2 * channels
      grouped = config.normalization == "group"
      block = Block(layer, channels, rngs=rngs) if grouped else _Rectified(layer)
      setattr(self, f"layer{number}", block)
    self.output = Conv(
      channels, 1, kernel_size=4, dtype=config.dtype, out_dtype="float32", rngs=rngs
    )
    self.depth = config.depth

  def __call__(self, images: Float[ArrayLike, "n h w 3"]) -> Float[Array, "n i j 1"]:
    x = leaky_relu(self.layer1(images))
    for number in range(2, self.depth + 2):
      x = getattr(self, f"layer{number}")(x)
    return self.output(x)


class _Rectified(nnx.Module):
  """A convolution and a rectifier.

  Args:
    layer: The convolution.
  """

  def __init__(self, layer: Conv):
    self.conv = layer

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    return leaky_relu(self.conv(x))


@functools.lru_cache(maxsize=32)
def _define(config: MultiScaleDiscriminator) -> _params.Definition:
  return _params.define(lambda rngs: PatchDiscriminator(config, rngs=rngs))
