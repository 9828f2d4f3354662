"""dlib's face recognition network: an aligned face -> 128 numbers.

Davis King's `dlib_face_recognition_resnet_model_v1`: a ResNet of 29 convolutions whose
batch norms are folded into the convolutions. Its shortcuts hold no weights: where a
block halves the image, the shortcut is a 2 x 2 mean, and missing channels are zeros.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from affjax.models._params import Params
from affjax.types import ArrayLike

SIZE = 150
# Mean color that is subtracted, of 255, and the divisor, as in dlib's
# `input_rgb_image_sized`. face-api divides by 255.
_MEAN = (122.782, 117.001, 104.298)
_DIVISOR = 256.0
_STEM = "conv32_down"
_BLOCKS = (
  *("conv32_1", "conv32_2", "conv32_3"),
  *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
  *("conv128_down", "conv128_1", "conv128_2"),
  *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


def from_asset(asset: Mapping[str, np.ndarray]) -> Params:
  """Returns kernel and bias of each layer (see `experiments.assets.identity`)."""
  layers = (_STEM, *(f"{block}/conv{k}" for block in _BLOCKS for k in (1, 2)), "output")
  return {name: _layer(asset, name) for name in layers}


def embed(
  params: Params, images: Float[ArrayLike, "n 150 150 3"]
) -> Float[Array, "n 128"]:
  """Returns the embedding of aligned faces in [0, 1]."""
  x = (255 * jnp.asarray(images) - jnp.array(_MEAN)[None, None, None]) / _DIVISOR
  x = jax.nn.relu(_conv(x, params[_STEM], stride=2))
  x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
  for name in _BLOCKS:
    x = _block(x, params, name)
  return x.mean((1, 2)) @ params["output"]["kernel"]


def _layer(asset: Mapping[str, np.ndarray], name: str) -> Params:
  kernel, scale, shift, bias = (
    asset[f"{name}/{part}"].astype(np.float32)
    for part in ("kernel", "scale", "shift", "bias")
  )
  return {"kernel": kernel * scale + shift, "bias": bias}


def _block(x: Array, params: Params, name: str) -> Array:
  halved = "_down" in name
  y = jax.nn.relu(_conv(x, params[f"{name}/conv1"], stride=2 if halved else 1))
  y = _conv(y, params[f"{name}/conv2"])
  if halved:
    x = lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4
  shape = tuple(max(sides) for sides in zip(x.shape, y.shape, strict=True))
  return jax.nn.relu(_grown(x, shape) + _grown(y, shape))


def _conv(x: Array, layer: Params, stride: int = 1) -> Array:
  y = lax.conv_general_dilated(
    x,
    layer["kernel"],
    (stride, stride),
    "SAME" if stride == 1 else "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return y + layer["bias"][None, None, None]


def _grown(x: Array, shape: tuple[int, ...]) -> Array:
  """Returns `x` with zeros after its end along each axis."""
  return jnp.pad(x, [(0, b - a) for a, b in zip(x.shape, shape, strict=True)])
