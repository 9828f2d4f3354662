"""The effects of a camera: exposure curve, color, blur, sensor noise, compression."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.data._synthetic.parameters import PhotoLens

_WIDEST = 0.018


def develop(image: Float[Array, "h w 3"], lens: PhotoLens) -> Float[Array, "h w 3"]:
  """Turns a clean sRGB-encoded picture into a photo in [0, 1]."""
  image = _tone(image, lens)
  image = _blur(image, lens)
  read, shot = lens.noise
  key = jax.random.key(lens.seed)
  spread = read + shot * jnp.sqrt(jnp.clip(image, 0, 1))
  image = image + spread * jax.random.normal(key, image.shape)
  return jnp.clip(_blocks(jnp.clip(image, 0, 1), lens.blocks), 0, 1)


def _tone(image: Float[Array, "h w 3"], lens: PhotoLens) -> Float[Array, "h w 3"]:
  """Applies white balance, exposure curve, saturation and contrast."""
  image = jnp.clip(image * lens.balance[None, None], 0, 1)
  image = (image + 1e-5) ** lens.gamma
  gray = jnp.mean(image, -1, keepdims=True)
  image = gray + (image - gray) * lens.saturation
  return 0.5 + (image - 0.5) * lens.contrast


def _blur(image: Float[Array, "h w 3"], lens: PhotoLens) -> Float[Array, "h w 3"]:
  """Applies a Gaussian whose width is a share of the picture's width."""
  size = image.shape[0]
  radius = max(1, math.ceil(2 * _WIDEST * size))
  sigma = jnp.clip(lens.blur, 1e-4, _WIDEST) * size
  offset = jnp.arange(-radius, radius + 1)
  kernel = jnp.exp(-0.5 * (offset / sigma) ** 2)
  kernel = kernel / kernel.sum()
  for axis in (0, 1):
    pad = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
    padded = jnp.pad(image, pad, "edge")
    n = image.shape[axis]
    image = jnp.zeros_like(image)
    for k in range(2 * radius + 1):
      image += kernel[k] * jax.lax.slice_in_dim(padded, k, k + n, axis=axis)
  return image


def _cosine_basis() -> np.ndarray:
  k, n = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
  basis = np.cos(np.pi * (2 * n + 1) * k / 16) * 0.5
  basis[0] /= np.sqrt(2)
  return basis.astype(np.float32)


def _blocks(
  image: Float[Array, "h w 3"], strength: Float[Array, ""]
) -> Float[Array, "h w 3"]:
  """Quantizes the cosine coefficients of 8 x 8 blocks, fine ones more coarsely."""
  height, width = image.shape[0] // 8, image.shape[1] // 8
  basis = jnp.asarray(_cosine_basis())
  tiles = image[: height * 8, : width * 8].reshape(height, 8, width, 8, 3)
  spectrum = jnp.einsum("ki,lj,hiwjc->hkwlc", basis, basis, tiles)
  order = jnp.arange(8)
  step = strength * 0.035 * (1 + 0.6 * (order[:, None] + order[None, :]))
  step = jnp.maximum(step, 1e-4)[None, :, None, :, None]
  spectrum = jnp.round(spectrum / step) * step
  tiles = jnp.einsum("ki,lj,hkwlc->hiwjc", basis, basis, spectrum)
  return image.at[: height * 8, : width * 8].set(
    tiles.reshape(height * 8, width * 8, 3)
  )
