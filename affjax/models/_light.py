"""The light network: photo -> gray light map at an eighth of the resolution."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _alignment, _encoder
from affjax.nn import Conv, Dense, Normal
from affjax.ops import resize_bilinear
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

  def build(self, rngs: nnx.Rngs) -> "LightNet":
    return LightNet(self, rngs=rngs)


class LightNet(nnx.Module):
  """An encoder: the four encoder layers, one plain layer, the output.

  Args:
    config: Options of the network.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: LightNetConfig, *, rngs: nnx.Rngs):
    w = 8 * config.width
    cues = _alignment.CUES if config.prior == "geometry" else 0
    self.encoder = _encoder.Encoder(config, rngs=rngs)
    self.layer5 = _encoder.plain_block(config, w + cues, w, rngs=rngs)
    small = Normal(0.1)
    self.output = Conv(
      w, 1, kernel_init=small, dtype=config.dtype, out_dtype="float32", rngs=rngs
    )
    if config.color:
      self.output_color = Dense(w, 3, kernel_init=small, rngs=rngs)
    self.color = config.color
    self.prior = config.prior

  def __call__(
    self,
    images: Float[ArrayLike, "n h w 3"],
    alignment: _alignment.Alignment | None = None,
  ) -> tuple[Float[Array, "n l l 1"], Float[Array, "n 3"]]:
    """Returns light map and illumination color, both > 0 and near 1 at the start.

    Args:
      images: Photos in [0, 1].
      alignment: Needed with `prior="geometry"`.

    Returns:
      The map at an eighth of the resolution (rounded up), and the color; ones where
      the network predicts none.
    """
    x = self.encoder(images, alignment)[-1]
    if self.prior == "geometry" and alignment is not None:
      cues = resize_bilinear(alignment.cues, (x.shape[1], x.shape[2]), antialias=True)
      x = jnp.concatenate([x, cues.astype(x.dtype)], -1)
    x = self.layer5(x)
    light = jax.nn.softplus(self.output(x) + _ONE)
    if not self.color:
      return light, jnp.ones((len(images), 3), jnp.float32)
    raw = self.output_color(x.astype(jnp.float32).mean((1, 2)))
    return light, jax.nn.softplus(raw + _ONE)
