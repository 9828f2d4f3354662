"""Texture lookup at UV coordinates."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.render import _mipmaps, _nvdiffrast
from affjax.render._mixing import mix
from affjax.types import ArrayLike

_MIPMAPPED = ("linear-mipmap-nearest", "linear-mipmap-linear")
_FILTERS = ("linear", "nearest", *_MIPMAPPED)
_BOUNDARIES = ("clamp", "wrap", "zero")
# A level of a pyramid: index of its first texel, height, width.
_Level = tuple[int | Array, int | Array, int | Array]


def texture(
  tex: Float[ArrayLike, "b_or_1 th tw c"],
  uv: Float[ArrayLike, "b h w 2"],
  *,
  filter: str = "linear",
  boundary: str = "clamp",
  texel_centers: bool = False,
  uv_derivatives: Float[Array, "b h w 2 2"] | Float[Array, "b h w 4"] | None = None,
  mip_level_bias: Float[Array, "b h w"] | Float[Array, ""] | float | None = None,
  max_mip_level: int | None = None,
  backend: str = "auto",
) -> Float[Array, "b h w c"]:
  """Samples a texture at UV coordinates.

  `(u, v) = (0, 0)` is the bottom left of the texture and row 0 lies at v = 1.

  The mip-mapped filters average the texels under a pixel by a pyramid of halved
  textures. They read, bilinearly, the level whose texels are as large as the pixel's
  footprint is long: either the nearest level, or a blend of the two levels around it,
  which has a gradient in `uv_derivatives` and the bias.

  Args:
    tex: Texture `[B or 1, Ht, Wt, C]` of any size, range and number of channels; a
      batch of 1 is shared by all images.
    uv: Coordinates (u, v) to read; [0, 1] spans the texture.
    filter: "linear", which is differentiable in `uv`, "nearest",
      "linear-mipmap-nearest" or "linear-mipmap-linear".
    boundary: "clamp", "wrap" or "zero", the value outside the texture.
    texel_centers: Whether 0 and 1 are the centers of the outermost texels, as in
      PyTorch3D, instead of their outer edges.
    uv_derivatives: Change of (u, v) per pixel along (x, y), `[B, H, W, 2, 2]`, as
      `interpolate_with_derivatives` returns it, or `[B, H, W, 4]`; only for the
      mip-mapped filters, as the next two.
    mip_level_bias: Added to the level; the level itself if `uv_derivatives` is None.
    max_mip_level: The coarsest level of the pyramid; None for all, down to one texel.
    backend: "auto" or "xla", which are the same, or "nvdiffrast" if it is installed.

  Returns:
    Samples `[B, H, W, C]` in the dtype of the texture, differentiable in `tex`, and in
    `uv` unless the filter is "nearest".

  Raises:
    ValueError: A shape or an option is not as described, or a mip-mapped filter has
      neither `uv_derivatives` nor `mip_level_bias`.
  """
  _check(tex, uv, filter, boundary)
  tex, uv = jnp.asarray(tex), jnp.asarray(uv)
  _check_mip_maps(uv, filter, uv_derivatives, mip_level_bias, max_mip_level)
  theirs = _nvdiffrast.wanted(backend, "auto", "xla")
  read = _nvdiffrast.adapter().texture if theirs else _read
  return read(
    tex,
    uv,
    filter=filter,
    boundary=boundary,
    texel_centers=texel_centers,
    uv_derivatives=uv_derivatives,
    mip_level_bias=mip_level_bias,
    max_mip_level=max_mip_level,
  )


def _read(
  tex: Array,
  uv: Array,
  *,
  filter: str,
  boundary: str,
  texel_centers: bool,
  uv_derivatives: Array | None,
  mip_level_bias: Array | float | None,
  max_mip_level: int | None,
) -> Array:
  height, width = tex.shape[1:3]
  row = _texel(1 - uv[..., 1], height, boundary, texel_centers)
  column = _texel(uv[..., 0], width, boundary, texel_centers)
  if filter not in _MIPMAPPED:
    read = _nearest if filter == "nearest" else _bilinear
    return read(_flat(tex), (0, height, width), row, column, boundary)
  sizes = _mipmaps.level_sizes((height, width), max_mip_level)
  size = (height - 1, width - 1) if texel_centers else (height, width)
  level = _level(uv, uv_derivatives, mip_level_bias, size)
  linear = filter == "linear-mipmap-linear"
  texels = _mipmaps.pyramid(tex, sizes)
  return _mip_mapped(texels, sizes, row, column, level, boundary, linear=linear)


def _level(
  uv: Array,
  derivatives: Array | None,
  bias: Array | float | None,
  size: tuple[int, int],
):
  level = jnp.zeros(uv.shape[:3], uv.dtype)
  if derivatives is not None:
    slopes = derivatives.reshape(*uv.shape[:3], 2, 2)
    level = _mipmaps.footprint_level(slopes, size)
  return level if bias is None else level + bias


def _texel(place: Array, size: int, boundary: str, texel_centers: bool) -> Array:
  """Returns the texel coordinate, centers at integers, of a place in [0, 1]."""
  if boundary == "wrap":
    place = place - jnp.floor(place)
  return place * (size - 1) if texel_centers else place * size - 0.5


def _flat(tex: Array) -> Array:
  return tex.reshape(tex.shape[0], -1, tex.shape[-1])


def _mip_mapped(
  texels: Array,
  sizes: list[tuple[int, int]],
  row: Array,
  column: Array,
  level: Array,
  boundary: str,
  *,
  linear: bool,
):
  """Reads one or two levels of a pyramid at texel coordinates of level 0."""
  fine, coarse, share = _mipmaps.blend_of(level, len(sizes), linear=linear)
  height, width = sizes[0]

  def read(level: Array) -> Array:
    first = jnp.asarray(_mipmaps.offsets(sizes))[level]
    rows, columns = (jnp.maximum(n >> level, 1) for n in (height, width))
    at_row = (row + 0.5) * (rows.astype(row.dtype) / height) - 0.5
    at_column = (column + 0.5) * (columns.astype(column.dtype) / width) - 0.5
    return _bilinear(texels, (first, rows, columns), at_row, at_column, boundary)

  if not linear or len(sizes) == 1:
    return read(fine)
  return mix([1 - share, share], [read(fine), read(coarse)])


def _nearest(
  texels: Array, level: _Level, row: Array, column: Array, boundary: str
) -> Array:
  row, column = _clipped(level, row, column)
  row, column = (jnp.floor(v + 0.5).astype(jnp.int32) for v in (row, column))
  return _tap(texels, level, row, column, boundary)


def _bilinear(
  texels: Array, level: _Level, row: Array, column: Array, boundary: str
) -> Array:
  """Reads a level `(first texel, height, width)`, given as numbers or as arrays."""
  row, column = _clipped(level, row, column)
  top, left = jnp.floor(row), jnp.floor(column)
  down, right = row - top, column - left
  top, left = top.astype(jnp.int32), left.astype(jnp.int32)
  weights, taps = [], []
  for j, by_row in ((0, 1 - down), (1, down)):
    for i, by_column in ((0, 1 - right), (1, right)):
      weights.append(by_row * by_column)
      taps.append(_tap(texels, level, top + j, left + i, boundary))
  return mix(weights, taps)


def _clipped(level: _Level, row: Array, column: Array):
  # All texels far outside are alike, and an int32 could not hold their coordinates.
  return jnp.clip(row, -2, level[1] + 1), jnp.clip(column, -2, level[2] + 1)


def _tap(
  texels: Array, level: _Level, row: Array, column: Array, boundary: str
) -> Array:
  first, height, width = level
  inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
  if boundary == "wrap":
    row, column = row % height, column % width
  else:
    row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
  index = first + row * width + column
  if texels.shape[0] == 1:
    value = texels[0][index]
  else:
    value = jax.vmap(lambda t, i: t[i])(texels, index)
  return jnp.where(inside[..., None], value, 0) if boundary == "zero" else value


def _check(tex: ArrayLike, uv: ArrayLike, filter: str, boundary: str) -> None:
  if filter not in _FILTERS:
    raise ValueError(f"filter must be one of {_FILTERS}, got {filter!r}")
  if boundary not in _BOUNDARIES:
    raise ValueError(f"boundary must be one of {_BOUNDARIES}, got {boundary!r}")
  if uv.ndim != 4 or uv.shape[-1] != 2:
    raise ValueError(f"uv must have shape [B, H, W, 2], got {uv.shape}")
  if tex.ndim != 4 or tex.shape[0] not in (1, uv.shape[0]) or 0 in tex.shape[1:3]:
    raise ValueError(
      f"tex must have shape [1 or {uv.shape[0]}, H > 0, W > 0, C], got {tex.shape}"
    )


def _check_mip_maps(
  uv: ArrayLike,
  filter: str,
  derivatives: Array | None,
  bias: Array | float | None,
  limit: int | None,
) -> None:
  given = [v for v in (derivatives, bias, limit) if v is not None]
  if filter not in _MIPMAPPED:
    if given:
      raise ValueError(
        "uv_derivatives, mip_level_bias and max_mip_level need one of the filters "
        f"{_MIPMAPPED}, got filter={filter!r}"
      )
    return
  if derivatives is None and bias is None:
    raise ValueError(
      f"uv_derivatives or mip_level_bias must be given for filter={filter!r}"
    )
  shapes = ((*uv.shape[:3], 2, 2), (*uv.shape[:3], 4))
  if derivatives is not None and derivatives.shape not in shapes:
    raise ValueError(
      f"uv_derivatives must have shape {shapes[0]} or {shapes[1]}, got "
      f"{derivatives.shape}"
    )
  if bias is not None and jnp.shape(bias) not in ((), uv.shape[:3]):
    raise ValueError(
      f"mip_level_bias must be a number or have shape {uv.shape[:3]}, got "
      f"{jnp.shape(bias)}"
    )
  if limit is not None and limit < 0:
    raise ValueError(f"max_mip_level must be at least 0, got {limit}")
