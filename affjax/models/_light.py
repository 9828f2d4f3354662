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
from affjax.ops import average_pool
from affjax.types import ArrayLike

# softplus(_ONE) = 1: light starts as if there were none to explain.
_ONE = math.log(math.e - 1)
# Share that is kept of light that does not follow from the normal, the visibility from
# which on it is, and the penalty on the slopes of light over normals.
_LOCAL, _SEEN, _RIDGE = 0.5, 0.25, 0.02
# Harmonics may fall below zero beyond the normals that are seen.
_DARKEST = 0.02


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


def settled(
  light: Float[Array, "n l l 1"], alignment: _alignment.Alignment
) -> Float[Array, "n l l 1"]:
  """Returns light maps that follow the normals, and the rest where skin is seen.

  Far light on a matt surface is a function of the normal, spherical harmonics of second
  order up to 1 % (Ramamoorthi and Hanrahan 2001). They are fitted to the predicted map,
  cells weighted by their visibility. What is left is cast shadows, near light, and what
  the network takes for light: half of it is kept where skin is seen, and nothing where
  hair or another part of the head is in front.

  Args:
    light: Predicted light maps.
    alignment: Normals and visibility, of maps eight times as large.
  """
  pooled = lambda x: average_pool(x, x.shape[1] // light.shape[1])
  visible, normals = pooled(alignment.visible), pooled(alignment.normals)
  length = jnp.linalg.norm(normals, axis=-1, keepdims=True)
  terms = _harmonics(normals / jnp.maximum(length, 1e-3))
  weight = visible + 1e-4
  weight = weight / jnp.mean(weight, (1, 2), keepdims=True) / light.shape[1] ** 2
  weighted = terms * weight
  gram = jnp.einsum("nhwi,nhwj->nij", weighted, terms)
  slopes = jnp.diag(jnp.arange(terms.shape[-1]) > 0).astype(gram.dtype)
  wanted = jnp.einsum("nhwi,nhwo->nio", weighted, light)
  found = jnp.linalg.solve(gram + _RIDGE * slopes[None], wanted)
  smooth = jnp.einsum("nhwi,nio->nhwo", terms, found)
  kept = _LOCAL * jnp.clip(visible / _SEEN, 0.0, 1.0)
  return jnp.maximum(smooth + kept * (light - smooth), _DARKEST)


def _harmonics(normals: Float[Array, "*b 3"]) -> Float[Array, "*b 9"]:
  """Returns the spherical harmonics up to second order, without their factors."""
  x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
  first = (jnp.ones_like(x), x, y, z)
  second = (x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
  return jnp.stack([*first, *second], -1)


@functools.lru_cache(maxsize=64)
def define(
  architecture: _encoder.Architecture, config: LightNetConfig
) -> _params.Definition:
  """Returns the light network without its numbers."""
  return _params.define(lambda rngs: LightNet(config, architecture, rngs=rngs))
