"""Affine convolution written as the paper's equation 2: the readable definition."""

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jaxtyping import Array, Float

from affjax.ops import theta


def affine_conv(
  x: Float[Array, "n h w c"],
  coords: Float[Array, "n i j *m"],
  prior: Float[Array, "n i j 2 3"] | None,
  kernel: Float[Array, "k k c o"],
  stride: int,
) -> Float[Array, "n i j o"]:
  """Computes one output pixel of one image, mapped over all pixels and images.

  The arguments are those of `_affine_xla.affine_conv`.
  """
  height, width = x.shape[1:3]
  regular = jnp.asarray(theta.taps(kernel.shape[0]))
  window = jnp.concatenate([regular, jnp.ones_like(regular[:, :1])], -1)
  flat = kernel.reshape(-1, *kernel.shape[2:]).astype(jnp.float32)
  affine = coords.shape[3:] == (2, 3)
  if prior is not None:
    coords = theta.compose(prior, coords)

  def pixel(image: Array, own: Array, center: Array):
    warped = lambda: jnp.matmul(window, own.T, precision="highest")
    moved = warped() if affine else regular + own
    return jnp.einsum("kc,kco->o", _read(image, center[None, :] + moved), flat)

  rows = jax.vmap(pixel, (None, 0, 0))
  images = jax.vmap(jax.vmap(rows, (None, 0, 0)), (0, 0, None))
  centers = jnp.asarray(theta.centers_px(height, width, stride))
  return images(x.astype(jnp.float32), coords, centers).astype(x.dtype)


def _read(image: Float[Array, "h w c"], xy: Float[Array, "k 2"]):
  """Samples all channels bilinearly: zero outside, NaN where a coordinate is NaN."""
  height, width = image.shape[:2]
  nan = jnp.isnan(xy).any(-1, keepdims=True)
  # Not jnp.clip, whose gradient at the limit is one half.
  limit = jnp.array([[width, height]], xy.dtype)
  xy = jnp.where(nan | (xy < -1), -1.0, jnp.where(xy > limit, limit, xy))

  def channel(plane: Array) -> Array:
    return ndimage.map_coordinates(plane, [xy[:, 1], xy[:, 0]], 1, "constant", 0.0)

  return jnp.where(nan, jnp.nan, jax.vmap(channel, 2, 1)(image))
