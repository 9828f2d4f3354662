"""Mip-map pyramids of a texture, and the level that each pixel needs.

If a texture has `n` texels along an axis, level `l` has `max(n >> l, 1)`, each the mean
of the texture over an equal share of [0, 1]. One buffer, a third larger than the
texture, holds all levels one after the other, so that one gather reads texels of any
level and one scatter returns their gradient.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# Lower bound of the squared footprint, (2^-40 texels)²; it keeps the logarithm finite.
_TINY = 2.0**-80


def level_sizes(size: tuple[int, int], limit: int | None) -> list[tuple[int, int]]:
  """Returns (height, width) of the levels from 0 to the 1 x 1 one or to `limit`."""
  count = max(size).bit_length()
  count = count if limit is None else min(count, limit + 1)
  return [(max(size[0] >> k, 1), max(size[1] >> k, 1)) for k in range(count)]


def pyramid(
  tex: Float[Array, "b th tw c"], sizes: list[tuple[int, int]]
) -> Float[Array, "b n c"]:
  """Returns the texels of all levels, level 0 first, rows from the top."""
  levels = [tex]
  for _ in sizes[1:]:
    levels.append(_halved(_halved(levels[-1], 1), 2))
  batch, channels = tex.shape[0], tex.shape[-1]
  return jnp.concatenate([t.reshape(batch, -1, channels) for t in levels], 1)


def offsets(sizes: list[tuple[int, int]]) -> np.ndarray:
  """Returns the index at which each level begins in the buffer, int32."""
  return np.cumsum([0, *(h * w for h, w in sizes[:-1])]).astype(np.int32)


def _halved(tex: Array, axis: int) -> Array:
  """Halves the number of texels along an axis; an odd number `2 m + 1` becomes `m`.

  For an odd number, texel k is the mean over [k, k + 1] (2 m + 1) / m of the old
  texels: one whole texel and parts of its neighbors.
  """
  size = tex.shape[axis]
  if size == 1:
    return tex
  half = size // 2
  every_other = lambda first: _strided(tex, axis, first, half)
  if size % 2 == 0:
    return (every_other(0) + every_other(1)) / 2
  k = jnp.arange(half, dtype=tex.dtype).reshape(
    [-1 if a == axis else 1 for a in range(4)]
  )
  left, right = (half - k) / size, (k + 1) / size
  return left * every_other(0) + half / size * every_other(1) + right * every_other(2)


def _strided(tex: Array, axis: int, first: int, count: int) -> Array:
  picked = [slice(None)] * 4
  picked[axis] = slice(first, first + 2 * count - 1, 2)
  return tex[tuple(picked)]


def footprint_level(
  uv_derivatives: Float[Array, "b h w 2 2"], size: tuple[int, int]
) -> Float[Array, "b h w"]:
  """Returns the level whose texels are as large as the pixel's footprint.

  The pixel's unit circle maps to an ellipse in the texture, by the Jacobian
  `J = d(column, row)/d(X, Y)` in texels (Heckbert 1989, "Fundamentals of Texture
  Mapping and Image Warping"). The level is `log2` of the larger singular value of J,
  the ratio of the ellipse's major axis to a texel (Williams 1983). OpenGL instead takes
  the longer of the images of the pixel's two sides, which is up to half a level finer
  and changes when the image is rotated.

  Args:
    uv_derivatives: Change of u (a = 0) or v (a = 1) per pixel to the right (b = 0) or
      down (b = 1), as `[.., a, b]`.
    size: (height, width) of level 0.
  """
  by_u, by_v = uv_derivatives[..., 0, :] * size[1], uv_derivatives[..., 1, :] * size[0]
  # The larger eigenvalue of J J^T, which is [[p, q], [q, r]].
  p, r = jnp.sum(by_u * by_u, -1), jnp.sum(by_v * by_v, -1)
  q = jnp.sum(by_u * by_v, -1)
  # No gradient for a circle, which has no major axis, or for an empty pixel.
  spread = (p - r) ** 2 / 4 + q * q
  round_ = spread <= 0
  spread = jnp.where(round_, 0.0, jnp.sqrt(jnp.where(round_, 1.0, spread)))
  return jnp.log2(jnp.maximum((p + r) / 2 + spread, _TINY)) / 2


def blend_of(
  level: Float[Array, "b h w"], count: int, *, linear: bool
) -> tuple[Int[Array, "b h w"], Int[Array, "b h w"], Float[Array, "b h w"]]:
  """Returns the two levels to read and the weight of the coarser one.

  Args:
    level: The exact level. NaN counts as 0.
    count: Number of levels.
    linear: Whether two levels are blended; otherwise the nearest level is read.

  Returns:
    The fine and the coarse level, both int32, and the coarse level's weight in [0, 1].
  """
  level = jnp.clip(jnp.where(jnp.isnan(level), 0.0, level), 0, count - 1)
  if not linear:
    fine = jnp.floor(level + 0.5).astype(jnp.int32)
    return fine, fine, jnp.zeros_like(level)
  fine = jnp.floor(level)
  share = level - fine
  fine = fine.astype(jnp.int32)
  return fine, jnp.minimum(fine + 1, count - 1), share
