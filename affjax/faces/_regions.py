"""The pixels of an aligned photo that show the head's own surface.

A small network looks at the photo and its mirror image at 128 px. Where it hesitates,
the colors of the surest skin decide. The result is fitted to the photo's colors (a
guided filter, He et al. 2013), which carries its edges to full resolution.
`experiments/regions/train.py` trained it on the synthetic source alone.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from affjax import compilation
from affjax.assets import store
from affjax.faces import _region_network
from affjax.ops import average_pool, resize_bilinear

# Number of photos that pass the network at once.
_CHUNK = 8
# Log odds of skin that the right color adds, log odds that all pixels lose, and the
# least variance of colors; chosen on the kinds of `validation_disguises`.
_TRUST, _DOUBT, _FLOOR = 4.0, 1.0, 1e-3
# The guided filter's radius, px of the network, and the variance of color that counts
# as an edge.
_RADIUS, _EPSILON = 2, 2e-3


def visible_skin(images: np.ndarray) -> Float[np.ndarray, "n s s 1"]:
  """Returns how much each pixel shows of the head's own surface, in [0, 1].

  The surface is the skin of face and neck, brows, eyes, lips, the inside of the mouth,
  ears, and a beard that lies on the skin. Hair that stands off, glasses (their lenses
  as far as they hide the eyes), hands, hats, masks, other things, background and
  pixels beyond the photo's edge do not count. The result does not say where the head
  *is*: losses multiply it with the render's own mask.

  Args:
    images: Crops, uint8 `[N, S, S, 3]` of any size, aligned as `face_crops` does it.
      Photos that are not aligned like that give no useful answer.

  Raises:
    ValueError: Shapes or dtypes differ, or images have no pixels.
  """
  shape = getattr(images, "shape", ())
  if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[1] < 1:
    raise ValueError(f"images must be [N, S, S, 3] with S >= 1, got {list(shape)}")
  if images.dtype != np.uint8:
    raise ValueError(f"images must be uint8, got {images.dtype}")
  out = np.empty((*shape[:3], 1), np.float32)
  for first in range(0, len(images), _CHUNK):
    part = np.asarray(images[first : first + _CHUNK])
    # Batches are padded to powers of two, so that few shapes are compiled.
    count = 1 << (len(part) - 1).bit_length()
    padded = np.pad(part, ((0, count - len(part)), (0, 0), (0, 0), (0, 0)))
    out[first : first + _CHUNK] = _visible(_weights(), padded)[: len(part)]
  return out


@functools.cache
def _weights() -> dict[str, np.ndarray]:
  asset = store.open_asset("regions.npz")
  return {name: value.astype(np.float32) for name, value in asset.items()}


@compilation.saved(kernels=("conv",))
def _visible(
  weights: _region_network.Weights, images: UInt8[Array, "n s s 3"]
) -> Float[Array, "n s s 1"]:
  size = images.shape[1]
  photo = images.astype(jnp.float32) / 255
  small = _resized(photo, _region_network.SIZE)
  share = _decided(_logits(weights, small), small)
  slope, offset = _guided(share, small)
  slope = resize_bilinear(slope, (size, size), antialias=True)
  offset = resize_bilinear(offset, (size, size), antialias=True)
  value = (slope * photo).sum(-1, keepdims=True) + offset
  return jnp.clip(value, 0, 1)


def _logits(
  weights: _region_network.Weights, photo: Float[Array, "n s s 3"]
) -> Float[Array, "n s s 1"]:
  """Returns log odds of skin, the mean over the photo and its mirror image."""
  both = _region_network.logits(weights, jnp.concatenate([photo, photo[:, :, ::-1]]))
  return 0.5 * (both[: len(photo)] + both[len(photo) :, :, ::-1])


def _decided(
  logits: Float[Array, "n s s 1"], photo: Float[Array, "n s s 3"]
) -> Float[Array, "n s s 1"]:
  """Returns shares of skin, raised where the color is that of the surest skin.

  Elsewhere they are lowered: things that training never showed have other colors.
  """
  sure = jax.nn.sigmoid(logits) ** 4 + 1e-6
  sure = sure / sure.sum((1, 2), keepdims=True)
  away = photo - (sure * photo).sum((1, 2), keepdims=True)
  spread = jnp.einsum("nhwi,nhwj->nij", away * sure, away) + _FLOOR * jnp.eye(3)[None]
  distance = jnp.einsum("nhwi,nij,nhwj->nhw", away, jnp.linalg.inv(spread), away)
  alike = jnp.exp(-distance / 6)[..., None]
  return jax.nn.sigmoid(logits + _TRUST * alike - _DOUBT)


def _resized(photo: Float[Array, "n s s 3"], size: int) -> Float[Array, "n k k 3"]:
  if photo.shape[1] % size == 0:
    return average_pool(photo, photo.shape[1] // size)
  return resize_bilinear(photo, (size, size), antialias=True)


def _guided(
  share: Float[Array, "n s s 1"], photo: Float[Array, "n s s 3"]
) -> tuple[Float[Array, "n s s 3"], Float[Array, "n s s 1"]]:
  """Returns the linear functions of color that explain the share around each pixel."""
  pairs = [photo[..., i] * photo[..., j] for i, j in _PAIRS]
  stacked = jnp.concatenate(
    [photo, share, photo * share, jnp.stack(pairs, -1)], axis=-1
  )
  mean = _box(stacked)
  color, p = mean[..., :3], mean[..., 3:4]
  covariance = mean[..., 4:7] - color * p
  second = mean[..., 7:]
  variance = {
    pair: second[..., k] - color[..., pair[0]] * color[..., pair[1]]
    for k, pair in enumerate(_PAIRS)
  }
  slope = _solved(variance, covariance)
  offset = p - (slope * color).sum(-1, keepdims=True)
  averaged = _box(jnp.concatenate([slope, offset], -1))
  return averaged[..., :3], averaged[..., 3:]


_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def _solved(
  variance: Mapping[tuple[int, int], Float[Array, "n s s"]],
  right: Float[Array, "n s s 3"],
) -> Float[Array, "n s s 3"]:
  """Solves symmetric 3 x 3 systems by Cramer's rule."""
  a, b, c, d, e, f = (variance[pair] for pair in _PAIRS)
  a, d, f = a + _EPSILON, d + _EPSILON, f + _EPSILON
  x, y, z = right[..., 0], right[..., 1], right[..., 2]
  p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
  determinant = a * p + b * q + c * r
  slope = jnp.stack(
    [
      p * x + q * y + r * z,
      q * x + (a * f - c * c) * y + (b * c - a * e) * z,
      r * x + (b * c - a * e) * y + (a * d - b * b) * z,
    ],
    -1,
  )
  return slope / jnp.maximum(determinant, 1e-12)[..., None]


def _box(x: Float[Array, "n s s c"]) -> Float[Array, "n s s c"]:
  """Returns means over windows; edges repeat."""
  width = 2 * _RADIUS + 1
  for axis in (1, 2):
    pads = [(_RADIUS, _RADIUS) if k == axis else (0, 0) for k in range(4)]
    padded = jnp.pad(x, pads, "edge")
    n = x.shape[axis]
    parts = [jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(width)]
    x = sum(parts[1:], parts[0]) / width
  return x
