"""AffUNet (section 3.4.4), the position and the diffuse network."""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models import _encoder
from affjax.models._alignment import CUES, Alignment
from affjax.nn import Conv, Dense, Normal, leaky_relu
from affjax.ops import average_pool, resize_bilinear, upsample_nearest
from affjax.types import ArrayLike

# Side of the grid of cells on which the context is computed, and its channels.
_CELLS, _SQUEEZED = 8, 12


class AffUNet(nnx.Module):
  """Maps a photo to maps of the same size, unbounded, float32.

  Layers 1 to 4 are the encoder, 5 the bottleneck; 6 and 7, 8 and 9, 10 and 11 follow
  an upsampling each, with the encoder's features of that size concatenated. In a guided
  network the mirrored texel's features and what is told of both texels join the two
  finer ones, and all outputs start at zero.

  Args:
    config: Options of the network.
    architecture: The kind of network.
    outputs: Number of channels of the result.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    config: _encoder.EncoderConfig,
    architecture: _encoder.Architecture,
    *,
    outputs: int = 3,
    rngs: nnx.Rngs,
  ):
    w = max(1, round(architecture.share * config.width))
    plain = functools.partial(_encoder.plain_block, config, rngs=rngs)
    self.encoder = _encoder.Encoder(config, architecture, width=w, rngs=rngs)
    self.guided, self.has_context = architecture.guided, architecture.context
    extra, beside_half, beside_full = 0, 0, 0
    if self.has_context:
      self.context = GlobalContext(8 * w, size=_CELLS, rngs=rngs)
      extra = self.context.out_features
    if self.guided:
      self.half = Beside(2 * w, dtype=config.dtype, rngs=rngs)
      self.full = Beside(w, dtype=config.dtype, rngs=rngs)
      beside_half, beside_full = self.half.out_features, self.full.out_features
    self.layer5 = plain(8 * w + extra, 8 * w)
    self.layer6 = plain(12 * w, 4 * w)
    self.layer7 = plain(4 * w, 4 * w)
    self.layer8 = plain(6 * w + beside_half, 2 * w)
    self.layer9 = plain(2 * w, 2 * w)
    self.layer10 = plain(3 * w + beside_full, w)
    self.layer11 = Conv(
      w,
      outputs,
      kernel_init=Normal(0.0 if self.guided else 0.3),
      dtype=config.dtype,
      out_dtype="float32",
      rngs=rngs,
    )

  def __call__(
    self, images: Float[ArrayLike, "n h w 3"], alignment: Alignment | None = None
  ) -> Float[Array, "n h w o"]:
    """Applies the network.

    Args:
      images: Photos in [0, 1].
      alignment: Alignment of a guided network, else None.
    """
    full, half, quarter, x = self.encoder(images, alignment)
    if self.has_context:
      x = jnp.concatenate([x, self.context(x)], -1)
    x = self.layer5(x)
    x = self.layer7(self.layer6(_up_and_join(x, quarter)))
    if self.guided and alignment is not None:
      half = jnp.concatenate([half, self.half(half, alignment)], -1)
      full = jnp.concatenate([full, self.full(full, alignment)], -1)
    x = self.layer9(self.layer8(_up_and_join(x, half)))
    return self.layer11(self.layer10(_up_and_join(x, full)))


class Beside(nnx.Module):
  """The channels that join the skip of a guided network.

  They are the mirrored texel's features, by a 1 x 1 convolution to a quarter of their
  number; the cues; and the visibility of the mirrored texel.

  Args:
    features: Channels of the skip.
    dtype: Type of the arithmetic.
    rngs: Random streams for parameter initialization.
  """

  def __init__(self, features: int, *, dtype: str, rngs: nnx.Rngs):
    fewer = max(1, features // 4)
    self.reduce = Conv(features, fewer, kernel_size=1, dtype=dtype, rngs=rngs)
    self.out_features = fewer + CUES + 1

  def __call__(
    self, skip: Float[Array, "n h w c"], alignment: Alignment
  ) -> Float[Array, "n h w d"]:
    factor = alignment.cues.shape[1] // skip.shape[1]
    cues = average_pool(alignment.cues, factor) if factor > 1 else alignment.cues
    other = alignment.mirrored(self.reduce(skip))
    told = jnp.concatenate([cues, alignment.mirrored(cues[..., :1])], -1)
    return jnp.concatenate([other, told.astype(skip.dtype)], -1)


class GlobalContext(nnx.Module):
  """A fully connected path: every cell of its output sees the whole input.

  A 1 x 1 convolution to 12 channels is resized to `size` x `size` cells, reduced to 128
  numbers, and expanded to a map of 32 channels.

  Args:
    in_features: Channels of the bottleneck.
    size: Side of the grid of cells.
    rngs: Random streams for parameter initialization.
  """

  out_features = 32

  def __init__(self, in_features: int, *, size: int, rngs: nnx.Rngs):
    self.squeeze = Conv(in_features, _SQUEEZED, kernel_size=1, rngs=rngs)
    self.dense1 = Dense(_SQUEEZED * size * size, 128, rngs=rngs)
    self.dense2 = Dense(128, self.out_features * size * size, rngs=rngs)
    self.size = size

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n h w 32"]:
    cells = (self.size, self.size)
    y = leaky_relu(self.squeeze(x))
    y = resize_bilinear(y, cells, antialias=True)
    y = leaky_relu(self.dense1(y.reshape(len(x), _SQUEEZED * self.size**2)))
    y = self.dense2(y).reshape(len(x), *cells, self.out_features)
    return resize_bilinear(y, (x.shape[1], x.shape[2])).astype(x.dtype)


def _up_and_join(
  x: Float[ArrayLike, "n h w c"], skip: Float[Array, "n h2 w2 d"]
) -> Float[Array, "n h2 w2 e"]:
  up = upsample_nearest(x, (skip.shape[1], skip.shape[2]))
  return jnp.concatenate([up, skip], -1)
