"""The network of `visible_skin`: a small U-Net of plain convolutions.

Its weights are a dictionary, as the asset holds them. It works on blocks of 2 x 2 px,
so that no convolution runs at full resolution.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.ops import conv, upsample_nearest

# Side of the images that it was trained with, px.
SIZE = 128
# Numbers of features at 1/2, 1/4, 1/8 and 1/16 of the side.
_WIDTHS = (32, 48, 96, 128)

Weights = Mapping[str, Array | np.ndarray]


def shapes() -> dict[str, tuple[int, ...]]:
  """Returns the shapes `[K, K, C, O]` of the kernels; each has a bias `<name>/bias`."""
  a, b, c, d = _WIDTHS
  return {
    "down1": (3, 3, 12 + 3, a),
    "down2": (3, 3, a, b),
    "down2b": (3, 3, b, b),
    "down3": (3, 3, b, c),
    "down3b": (3, 3, c, c),
    "down4": (3, 3, c, d),
    "down4b": (3, 3, d, d),
    "down4c": (3, 3, d, d),
    "up3": (3, 3, d, c),
    "up3b": (3, 3, c, c),
    "up2": (3, 3, c, b),
    "up2b": (3, 3, b, b),
    "up1": (3, 3, b, a),
    "up1b": (3, 3, a, a),
    "out": (3, 3, a, 4),
  }


def logits(
  weights: Weights, images: Float[Array, "n s s 3"]
) -> Float[Array, "n s s 1"]:
  """Returns the log odds of visible skin.

  Args:
    weights: Kernels and biases of the `shapes`.
    images: Images in [0, 1], of SIZE x SIZE px.
  """
  layer = lambda name, x, stride=1: _layer(weights, name, x, stride)
  x1 = layer("down1", _blocks(images))
  x2 = layer("down2", x1, 2)
  x2 = x2 + layer("down2b", x2)
  x3 = layer("down3", x2, 2)
  x3 = x3 + layer("down3b", x3)
  x4 = layer("down4", x3, 2)
  x4 = x4 + layer("down4b", x4)
  x4 = x4 + layer("down4c", x4)
  x3 = x3 + _double(layer("up3", x4))
  x3 = x3 + layer("up3b", x3)
  x2 = x2 + _double(layer("up2", x3))
  x2 = x2 + layer("up2b", x2)
  x1 = x1 + _double(layer("up1", x2))
  x1 = x1 + layer("up1b", x1)
  out = _convolve(weights, "out", x1, 1)
  n, h, w, _ = out.shape
  return out.reshape(n, h, w, 2, 2, 1).swapaxes(2, 3).reshape(n, 2 * h, 2 * w, 1)


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


def _layer(
  weights: Weights, name: str, x: Float[Array, "n h w c"], stride: int
) -> Float[Array, "n h2 w2 d"]:
  return jax.nn.relu(_convolve(weights, name, x, stride))


def _convolve(
  weights: Weights, name: str, x: Float[Array, "n h w c"], stride: int
) -> Float[Array, "n h2 w2 d"]:
  y = conv(x, jnp.asarray(weights[name]), stride=stride)
  return y + jnp.asarray(weights[f"{name}/bias"])[None, None, None]
