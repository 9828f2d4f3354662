"""nvdiffrast's texture lookup."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import calls, library

# The index of a name is nvdiffrast's number for it.
FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")
BOUNDARIES = ("cube", "wrap", "clamp", "zero")
_LARGEST_SIDE = 2**16
_MOST_LEVELS = 15


class _Mode(NamedTuple):
  """Attributes of the handlers."""

  filter: int
  boundary: int
  levels: int


def texture(
  tex: Float[Array, "b th tw c"] | Float[Array, "b 6 s s c"],
  uv: Float[Array, "b h w 2"] | Float[Array, "b h w 3"],
  *,
  filter: str = "linear",
  boundary: str = "clamp",
  texel_centers: bool = False,
  uv_derivatives: Array | None = None,
  mip_level_bias: Float[Array, "b h w"] | float | None = None,
  max_mip_level: int | None = None,
) -> Float[Array, "b h w c"]:
  """Samples a texture, as `affjax.render.texture` does, or a cube map.

  `(u, v) = (0, 0)` is the bottom left of the texture and row 0 lies at v = 1.

  Args:
    tex: Texture, float32; a batch of 1 is shared by all images. Mip maps need sizes
      that halve without remainder down to 1 texel or to `max_mip_level`.
    uv: Coordinates to read, or directions of any length in a cube map.
    filter: "nearest", "linear", "linear-mipmap-nearest" or "linear-mipmap-linear".
    boundary: The value outside the texture: "clamp" for the nearest border texel,
      "wrap" for the repeated texture, or "zero"; or "cube" for a cube map of six faces
      in nvdiffrast's order and orientation.
    texel_centers: Whether 0 and 1 are the centers of the outermost texels instead of
      their outer edges. Not available for cube maps.
    uv_derivatives: Change of each coordinate per pixel along x and y, as
      `interpolate_with_derivatives` returns it.
    mip_level_bias: Number added to the level; the level itself if `uv_derivatives` is
      None.
    max_mip_level: The coarsest level of the pyramid; None for all.

  Raises:
    ValueError: A shape, a dtype or an option is not as described.
    ImportError: nvdiffrast is not installed.
    RuntimeError: nvdiffrast cannot be compiled or JAX sees no CUDA device.
  """
  _check(tex, uv, filter, boundary, texel_centers)
  mipmapped = "mipmap" in filter
  if mipmapped and uv_derivatives is None and mip_level_bias is None:
    raise ValueError(
      f"filter {filter!r} needs uv_derivatives or mip_level_bias, got neither"
    )
  cube = boundary == "cube"
  size = (tex.shape[-3], tex.shape[-2])
  levels = _levels(size, max_mip_level) if mipmapped else 0
  if 0 in (uv.size, tex.shape[-1]):
    return jnp.zeros((*uv.shape[:3], tex.shape[-1]), jnp.float32)
  library.require()
  slopes = bias = calls.absent()
  if mipmapped and uv_derivatives is not None:
    slopes = uv_derivatives.reshape(*uv.shape[:3], -1)
    calls.expect("uv_derivatives", slopes, *uv.shape[:3], 2 * uv.shape[3])
  if filter == "linear-mipmap-nearest":
    # nvdiffrast takes the level below.
    mip_level_bias = 0.5 + (0.0 if mip_level_bias is None else mip_level_bias)
  if mipmapped and mip_level_bias is not None:
    bias = jnp.broadcast_to(jnp.asarray(mip_level_bias, jnp.float32), uv.shape[:3])
  if not cube:
    if boundary == "wrap":
      # Their kernel wraps too, but out of the texture where int32 is too small for uv;
      # and with texel centers at the ends a period is longer than the texture.
      uv = uv - jax.lax.stop_gradient(jnp.floor(uv))
    uv, slopes = _to_theirs(uv, slopes, size, texel_centers)
  mode = _Mode(FILTERS.index(filter), BOUNDARIES.index(boundary), levels)
  return _texture(tex, uv, slopes, bias, mode)


def _to_theirs(uv: Array, slopes: Array, size: tuple[int, int], texel_centers: bool):
  """Converts UVs: our v points up, nvdiffrast's down, with texel edges at 0 and 1."""
  height, width = size
  scale, shift = jnp.array([1.0, -1.0], jnp.float32), jnp.array([0.0, 1.0], jnp.float32)
  if texel_centers:
    texels = jnp.array([width, height], jnp.float32)
    scale, shift = scale * (texels - 1) / texels, (shift * (texels - 1) + 0.5) / texels
  place = uv * scale[None, None, None] + shift[None, None, None]
  if slopes.size:
    slopes = slopes * jnp.repeat(scale, 2)[None, None, None]
  return place, slopes


