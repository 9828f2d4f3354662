"""Reading a texture at UV coordinates."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.render import _mipmaps, _nvdiffrast
from affjax.render._mixing import mix

_MIPMAPPED = ("linear-mipmap-nearest", "linear-mipmap-linear")
_FILTERS = ("linear", "nearest", *_MIPMAPPED)
_BOUNDARIES = ("clamp", "wrap", "zero")


def texture(
  tex: Float[Array, "b th tw c"],
  uv: Float[Array, "b h w 2"],
  *,
  filter: str = "linear",
  boundary: str = "clamp",
  texel_centers: bool = False,
  uv_derivatives: Float[Array, "b h w 2 2"] | Float[Array, "b h w 4"] | None = None,
  mip_level_bias: Float[Array, "b h w"] | float | None = None,
  max_mip_level: int | None = None,
  backend: str = "auto",
) -> Float[Array, "b h w c"]:
  """Looks a texture up; `(u, v) = (0, 0)` is its bottom left, row 0 lies at v = 1.

  A texture that is seen small flickers and moires unless the texels under a pixel are
  averaged. The mip-mapped filters do it by a pyramid of halved textures (boxes of 2 x 2
  texels; where a size is odd, of the 3 x 3 or 2 x 3 that lie under the texel, by area)
  and read, bilinearly, the level whose texels are as large as the pixel's footprint is
  long (`_mipmaps.footprint_level`): the nearest level, or a mixture of the two around
  it, which is continuous and has a gradient in `uv_derivatives` and the bias. Gradients
  reach the texture through all levels.

  Args:
    tex: a batch of 1 is shared by all images. Any size.
    uv: where to read.
    filter: "linear" (differentiable in `uv`), "nearest", "linear-mipmap-nearest" or
      "linear-mipmap-linear".
    boundary: outside the texture read its border ("clamp"), its repetition ("wrap"), or
      "zero".
    texel_centers: 0 and 1 are the centres of the outermost texels (PyTorch3D's
      `align_corners=True`) instead of their outer edges.
    uv_derivatives: change of u and v along x and y, per pixel, as `interpolate(...,
      derivatives=)` gives it: `[.., (u, v), (x, y)]`, or the four in that order.
    mip_level_bias: added to the level; alone, it is the level.
    max_mip_level: the coarsest level to make; None for all, down to one texel.
    backend: "auto" or "xla", which are the same, or "nvdiffrast" for users who have it.

  Raises:
    ValueError: wrong shapes, an unknown option, or a mip-mapped filter with neither
      `uv_derivatives` nor `mip_level_bias`.
  """
  _check(tex, uv, filter, boundary)
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
  tex,
  uv,
  *,
  filter: str,
  boundary: str,
  texel_centers: bool,
  uv_derivatives,
  mip_level_bias,
  max_mip_level: int | None,
):
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


def _level(uv, derivatives, bias, size: tuple[int, int]):
  level = jnp.zeros(uv.shape[:3], uv.dtype)
  if derivatives is not None:
    slopes = derivatives.reshape(*uv.shape[:3], 2, 2)
    level = _mipmaps.footprint_level(slopes, size)
  return level if bias is None else level + bias


def _texel(place, size: int, boundary: str, texel_centers: bool):
  """Texel coordinate, centres at integers, of a place in [0, 1] along one axis."""
  if boundary == "wrap":
    place = place - jnp.floor(place)
  return place * (size - 1) if texel_centers else place * size - 0.5


def _flat(tex):
  return tex.reshape(tex.shape[0], -1, tex.shape[-1])


def _mip_mapped(texels, sizes, row, column, level, boundary: str, *, linear: bool):
  """Reads one or two levels of a pyramid at texel coordinates of level 0."""
  fine, coarse, share = _mipmaps.blend_of(level, len(sizes), linear=linear)
  height, width = sizes[0]

  def read(level):
    first = jnp.asarray(_mipmaps.offsets(sizes))[level]
    rows, columns = (jnp.maximum(n >> level, 1) for n in (height, width))
    at_row = (row + 0.5) * (rows.astype(row.dtype) / height) - 0.5
    at_column = (column + 0.5) * (columns.astype(column.dtype) / width) - 0.5
    return _bilinear(texels, (first, rows, columns), at_row, at_column, boundary)

  if not linear or len(sizes) == 1:
    return read(fine)
  return mix([1 - share, share], [read(fine), read(coarse)])


def _nearest(texels, level, row, column, boundary: str):
  row, column = _clipped(level, row, column)
  row, column = (jnp.floor(v + 0.5).astype(jnp.int32) for v in (row, column))
  return _tap(texels, level, row, column, boundary)


def _bilinear(texels, level, row, column, boundary: str):
  """Reads a level `(first texel, height, width)`; numbers, or an array of each."""
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


def _clipped(level, row, column):
  # Far outside all texels are alike; an integer could not hold the coordinate.
  return jnp.clip(row, -2, level[1] + 1), jnp.clip(column, -2, level[2] + 1)


def _tap(texels, level, row, column, boundary: str):
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


def _check(tex, uv, filter: str, boundary: str) -> None:
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


def _check_mip_maps(uv, filter: str, derivatives, bias, limit) -> None:
  given = [v for v in (derivatives, bias, limit) if v is not None]
  if filter not in _MIPMAPPED:
    if given:
      raise ValueError(
        "uv_derivatives, mip_level_bias and max_mip_level are for the filters "
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
