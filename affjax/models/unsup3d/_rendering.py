"""Canonical depth maps as the photo's view shows them, and colors brought along."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.geometry import depth as depth_maps
from affjax.ops import bilinear
from affjax.render import interpolate, rasterize
from affjax.types import ArrayLike


@functools.lru_cache(maxsize=8)
def grid_triangles(size: int) -> Int[np.ndarray, "t 3"]:
  """Returns two triangles for each 2 x 2 pixels of a square picture."""
  corner = np.arange(size * size, dtype=np.int32).reshape(size, size)
  a, b, c, d = corner[:-1, :-1], corner[1:, :-1], corner[:-1, 1:], corner[1:, 1:]
  pairs = [np.stack([a, b, c], -1), np.stack([c, b, d], -1)]
  return np.concatenate([pair.reshape(-1, 3) for pair in pairs])


def warped_depth(
  depth: Float[ArrayLike, "n s s"],
  view: Float[ArrayLike, "n 6"],
  *,
  nearest: float,
  farthest: float,
) -> Float[Array, "n s s"]:
  """Returns the depth that a view shows of a canonical depth map's surface.

  The surface is rasterized, so that what it hides is hidden. Depths have gradients
  through the visible triangles, silhouettes have none, as in Unsup3D. Our pixels are
  those of the depth map; neural_renderer's are half a pixel off.

  Args:
    depth: Canonical depth maps.
    view: Views, see `affjax.geometry.depth`.
    nearest: Least depth of the result; smaller ones are clamped.
    farthest: Largest depth; it is also that of pixels that show nothing.
  """
  size = depth.shape[-1]
  canonical = depth_maps.depth_to_points(depth).reshape(-1, size * size, 3)
  points = depth_maps.to_view(canonical, view)
  triangles = grid_triangles(size)
  raster = rasterize(depth_maps.points_to_clip(points, size), triangles, (size, size))
  found = interpolate(points[..., 2:], raster, triangles)
  found = jnp.where(raster[..., 3:] > 0, found, farthest)
  return jnp.clip(found[..., 0], nearest, farthest)


def sampled(
  canonical: Float[ArrayLike, "n s s c"],
  depth: Float[ArrayLike, "n s s"],
  view: Float[ArrayLike, "n 6"],
) -> Float[Array, "n s s c"]:
  """Returns the colors of a canonical picture where a view shows them, 0 outside it.

  Args:
    canonical: Pictures in the canonical view.
    depth: Depth that the view shows, from `warped_depth`.
    view: Views.
  """
  size = depth.shape[-1]
  points = depth_maps.depth_to_points(depth).reshape(-1, size * size, 3)
  places = depth_maps.points_to_px(depth_maps.from_view(points, view), size)
  return bilinear(canonical, places.reshape(-1, size, size, 2))