def _levels(size: tuple[int, int], limit: int | None) -> int:
  """Returns how many times the texture can be halved, at most `limit`."""
  height, width = size
  if limit is not None and limit < 0:
    raise ValueError(f"max_mip_level must be at least 0, got {limit}")
  most = _MOST_LEVELS if limit is None else min(limit, _MOST_LEVELS)
  count = 0
  while max(height, width) > 1 and count < most:
    if (height > 1 and height % 2) or (width > 1 and width % 2):
      raise ValueError(
        f"tex must halve evenly for nvdiffrast's mip maps, got {size}, which does so "
        f"{count} times: resize it, or set max_mip_level={count}"
      )
    height, width, count = max(height // 2, 1), max(width // 2, 1), count + 1
  return count


def _pyramid_size(tex: Array, mode: _Mode) -> int:
  """Returns the number of elements of all levels above the texture itself."""
  *images, height, width, channels = tex.shape
  sizes = ((max(height >> k, 1), max(width >> k, 1)) for k in range(1, mode.levels + 1))
  return math.prod(images) * channels * sum(h * w for h, w in sizes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _texture(tex: Array, uv: Array, slopes: Array, bias: Array, mode: _Mode):
  def forward(tex: Array, uv: Array, slopes: Array, bias: Array):
    value = calls.floats(*uv.shape[:3], tex.shape[-1])
    out = (value, calls.floats(_pyramid_size(tex, mode)))
    args = (tex, uv, slopes, bias)
    return (calls.handler("texture_forward", out, *args, **mode._asdict())[0],)

  args = (tex, uv, slopes, bias)
  return calls.batch_parallel(forward, args, _batched(*args), (True,))[0]


def _texture_fwd(tex: Array, uv: Array, slopes: Array, bias: Array, mode: _Mode):
  return _texture(tex, uv, slopes, bias, mode), (tex, uv, slopes, bias)


def _texture_bwd(mode: _Mode, kept: tuple[Array, ...], grad: Array):
  def backward(tex: Array, uv: Array, slopes: Array, bias: Array, grad: Array):
    args = (tex, uv, slopes, bias)
    scratch = calls.floats(_pyramid_size(tex, mode))
    out = (*(calls.floats(*a.shape) for a in args), scratch, scratch)
    call = calls.handler("texture_backward", out, *args, grad, **mode._asdict())
    return tuple(call[:4])

  batched = _batched(*kept)
  return calls.batch_parallel(backward, (*kept, grad), (*batched, True), batched)


def _batched(tex: Array, uv: Array, slopes: Array, bias: Array) -> tuple[bool, ...]:
  """Returns whether the leading axis of each argument is the batch."""
  return tex.shape[0] == uv.shape[0], True, slopes.size > 0, bias.size > 0


_texture.defvjp(_texture_fwd, _texture_bwd)


def _check(
  tex: Array, uv: Array, filter: str, boundary: str, texel_centers: bool
) -> None:
  if filter not in FILTERS:
    raise ValueError(f"filter must be one of {FILTERS}, got {filter!r}")
  if boundary not in BOUNDARIES:
    raise ValueError(f"boundary must be one of {BOUNDARIES}, got {boundary!r}")
  cube = boundary == "cube"
  if cube and texel_centers:
    raise ValueError("texel_centers must be False for boundary 'cube', got True")
  calls.expect("uv", uv, None, None, None, 3 if cube else 2)
  batch = 1 if tex.shape[0] == 1 else uv.shape[0]
  calls.expect("tex", tex, batch, *((6,) if cube else ()), None, None, None)
  height, width = tex.shape[-3:-1]
  if cube and height != width:
    raise ValueError(f"tex must have square faces for boundary 'cube', got {tex.shape}")
  if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
    raise ValueError(
      f"tex must be from 1 to 65536 texels wide and high, got {tex.shape}"
    )
