"""Errors of pictures: L1, PSNR, SSIM and color difference."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import gaussian_blur
from affjax.types import ArrayLike

# sRGB's primaries and its white D65 (IEC 61966-2-1), rows X, Y, Z.
_TO_XYZ = (
  (0.4124564, 0.3575761, 0.1804375),
  (0.2126729, 0.7151522, 0.0721750),
  (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.95047, 1.0, 1.08883)


def l1_error(
  image: Float[ArrayLike, "n h w c"],
  target: Float[ArrayLike, "n h w c"],
  mask: Float[ArrayLike, "n h w 1"],
) -> Float[Array, " n"]:
  """Mean absolute difference over the mask; NaN for an empty mask."""
  return _masked(jnp.abs(jnp.asarray(image) - jnp.asarray(target)), mask)


def psnr(
  image: Float[ArrayLike, "n h w c"],
  target: Float[ArrayLike, "n h w c"],
  mask: Float[ArrayLike, "n h w 1"],
) -> Float[Array, " n"]:
  """Peak signal-to-noise ratio over the mask, dB, for values in [0, 1]."""
  error = _masked((jnp.asarray(image) - jnp.asarray(target)) ** 2, mask)
  return -10 * jnp.log10(error)


def ssim(
  image: Float[ArrayLike, "n h w c"],
  target: Float[ArrayLike, "n h w c"],
  mask: Float[ArrayLike, "n h w 1"],
) -> Float[Array, " n"]:
  """Structural similarity (Wang et al. 2004) over the mask, for values in [0, 1].

  Gaussian window of 1.5 pixels, K1 = 0.01, K2 = 0.03, means over channels.
  """
  image, target = jnp.asarray(image), jnp.asarray(target)
  blur = lambda x: gaussian_blur(x, sigma=1.5, size=11)
  mean_a, mean_b = blur(image), blur(target)
  variance_a = blur(image * image) - mean_a**2
  variance_b = blur(target * target) - mean_b**2
  covariance = blur(image * target) - mean_a * mean_b
  c1, c2 = 0.01**2, 0.03**2
  value = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
  value = value / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
  return _masked(value, mask)


def color_difference(
  image: Float[ArrayLike, "n h w 3"],
  target: Float[ArrayLike, "n h w 3"],
  mask: Float[ArrayLike, "n h w 1"],
) -> Float[Array, " n"]:
  """Mean Euclidean distance in CIELAB (CIE 1976), of sRGB-encoded pictures."""
  difference = lab(image) - lab(target)
  return _masked(jnp.linalg.norm(difference, axis=-1, keepdims=True), mask)


def lab(image: Float[ArrayLike, "n h w 3"]) -> Float[Array, "n h w 3"]:
  """CIELAB of sRGB-encoded colors in [0, 1], for the white D65."""
  image = jnp.asarray(image)
  low = image / 12.92
  linear = jnp.where(image <= 0.04045, low, ((image + 0.055) / 1.055) ** 2.4)
  xyz = jnp.einsum("nhwc,kc->nhwk", linear, jnp.array(_TO_XYZ), precision="highest")
  ratio = xyz / jnp.array(_WHITE)[None, None, None]
  root = jnp.cbrt(jnp.maximum(ratio, 1e-12))
  f = jnp.where(ratio > (6 / 29) ** 3, root, ratio / (3 * (6 / 29) ** 2) + 4 / 29)
  x, y, z = f[..., 0], f[..., 1], f[..., 2]
  return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _masked(
  values: Float[Array, "n h w c"], mask: Float[ArrayLike, "n h w 1"]
) -> Float[Array, " n"]:
  mask = jnp.asarray(mask)
  total = jnp.sum(mask, (1, 2, 3)) * values.shape[-1]
  return jnp.sum(values * mask, (1, 2, 3)) / total
