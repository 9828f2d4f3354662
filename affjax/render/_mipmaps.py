"""Pyramids of a texture, and which of their levels a pixel needs.

Where a texture has `n` texels along an axis, level `l` has `max(n >> l, 1)`, each the
mean of the texture over the same share of [0, 1]. All levels lie one behind the other
in one buffer, a third larger than the texture, so that one gather reads texels of any
level and one scatter brings their gradient back.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A footprint (texels) below this one has level 0 whatever it is: 2^-40 texels.
_TINY = 2.0**-80


def level_sizes(size: tuple[int, int], limit: int | None) -> list[tuple[int, int]]:
  """(height, width) of level 0 and on to 1 x 1, or to level `limit`."""
  count = max(size).bit_length()
  count = count if limit is None else min(count, limit + 1)
  return [(max(size[0] >> k, 1), max(size[1] >> k, 1)) for k in range(count)]


def pyramid(
  tex: Float[Array, "b th tw c"], sizes: list[tuple[int, int]]
) -> Float[Array, "b n c"]:
  """The texels of all levels, level 0 first, rows from the top."""
  levels = [tex]
  for _ in sizes[1:]:
    levels.append(_halved(_halved(levels[-1], 1), 2))
  batch, channels = tex.shape[0], tex.shape[-1]
  return jnp.concatenate([t.reshape(batch, -1, channels) for t in levels], 1)


def offsets(sizes: list[tuple[int, int]]) -> np.ndarray:
  """Where each level begins in the buffer."""
  return np.cumsum([0, *(h * w for h, w in sizes[:-1])]).astype(np.int32)


def _halved(tex, axis: int):
  """Half as many texels along an axis; of an odd number `2 m + 1` there become `m`.

  Texel k then is the mean over [k, k + 1] (2 m + 1) / m of the old ones: a whole one
  and parts of its neighbours.
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


def _strided(tex, axis: int, first: int, count: int):
  picked = [slice(None)] * 4
  picked[axis] = slice(first, first + 2 * count - 1, 2)
  return tex[tuple(picked)]


def footprint_level(
  uv_derivatives: Float[Array, "b h w 2 2"], size: tuple[int, int]
) -> Float[Array, "b h w"]:
  """Level whose texels are as large as the pixel's footprint in the texture.

  The pixel's unit circle is seen in the texture as an ellipse, the circle's image under
  the Jacobian `J = d(column, row)/d(X, Y)` in texels (Heckbert 1989, "Fundamentals of
  Texture Mapping and Image Warping"). The level is `log2` of the larger singular value
  of J: the ellipse's major axis against a texel (Williams 1983). OpenGL takes the
  longer of the images of the pixel's two sides instead, which is up to half a level
  finer and changes when the picture is turned.

  Args:
    uv_derivatives: `[.., a, b]` = change of u (a = 0), v (a = 1) a pixel to the right
      (b = 0) and down (b = 1).
    size: (height, width) of level 0.
  """
  by_u, by_v = uv_derivatives[..., 0, :] * size[1], uv_derivatives[..., 1, :] * size[0]
  # The larger eigenvalue of J J^T, a matrix [[p, q], [q, r]].
  p, r = jnp.sum(by_u * by_u, -1), jnp.sum(by_v * by_v, -1)
  q = jnp.sum(by_u * by_v, -1)
  # A circle has no major axis, and an empty pixel no footprint: no gradient there.
  spread = (p - r) ** 2 / 4 + q * q
  round_ = spread <= 0
  spread = jnp.where(round_, 0.0, jnp.sqrt(jnp.where(round_, 1.0, spread)))
  return jnp.log2(jnp.maximum((p + r) / 2 + spread, _TINY)) / 2


def blend_of(level: Float[Array, "b h w"], count: int, *, linear: bool):
  """The levels to read, and how much of the coarser one.

  Returns:
    `(fine, coarse, share)`: int32, int32, and the coarse level's weight in [0, 1].
    NaN levels are read as 0.
  """
  level = jnp.clip(jnp.where(jnp.isnan(level), 0.0, level), 0, count - 1)
  if not linear:
    fine = jnp.floor(level + 0.5).astype(jnp.int32)
    return fine, fine, jnp.zeros_like(level)
  fine = jnp.floor(level)
  share = level - fine
  fine = fine.astype(jnp.int32)
  return fine, jnp.minimum(fine + 1, count - 1), share
