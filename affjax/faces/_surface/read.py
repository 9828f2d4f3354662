"""Applies the geometry network to aligned photos."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from affjax.assets import store
from affjax.faces._surface import network
from affjax.faces._surface.anchors import ASSET
from affjax.faces._surface.votes import Maps
from affjax.ops import average_pool, resize_bilinear

# Number of photos that pass the network at once.
_CHUNK = 8


def read_surface(images: np.ndarray) -> Maps:
  """Returns what each block of 4 x 4 px of aligned photos shows of the head.

  The network sees photos at 192 px, so that the maps are 48 x 48 in any case.

  Args:
    images: Crops, uint8 `[N, S, S, 3]` of any size, aligned as `face_crops` does it.

  Raises:
    ValueError: Shapes or dtypes differ, or images have no pixels.
  """
  shape = getattr(images, "shape", ())
  if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or shape[1] < 1:
    raise ValueError(f"images must be [N, S, S, 3] with S >= 1, got {list(shape)}")
  if images.dtype != np.uint8:
    raise ValueError(f"images must be uint8, got {images.dtype}")
  parts: list[Maps] = []
  for first in range(0, max(len(images), 1), _CHUNK):
    part = images[first : first + _CHUNK]
    # Batches are padded to powers of two, so that few shapes are compiled.
    count = 1 << max(len(part) - 1, 0).bit_length()
    padded = np.pad(part, ((0, count - len(part)), (0, 0), (0, 0), (0, 0)))
    maps = maps_of(weights(), padded)
    parts.append(Maps(*(np.asarray(x)[: len(part)] for x in maps)))
  return Maps(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


@functools.cache
def weights() -> dict[str, np.ndarray]:
  """Returns the weights of the network."""
  asset = store.open_asset(ASSET)
  prefix = "network/"
  return {
    name.removeprefix(prefix): value.astype(np.float32)
    for name, value in asset.items()
    if name.startswith(prefix)
  }


@jax.jit
def maps_of(network_weights: network.Weights, images: UInt8[Array, "n s s 3"]) -> Maps:
  """Returns the maps of photos of any size."""
  photo = _resized(images.astype(jnp.float32) / 255, network.SIZE)
  out = network.outputs(network_weights, photo)
  skin = average_pool(jax.nn.sigmoid(out.skin), 2)
  units = jnp.array([[[[network.UNIT, 1.0]]]])
  return Maps(
    out.points * network.UNIT, out.normals, jnp.exp(out.log_deviations) * units, skin
  )


def _resized(photo: Float[Array, "n s s 3"], size: int) -> Float[Array, "n k k 3"]:
  if photo.shape[1] % size == 0:
    return average_pool(photo, photo.shape[1] // size)
  return resize_bilinear(photo, (size, size), antialias=True)
