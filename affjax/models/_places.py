"""Where the layers of a network read the photo."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from affjax.models._alignment import Alignment
from affjax.models._encoder import Encoder, over_the_middle
from affjax.nn import AffineConv, Conv, DeformableConv
from affjax.ops import bilinear, theta
from affjax.types import ArrayLike


def places_of(
  encoder: Encoder, images: Float[ArrayLike, "n h w 3"], alignment: Alignment | None
) -> list[Float[Array, "n i j k 2"]]:
  """Returns where the taps of layers 1 to 4 read the photo (x, y), px.

  A tap of a later layer reads features of the layer before; its place is that of the
  middle of their windows, interpolated.

  Args:
    encoder: The encoder of a network.
    images: Photos in [0, 1].
    alignment: Alignment of a guided encoder, else None.
  """
  features = [jnp.asarray(images), *encoder(images, alignment)]
  blocks = [getattr(encoder, f"layer{number}") for number in (1, 2, 3, 4)]
  places: list[Array] = []
  for number, (block, x) in enumerate(zip(blocks, features, strict=False), start=1):
    prior = None
    if alignment is not None:
      prior = alignment.prior if number == 1 else over_the_middle(x)
    if alignment is not None and number == 3:
      x = encoder.told(x, alignment)
    taps = _taps(block.conv, x, prior)
    if places:
      before = places[-1]
      limit = jnp.array([before.shape[2] - 1.0, before.shape[1] - 1.0])
      inside = jnp.clip(taps, 0.0, limit.reshape((1,) * (taps.ndim - 1) + (2,)))
      taps = bilinear(before[:, :, :, before.shape[3] // 2], inside)
    places.append(taps)
  return places


def _taps(
  layer: nnx.Module, x: Float[Array, "n h w c"], prior: Float[Array, "n i j 2 3"] | None
) -> Float[Array, "n i j k 2"]:
  """Returns where the taps of a layer read its input, px."""
  assert isinstance(layer, Conv | AffineConv | DeformableConv)
  size, stride, (height, width) = layer.kernel.shape[0], layer.stride, x.shape[1:3]
  if isinstance(layer, DeformableConv):
    return theta.places_xy(layer.offsets(x), None, size, height, width, stride)
  if isinstance(layer, AffineConv):
    matrices = layer.theta(x)
  else:
    shape = (len(x), -(-height // stride), -(-width // stride))
    scale = jnp.array([layer.dilation, layer.dilation, 1.0]).reshape(1, 1, 1, 1, 3)
    matrices = theta.identity(shape) * scale
  return theta.places_xy(matrices, prior, size, height, width, stride)
