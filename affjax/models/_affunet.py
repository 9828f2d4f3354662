"""AffUNet (section 3.4.4), the position and the diffuse network."""

import dataclasses
import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _alignment, _encoder
from affjax.nn import Conv, Dense, Normal, leaky_relu
from affjax.ops import resize_bilinear, upsample_nearest
from affjax.types import ArrayLike


@dataclasses.dataclass(frozen=True)
class AffUNetConfig(_encoder.EncoderConfig):
  """An AffUNet of 11 convolutions.

  Attributes:
    global_context: Whether to add a fully connected bottleneck. Convolutions that
      reach a part of the photo cannot know whose face they see: with the context the
      position network leaves its mean.
    context_size: Side of the grid of cells on which the context is computed, whatever
      the size of the photo.
  """

  global_context: bool = False
  context_size: int = 8

  def build(self, rngs: nnx.Rngs) -> "AffUNet":
    return AffUNet(self, rngs=rngs)


class AffUNet(nnx.Module):
  """Maps a photo to three channels of the same size, unbounded, float32.

  Layers 1 to 4 are the encoder, 5 the bottleneck; 6 and 7, 8 and 9, 10 and 11 follow
  an upsampling each, with the encoder's features of that size concatenated.

  Args:
    config: Options of the network.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, config: AffUNetConfig, *, rngs: nnx.Rngs):
    w = config.width
    plain = functools.partial(_encoder.plain_block, config, rngs=rngs)
    self.encoder = _encoder.Encoder(config, rngs=rngs)
    extra = 0
    if config.global_context:
      self.context = GlobalContext(8 * w, size=config.context_size, rngs=rngs)
      extra = self.context.out_features
    cues = _alignment.CUES if config.prior == "geometry" else 0
    self.layer5 = plain(8 * w + extra, 8 * w)
    self.layer6 = plain(12 * w, 4 * w)
    self.layer7 = plain(4 * w, 4 * w)
    self.layer8 = plain(6 * w, 2 * w)
    self.layer9 = plain(2 * w, 2 * w)
    self.layer10 = plain(3 * w + cues, w)
    self.layer11 = Conv(
      w,
      3,
      kernel_init=Normal(0.3),
      dtype=config.dtype,
      out_dtype="float32",
      rngs=rngs,
    )
    self.global_context = config.global_context
    self.prior = config.prior

  def __call__(
    self,
    images: Float[ArrayLike, "n h w 3"],
    alignment: _alignment.Alignment | None = None,
  ) -> Float[Array, "n h w 3"]:
    """Applies the network.

    Args:
      images: Photos in [0, 1].
      alignment: Needed with `prior="geometry"`; its cues join the full-resolution
        skip, so that the decoder can tell texels that the photo shows from those to
        fill in.
    """
    full, half, quarter, x = self.encoder(images, alignment)
    if self.global_context:
      x = jnp.concatenate([x, self.context(x)], -1)
    x = self.layer5(x)
    x = self.layer7(self.layer6(_up_and_join(x, quarter)))
    x = self.layer9(self.layer8(_up_and_join(x, half)))
    if self.prior == "geometry" and alignment is not None:
      full = jnp.concatenate([full, alignment.cues.astype(full.dtype)], -1)
    return self.layer11(self.layer10(_up_and_join(x, full)))


class GlobalContext(nnx.Module):
  """A fully connected path: every cell of its output sees the whole input.

  A 1 x 1 convolution to 16 channels is resized to `size` x `size` cells, reduced to 128
  numbers, and expanded to a map of 32 channels.

  Args:
    in_features: Channels of the bottleneck.
    size: Side of the grid of cells.
    rngs: Random streams for parameter initialization.
  """

  out_features = 32

  def __init__(self, in_features: int, *, size: int, rngs: nnx.Rngs):
    self.squeeze = Conv(in_features, 16, kernel_size=1, rngs=rngs)
    self.dense1 = Dense(16 * size * size, 128, rngs=rngs)
    self.dense2 = Dense(128, self.out_features * size * size, rngs=rngs)
    self.size = size

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n h w 32"]:
    cells = (self.size, self.size)
    y = leaky_relu(self.squeeze(x))
    y = resize_bilinear(y, cells, antialias=True)
    y = leaky_relu(self.dense1(y.reshape(len(x), 16 * self.size**2)))
    y = self.dense2(y).reshape(len(x), *cells, self.out_features)
    return resize_bilinear(y, (x.shape[1], x.shape[2])).astype(x.dtype)


def _up_and_join(
  x: Float[ArrayLike, "n h w c"], skip: Float[Array, "n h2 w2 d"]
) -> Float[Array, "n h2 w2 e"]:
  up = upsample_nearest(x, (skip.shape[1], skip.shape[2]))
  return jnp.concatenate([up, skip], -1)
