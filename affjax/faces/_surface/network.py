"""The network that reads the head's surface off an aligned photo.

A U-Net of plain convolutions. It takes blocks of 2 x 2 px, works from 1/4 to 1/32 of
the photo's side, and predicts at 1/4 what each pixel shows of the head (surface
coordinates after Taylor et al. 2012, *The Vitruvian Manifold*; likelihood after Wood et
al. 2022, *3D Face Reconstruction with Dense Landmarks*), and visible skin at 1/2. Its
weights are a dictionary, as the asset holds them.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.ops import conv, upsample_nearest

# Side of the photos that it was trained with, px.
SIZE = 192
# Number of features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the side.
_WIDTHS = (16, 40, 72, 128, 192)
# Features of the context, and of each place that the context reaches.
_CONTEXT, _SHARED = 256, 32
# Unit of the surface coordinates, dm.
UNIT = 0.8
# Bounds of the logarithm of deviations.
_LEAST, _MOST = -6.0, 2.0

Weights = Mapping[str, Array | np.ndarray]


class Outputs(NamedTuple):
  """Outputs of the network for `n` photos of `s` px; `q = s / 4`.

  Attributes:
    points: Surface point that each pixel shows, on the mean head, in UNITs.
    normals: Normal in camera space, not normalized.
    log_deviations: Logarithm of the mean absolute error that is expected of a component
      of `points` (in UNITs) and of `normals`.
    skin: Log odds of visible skin, at half the side.
  """

  points: Float[Array, "n q q 3"]
  normals: Float[Array, "n q q 3"]
  log_deviations: Float[Array, "n q q 2"]
  skin: Float[Array, "n h h 1"]


def shapes() -> dict[str, tuple[int, ...]]:
  """Returns the shapes `[K, K, C, O]` of the kernels; each has a bias `<name>/bias`."""
  a, b, c, d, e = _WIDTHS
  narrow = SIZE // 32
  places = narrow * narrow * _SHARED
  return {
    "half": (3, 3, 12 + 3, a),
    "down4": (3, 3, a, b),
    "down4b": (3, 3, b, b),
    "down8": (3, 3, b, c),
    "down8b": (3, 3, c, c),
    "down8c": (3, 3, c, c),
    "down16": (3, 3, c, d),
    "down16b": (3, 3, d, d),
    "down16c": (3, 3, d, d),
    "down32": (3, 3, d, e),
    "down32b": (3, 3, e, e),
    "down32c": (3, 3, e, e),
    "gather": (1, 1, e, _SHARED),
    "context": (1, 1, places, _CONTEXT),
    "spread": (1, 1, _CONTEXT, places),
    "join": (1, 1, _SHARED, e),
    "up16": (3, 3, e, d),
    "up16b": (3, 3, d, d),
    "up16c": (3, 3, d, d),
    "up8": (3, 3, d, c),
    "up8b": (3, 3, c, c),
    "up8c": (3, 3, c, c),
    "up4": (3, 3, c, b),
    "up4b": (3, 3, b, b),
    "up4c": (3, 3, b, b),
    "surface": (3, 3, b, 8),
    "skin2": (3, 3, b, a),
    "skin2b": (3, 3, a, a),
    "skin": (3, 3, a, 1),
  }


def outputs(weights: Weights, images: Float[Array, "n s s 3"]) -> Outputs:
  """Applies the network.

  Args:
    weights: Kernels and biases of the `shapes`.
    images: Photos in [0, 1], SIZE x SIZE px, aligned as `face_crops` does it.
  """

  def layer(name: str, x: Array, stride: int = 1) -> Array:
    return jax.nn.relu(_convolved(weights, name, x, stride))

  def more(name: str, x: Array) -> Array:
    return x + layer(f"{name}c", x + layer(f"{name}b", x))

  x2 = layer("half", _blocks(images))
  x4 = layer("down4", x2, 2)
  x4 = x4 + layer("down4b", x4)
  x8 = more("down8", layer("down8", x4, 2))
  x16 = more("down16", layer("down16", x8, 2))
  x32 = more("down32", layer("down32", x16, 2))
  x32 = x32 + _context(layer, x32)
  x16 = more("up16", x16 + _double(layer("up16", x32)))
  x8 = more("up8", x8 + _double(layer("up8", x16)))
  x4 = more("up4", x4 + _double(layer("up4", x8)))
  surface = _convolved(weights, "surface", x4, 1)
  x2 = x2 + _double(layer("skin2", x4))
  x2 = x2 + layer("skin2b", x2)
  return Outputs(
    surface[..., :3],
    surface[..., 3:6],
    jnp.clip(surface[..., 6:], _LEAST, _MOST),
    _convolved(weights, "skin", x2, 1),
  )


def _context(
  layer: Callable[[str, Array], Array], x: Float[Array, "n h w c"]
) -> Float[Array, "n h w c"]:
  """Returns features of the whole photo, different at each place."""
  shared = layer("gather", x)
  n, h, w, c = shared.shape
  whole = layer("context", shared.reshape(n, 1, 1, h * w * c))
  return layer("join", layer("spread", whole).reshape(n, h, w, c))


def _blocks(images: Float[Array, "n s s 3"]) -> Float[Array, "n h h 15"]:
  """Returns the colors of each block's four pixels, and its place in the image."""
  n, s, _, c = images.shape
  h = s // 2
  x = images.reshape(n, h, 2, h, 2, c).swapaxes(2, 3).reshape(n, h, h, 4 * c)
  line = (jnp.arange(h, dtype=jnp.float32) + 0.5) * (2 / h) - 1
  row, column = jnp.meshgrid(line, line, indexing="ij")
  place = jnp.stack([column, row, column**2 + row**2], -1)
  place = jnp.broadcast_to(place[None], (n, h, h, 3))
  return jnp.concatenate([2 * x - 1, place], -1)


def _double(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
  return upsample_nearest(x, (2 * x.shape[1], 2 * x.shape[2]))


def _convolved(
  weights: Weights, name: str, x: Float[Array, "n h w c"], stride: int
) -> Float[Array, "n h2 w2 d"]:
  y = conv(x, jnp.asarray(weights[name]), stride=stride)
  return y + jnp.asarray(weights[f"{name}/bias"])[None, None, None]
