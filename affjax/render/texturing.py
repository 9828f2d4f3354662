"""Reading a texture at UV coordinates."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_FILTERS = ("linear", "nearest")
_BOUNDARIES = ("clamp", "wrap", "zero")


def texture(
  tex: Float[Array, "b th tw c"],
  uv: Float[Array, "b h w 2"],
  *,
  filter: str = "linear",
  boundary: str = "clamp",
  texel_centers: bool = False,
) -> Float[Array, "b h w c"]:
  """Looks a texture up; `(u, v) = (0, 0)` is its bottom left, row 0 lies at v = 1.

  Args:
    tex: a batch of 1 is shared by all images.
    uv: where to read.
    filter: "linear" (differentiable in `uv`) or "nearest".
    boundary: outside the texture read its border ("clamp"), its repetition ("wrap"), or
      "zero".
    texel_centers: 0 and 1 are the centres of the outermost texels (PyTorch3D's
      `align_corners=True`) instead of their outer edges.

  Raises:
    ValueError: wrong shapes or an unknown option.
  """
  if filter not in _FILTERS:
    raise ValueError(f"filter must be one of {_FILTERS}, got {filter!r}")
  if boundary not in _BOUNDARIES:
    raise ValueError(f"boundary must be one of {_BOUNDARIES}, got {boundary!r}")
  if uv.ndim != 4 or uv.shape[-1] != 2:
    raise ValueError(f"uv must have shape [B, H, W, 2], got {uv.shape}")
  if tex.ndim != 4 or tex.shape[0] not in (1, uv.shape[0]):
    raise ValueError(
      f"tex must have shape [1 or {uv.shape[0]}, H, W, C], got {tex.shape}"
    )
  height, width = tex.shape[1:3]
  column = _texel(uv[..., 0], width, boundary, texel_centers)
  row = _texel(1 - uv[..., 1], height, boundary, texel_centers)
  if filter == "nearest":
    return _tap(tex, _round(row), _round(column), boundary)
  top, left = jnp.floor(row), jnp.floor(column)
  down, right = (row - top)[..., None], (column - left)[..., None]
  top, left = top.astype(jnp.int32), left.astype(jnp.int32)
  upper = _tap(tex, top, left, boundary) * (1 - right)
  upper += _tap(tex, top, left + 1, boundary) * right
  lower = _tap(tex, top + 1, left, boundary) * (1 - right)
  lower += _tap(tex, top + 1, left + 1, boundary) * right
  return upper * (1 - down) + lower * down


def _texel(place, size: int, boundary: str, texel_centers: bool):
  """Texel coordinate, centres at integers, of a place in [0, 1] along one axis."""
  if boundary == "wrap":
    place = place - jnp.floor(place)
  texel = place * (size - 1) if texel_centers else place * size - 0.5
  # Far outside all texels are alike; an integer could not hold the coordinate.
  return jnp.clip(texel, -2, size + 1)


def _round(texel) -> Int[Array, "*b"]:
  return jnp.floor(texel + 0.5).astype(jnp.int32)


def _tap(tex, row, column, boundary: str):
  height, width, channels = tex.shape[1:]
  inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
  if boundary == "wrap":
    row, column = row % height, column % width
  else:
    row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
  index = row * width + column
  flat = tex.reshape(tex.shape[0], -1, channels)
  if tex.shape[0] == 1:
    value = flat[0][index]
  else:
    value = jax.vmap(lambda t, i: t[i])(flat, index)
  return jnp.where(inside[..., None], value, 0) if boundary == "zero" else value
