"""A head rendered onto the whole photo, at the resolution of the photo."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from affjax import compilation, render
from affjax.export import _projection
from affjax.render import group_of
from affjax.types import Camera, Template

# Sides of a raster, px: with `_DOUBLED` all are drawn by one program. A head that is
# larger in its photo is rendered at the largest size and enlarged.
_SIDES = (512, 1024)
# Up to this side a head is rasterized at twice the size: where triangles are as small
# as pixels, few silhouettes cross a pixel in the way that antialiasing recognizes.
_DOUBLED = 512
_STRIP = 512
_ORIGINAL = ("eyes", "teeth")


@dataclasses.dataclass(frozen=True, eq=False)
class Painting:
  """A head rendered over black.

  Attributes:
    color: float32 `[S, S, 3]`, premultiplied by coverage.
    alpha: float32 `[S, S, 1]`, coverage.
  """

  color: Float[np.ndarray, "s s 3"]
  alpha: Float[np.ndarray, "s s 1"]


@dataclasses.dataclass(frozen=True)
class _Window:
  """A square part of a photo.

  Attributes:
    x: Column of the left edge, photo px.
    y: Row of the upper edge, photo px.
    side: Side of the raster, raster px.
    zoom: Size of a raster px, photo px.
  """

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
  doubled: int = _DOUBLED,
  smooth: bool = True,
) -> Painting:
  """Renders a head over black.

  Args:
    vertices: Head-space vertices of the template, dm.
    texture: Shaded UV map.
    template: Triangles, UVs and groups.
    camera: Camera, whose near and far planes are used.
    projection: Matrix from head space to px of the square image.
    size: Height and width of the image, px.
    keep_original: Whether eyes and the interior of the mouth stay transparent, so that
      a photo beneath shows its own.
    doubled: Largest size at which the head is rasterized at twice the size.
    smooth: Whether edges are antialiased, which takes most of the time.
  """
  times = 2 if size <= doubled else 1
  view = _projection.scaled(projection, times, (0, 0))
  clip = _projection.to_clip(vertices, view, camera, times * size)
  layers = _paint(
    np.asarray(clip, np.float32)[None],
    np.asarray(texture, np.float32)[None],
    template,
    times * size,
    keep_original,
    smooth,
  )
  layers = np.asarray(layers)[0]
  # A mean over two inner axes takes NumPy three times as long.
  corners = [(y, x) for y in range(times) for x in range(times)]
  layers = np.mean([layers[y::times, x::times] for y, x in corners], 0)
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
  side: int | None = None,
  smooth: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the photo with the head composited onto it; other pixels stay.

  Args:
    photo: Photo, 8-bit RGB.
    vertices: Head-space vertices, dm.
    texture: Shaded UV map.
    template: Triangles, UVs and groups.
    camera: Camera, whose near and far planes are used.
    projection: Matrix from head space to px of the photo.
    keep_original: Whether the photo keeps its own eyes and interior of the mouth.
    side: Side of the raster that the head is drawn in, px, for drawing many heads fast;
      by default it shows all pixels of the photo.
    smooth: Whether edges are antialiased, which takes most of the time.
  """
  sides = _SIDES if side is None else (side,)
  window = _window(_projection.project(vertices, projection), photo.shape[:2], sides)
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
    doubled=_DOUBLED if side is None else 0,
    smooth=smooth,
  )
  return _composited(photo, painting, window)


@compilation.saved(
  static_argnames=("template", "size", "keep_original", "smooth"),
  kernels=("rasterizer",),
)
def _paint(
  clip: Float[Array, "1 v 4"],
  texture: Float[Array, "1 s s 3"],
  template: Template,
  size: int,
  keep_original: bool,
  smooth: bool,
) -> Float[Array, "1 h w 4"]:
  """Returns premultiplied RGBA."""
  rast = render.rasterize(clip, template.faces, (size, size))
  uv = render.interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv)
  layers = jnp.concatenate(
    render.paint_raster(clip, rast, uv, texture, template, antialias=smooth), -1
  )
  if not keep_original:
    return layers
  kept = [template.group_names.index(n) for n in _ORIGINAL if n in template.group_names]
  group = group_of(rast, template)[..., None]
  hole = jnp.any(
    group == jnp.array(kept, group.dtype).reshape(1, 1, 1, -1), -1, keepdims=True
  )
  # The edge at the lids is softened over one pixel.
  kernel = jnp.full((3, 3, 1, 1), 1 / 9, layers.dtype)
  soft = jax.lax.conv_general_dilated(
    hole.astype(layers.dtype),
    kernel,
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  return layers * (1 - soft)


def _window(
  points: np.ndarray, photo_size: tuple[int, int], sides: Sequence[int]
) -> _Window | None:
  """Returns the window around projected points; None if all are outside the photo."""
  if not np.isfinite(points).all():
    raise ValueError("the head's projection must be finite, got NaN or infinity")
  edge = np.array(photo_size[::-1])
  low = np.clip(np.floor(points.min(0)) - 2, 0, edge)
  high = np.clip(np.ceil(points.max(0)) + 3, 0, edge)
  if (low >= high).any():
    return None
  reach = (high - low).max()
  side = next((s for s in sides if s >= reach), sides[-1])
  zoom = max(1.0, reach / side)
  return _Window(x=int(low[0]), y=int(low[1]), side=side, zoom=zoom)


def _composited(
  photo: np.ndarray, painting: Painting, window: _Window
) -> UInt8[np.ndarray, "h w 3"]:
  """Returns the photo under a painting; in strips, as photos may have 80 million px."""
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
  """Returns the raster's layers on some rows of the photo."""
  size = (right - window.x, rows.stop - rows.start)
  if window.zoom == 1:
    return layers[rows.start - window.y :, :][: size[1], : size[0]]
  top = (rows.start - window.y) / window.zoom
  # Rounding up to whole px may reach a little beyond the raster.
  right_edge = min(size[0] / window.zoom, float(window.side))
  bottom_edge = min(top + size[1] / window.zoom, float(window.side))
  box = (0.0, top, right_edge, bottom_edge)
  eight_bits = np.rint(255 * np.clip(layers, 0, 1)).astype(np.uint8)
  premultiplied = Image.fromarray(eight_bits, "RGBa")
  larger = premultiplied.resize(size, Image.Resampling.BICUBIC, box=box)
  return np.asarray(larger, np.float32) / 255
