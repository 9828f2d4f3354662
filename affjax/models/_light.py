"""The light network: photo -> gray light map at an eighth of the resolution."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _alignment, _encoder, _params
from affjax.nn import Conv, Dense, Normal
from affjax.types import ArrayLike

# softplus(_ONE) = 1: light starts as if there were none to explain.
_ONE = math.log(math.e - 1)


@dataclasses.dataclass(frozen=True)
class LightNetConfig(_encoder.EncoderConfig):
  """Options of the light network, which is narrower than AffUNet.

  Attributes:
    color: Whether to predict a global RGB illumination color, too.
  """

  width: int = 16
  color: bool = False


class LightNet(nnx.Module):
  """An encoder: the four encoder layers, one plain layer, the output.

  Args:
    config: Options of the network.
    architecture: The kind of its encoder.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    config: LightNetConfig,
    architecture: _encoder.Architecture,
    *,
    rngs: nnx.Rngs,
  ):
    w = 8 * config.width
    self.encoder = _encoder.Encoder(config, architecture, width=config.width, rngs=rngs)
    self.layer5 = _encoder.plain_block(config, w, w, rngs=rngs)
    small = Normal(0.1)
    self.output = Conv(
      w, 1, kernel_init=small, dtype=config.dtype, out_dtype="float32", rngs=rngs
    )
    if config.color:
      self.output_color = Dense(w, 3, kernel_init=small, rngs=rngs)
    self.color = config.color

  def __call__(
    self,
    images: Float[ArrayLike, "n h w 3"],
    alignment: _alignment.Alignment | None = None,
  ) -> tuple[Float[Array, "n l l 1"], Float[Array, "n 3"]]:
    """Returns light map and illumination color, both > 0 and near 1 at the start.

    Args:
      images: Photos in [0, 1].
      alignment: Alignment of a guided network, else None.

    Returns:
      The map at an eighth of the resolution (rounded up), and the color; ones where
      the network predicts none.
    """
    x = self.layer5(self.encoder(images, alignment)[-1])
    light = jax.nn.softplus(self.output(x) + _ONE)
    if not self.color:
      return light, jnp.ones((len(images), 3), jnp.float32)
    raw = self.output_color(x.astype(jnp.float32).mean((1, 2)))
    return light, jax.nn.softplus(raw + _ONE)


@functools.lru_cache(maxsize=64)
def define(
  architecture: _encoder.Architecture, config: LightNetConfig
) -> _params.Definition:
  """Returns the light network without its numbers."""
  return _params.define(lambda rngs: LightNet(config, architecture, rngs=rngs))
