"""The head painted where it belongs: onto the whole photo, pixel for pixel."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from affjax import render
from affjax.export import _projection
from affjax.geometry import mesh
from affjax.render import group_of
from affjax.types import Camera, Template

# Sides of a painting, px: few sizes, hence few compilations. A head that is larger in
# its photo is painted at the largest and enlarged.
_SIDES = (256, 512, 1024)
# Up to here paintings are rastered at twice the size: where triangles are as small as
# pixels, few silhouettes cross a pixel in the way that antialiasing recognises.
_DOUBLED = 512
_STRIP = 512
_ORIGINAL = ("eyes", "teeth")


@dataclasses.dataclass(frozen=True, eq=False)
class Painting:
  """A head painted over black.

  Attributes:
    color: float32 `[S, S, 3]`, premultiplied by coverage.
    alpha: float32 `[S, S, 1]`, coverage.
  """

  color: Float[np.ndarray, "s s 3"]
  alpha: Float[np.ndarray, "s s 1"]


@dataclasses.dataclass(frozen=True)
class _Window:
  """A square part of a photo: corner, side of its raster, photo px for a raster px."""

  x: int
  y: int
  side: int
  zoom: float


def paint(
  vertices: Float[np.ndarray, "v 3"],
  texture: Float[np.ndarray, "s s 3"],
  template: Template,
  camera: Camera,
  projection: _projection.Projection,
  *,
  size: int,
  keep_original: bool = False,
) -> Painting:
  """Paints a head over black.

  Args:
    vertices: head-space vertices of the template, dm.
    texture: the shaded UV map.
    template: triangles, UVs and groups.
    camera: its planes.
    projection: head space to px of the square picture.
    size: height and width of the picture, px.
    keep_original: leave eyes and the inside of the mouth unpainted, so that a photo
      beneath shows its own.
  """
  times = 2 if size <= _DOUBLED else 1
  view = _projection.scaled(projection, times, (0, 0))
  clip = _projection.to_clip(vertices, view, camera, times * size)
  layers = _paint(
    jnp.asarray(clip, jnp.float32)[None],
    jnp.asarray(texture, jnp.float32)[None],
    template,
    times * size,
    keep_original,
  )
  layers = np.asarray(layers[0]).reshape(size, times, size, times, 4).mean((1, 3))
  return Painting(color=layers[..., :3], alpha=layers[..., 3:])


def paint_photo(
  photo: UInt8[np.ndarray, "h w 3"],
  vertices: Float[np.ndarray, "v 3"],
  texture: Float[np.ndarray, "s s 3"],
  template: Template,
  camera: Camera,
  projection: _projection.Projection,
  *,
  keep_original: bool = False,
) -> UInt8[np.ndarray, "h w 3"]:
  """The photo with the head composited onto it, every other pixel untouched.

  Args:
    photo: 8-bit RGB.
    vertices: head-space vertices, dm.
    texture: the shaded UV map.
    template: triangles, UVs and groups.
    camera: its planes.
    projection: head space to px of the photo.
    keep_original: leave the photo its own eyes and inside of the mouth.
  """
  window = _window(_projection.project(vertices, projection), photo.shape[:2])
  if window is None:
    return photo.copy()
  view = _projection.scaled(projection, 1 / window.zoom, (window.x, window.y))
  painting = paint(
    vertices,
    texture,
    template,
    camera,
    view,
    size=window.side,
    keep_original=keep_original,
  )
  return _composited(photo, painting, window)


@functools.partial(jax.jit, static_argnames=("template", "size", "keep_original"))
def _paint(clip, texture, template: Template, size: int, keep_original: bool):
  """Premultiplied RGBA."""
  rast = render.rasterize(clip, template.faces, (size, size))
  uv = render.interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv)
  mask = (rast[..., 3:] > 0).astype(texture.dtype)
  layers = jnp.concatenate([render.texture(texture, uv) * mask, mask], -1)
  opposite = mesh.opposite_vertices(template.faces)
  layers = render.antialias(layers, rast, clip, template.faces, opposite=opposite)
  if not keep_original:
    return layers
  kept = [template.group_names.index(n) for n in _ORIGINAL if n in template.group_names]
  group = group_of(rast, template)[..., None]
  hole = jnp.any(
    group == jnp.array(kept, group.dtype).reshape(1, 1, 1, -1), -1, keepdims=True
  )
  # A step of one pixel: the lids' edge must not look cut with scissors.
  kernel = jnp.full((3, 3, 1, 1), 1 / 9, layers.dtype)
  soft = jax.lax.conv_general_dilated(
    hole.astype(layers.dtype),
    kernel,
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return layers * (1 - soft)


def _window(points: np.ndarray, photo_size: tuple[int, int]) -> _Window | None:
  """The window on what is in the photo of projected points; None if nothing is."""
  if not np.isfinite(points).all():
    raise ValueError("the head's projection must be finite, got NaN or infinity")
  edge = np.array(photo_size[::-1])
  low = np.clip(np.floor(points.min(0)) - 2, 0, edge)
  high = np.clip(np.ceil(points.max(0)) + 3, 0, edge)
  if (low >= high).any():
    return None
  reach = (high - low).max()
  side = next((s for s in _SIDES if s >= reach), _SIDES[-1])
  zoom = max(1.0, reach / side)
  return _Window(x=int(low[0]), y=int(low[1]), side=side, zoom=zoom)


def _composited(
  photo: np.ndarray, painting: Painting, window: _Window
) -> UInt8[np.ndarray, "h w 3"]:
  """The photo with a painting over it, in strips: a photo may have 80 million px."""
  layers = np.concatenate([painting.color, painting.alpha], -1)
  extent = int(np.ceil(window.side * window.zoom))
  right = min(window.x + extent, photo.shape[1])
  bottom = min(window.y + extent, photo.shape[0])
  result = photo.copy()
  for top in range(window.y, bottom, _STRIP):
    rows = slice(top, min(top + _STRIP, bottom))
    over = _strip(layers, window, rows, right)
    place = result[rows, window.x : right]
    mixed = place * (1 - over[..., 3:]) + 255 * over[..., :3]
    place[:] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
  return result


def _strip(
  layers: np.ndarray, window: _Window, rows: slice, right: int
) -> Float[np.ndarray, "h w 4"]:
  """Rows of the photo's part under the window, read from the raster's layers."""
  size = (right - window.x, rows.stop - rows.start)
  if window.zoom == 1:
    return layers[rows.start - window.y :, :][: size[1], : size[0]]
  top = (rows.start - window.y) / window.zoom
  # Rounding up to whole px may ask for a little beyond the raster.
  right_edge = min(size[0] / window.zoom, float(window.side))
  bottom_edge = min(top + size[1] / window.zoom, float(window.side))
  box = (0.0, top, right_edge, bottom_edge)
  bands = [
    Image.fromarray(np.ascontiguousarray(layers[..., k])).resize(
      size, Image.Resampling.BICUBIC, box=box
    )
    for k in range(layers.shape[-1])
  ]
  return np.clip(np.stack([np.asarray(band) for band in bands], -1), 0, 1)
