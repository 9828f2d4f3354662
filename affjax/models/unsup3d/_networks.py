"""The networks of Unsup3D (Wu et al. 2020, supplementary tables 5 to 7).

The layers are those of the published code for photos of 64 px. Other sizes, powers of
two from 16, have as many halvings as lead to 4 x 4 px: for larger photos more of them
keep the first width, as in LAP's networks for 128 px.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models.unsup3d import _collection, _layers
from affjax.models.unsup3d._layers import ConvTranspose, Layer, Stack
from affjax.ops import upsample_nearest
from affjax.types import ArrayLike

# Side of the last feature maps before the bottleneck.
_LAST = 4
# The convolution of the depth and the albedo network that the variant makes affine:
# the second one, as in AffUNet, whose first layer is a plain convolution, too.
AFFINE_LAYER = 2


@dataclasses.dataclass(frozen=True)
class MapNetConfig:
  """Options of a network that makes a map of a photo.

  Attributes:
    size: Side of photos and maps, px.
    width: Channels of the first layer.
    code: Channels of the bottleneck.
    affine: Whether the second convolution is an affine one.
    backend: Backend of the affine convolution.
    collection: Whether the network says how much each photo of a collection counts.
  """

  size: int
  width: int
  code: int
  affine: bool = False
  backend: str = "auto"
  collection: bool = False


def widths(size: int, width: int) -> list[int]:
  """Returns the channels of each halving: `width` times 1, 2, 4, 8 for 64 px."""
  levels = (size // _LAST).bit_length() - 1
  return [width * 2 ** max(0, 3 - k) for k in reversed(range(levels))]


def _contracting(
  config: MapNetConfig, *, normalized: bool, slope: float, rngs: nnx.Rngs
) -> Stack:
  """Returns convolutions of stride 2 down to 4 x 4 px, the last one not normalized."""
  channels, layers = 3, []
  every = widths(config.size, config.width)
  for number, features in enumerate(every, start=1):
    if config.affine and number == AFFINE_LAYER:
      layer = _layers.affine_halving(channels, features, config.backend, rngs=rngs)
    else:
      layer = _layers.conv(channels, features, kernel_size=4, stride=2, rngs=rngs)
    norm = features if normalized and number < len(every) else 0
    layers.append(Layer(layer, norm, slope=slope, rngs=rngs))
    channels = features
  return Stack(*layers)


class MapNet(nnx.Module):
  """The depth and the albedo network: a code of the photo, and a map made of the code.

  Args:
    config: Options of the network.
    outputs: Channels of the map.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: MapNetConfig, *, outputs: int, rngs: nnx.Rngs):
    channels = widths(config.size, config.width)[::-1]
    last = channels[-1]
    self.encoder = _contracting(config, normalized=True, slope=_layers.LEAK, rngs=rngs)
    self.code = Layer(_bottleneck(channels[0], config.code, rngs), rngs=rngs)
    self.weight = (
      Layer(_bottleneck(channels[0], config.code, rngs), rngs=rngs)
      if config.collection
      else None
    )
    first = ConvTranspose(config.code, channels[0], stride=1, rngs=rngs)
    layers = [
      Layer(first, rngs=rngs),
      _hidden(channels[0], 3, normalized=False, rngs=rngs),
    ]
    for before, after in itertools.pairwise(channels):
      layers.append(Layer(ConvTranspose(before, after, rngs=rngs), after, rngs=rngs))
      layers.append(_hidden(after, 3, rngs=rngs))
    self.expanding = Stack(*layers)
    self.refining = Stack(_hidden(last, 3, rngs=rngs), _hidden(last, 5, rngs=rngs))
    self.output = _layers.conv(last, outputs, kernel_size=5, rngs=rngs)

  def __call__(
    self, images: Float[ArrayLike, "n s s 3"], *, photos: int = 1
  ) -> Float[Array, "m s s o"]:
    """Returns raw maps, one for each collection.

    Args:
      images: Photos in [-1, 1]; those of a collection follow one another.
      photos: Number of photos in a collection.
    """
    features = self.encoder(images)
    code = self.code(features)
    if self.weight is not None:
      code = _collection.aggregate(code, self.weight(features), photos)
    y = self.expanding(code)
    y = upsample_nearest(y, (2 * y.shape[1], 2 * y.shape[2]))
    return self.output(self.refining(y))


class VectorNet(nnx.Module):
  """The view and the light network: a few numbers in (-1, 1).

  Args:
    size: Side of the photos, px.
    width: Channels of the first layer.
    outputs: Number of numbers.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, size: int, width: int, *, outputs: int, rngs: nnx.Rngs):
    last = widths(size, width)[-1]
    config = MapNetConfig(size, width, last)
    self.encoder = _contracting(config, normalized=False, slope=0.0, rngs=rngs)
    self.code = Layer(_bottleneck(last, last, rngs), rngs=rngs)
    self.output = _layers.conv(last, outputs, kernel_size=1, rngs=rngs)

  def __call__(self, images: Float[ArrayLike, "n s s 3"]) -> Float[Array, "n o"]:
    """Returns the numbers for photos in [-1, 1]."""
    return jnp.tanh(self.output(self.code(self.encoder(images)))[:, 0, 0])


class ConfidenceNet(nnx.Module):
  """The confidence network: maps of how far a pixel may be off, all > 0.

  Args:
    config: Options of the network.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: MapNetConfig, *, rngs: nnx.Rngs):
    channels = widths(config.size, config.width)[::-1]
    self.encoder = _contracting(config, normalized=True, slope=_layers.LEAK, rngs=rngs)
    self.code = Layer(_bottleneck(channels[0], config.code, rngs), rngs=rngs)
    first = ConvTranspose(config.code, channels[0], stride=1, rngs=rngs)
    layers = [Layer(first, rngs=rngs)]
    for before, after in itertools.pairwise(channels[:-1]):
      layers.append(Layer(ConvTranspose(before, after, rngs=rngs), after, rngs=rngs))
    self.expanding = Stack(*layers)
    middle, last = channels[-2], channels[-1]
    self.fine = Stack(
      Layer(ConvTranspose(middle, last, rngs=rngs), last, rngs=rngs),
      Layer(ConvTranspose(last, last, rngs=rngs), last, rngs=rngs),
    )
    self.fine_output = _layers.conv(last, 2, kernel_size=5, rngs=rngs)
    self.coarse_output = _layers.conv(middle, 2, kernel_size=3, rngs=rngs)

  def __call__(
    self, images: Float[ArrayLike, "n s s 3"]
  ) -> tuple[Float[Array, "n s s 2"], Float[Array, "n t t 2"]]:
    """Returns the maps for photos in [-1, 1], at their size and at a quarter of it.

    The two channels are for the render and for that of the mirrored face.
    """
    y = self.expanding(self.code(self.encoder(images)))
    fine = self.fine_output(self.fine(y))
    return jax.nn.softplus(fine), jax.nn.softplus(self.coarse_output(y))


def _bottleneck(channels: int, code: int, rngs: nnx.Rngs) -> _layers.Conv:
  """Returns the convolution from 4 x 4 px to one pixel."""
  return _layers.conv(channels, code, kernel_size=_LAST, valid=True, rngs=rngs)


def _hidden(
  features: int, kernel_size: int, *, normalized: bool = True, rngs: nnx.Rngs
) -> Layer:
  layer = _layers.conv(features, features, kernel_size=kernel_size, rngs=rngs)
  return Layer(layer, features if normalized else 0, rngs=rngs)
