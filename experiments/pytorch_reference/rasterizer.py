"""Rendering of textured meshes: visibility, place in the triangle, texture.

Clip space and rasters are those of affjax and nvdiffrast: smaller z/w is nearer, a
raster `[N, H, W, 4]` holds (u, v, z/w, triangle + 1), zeros where it is empty. Clear
rather than fast: each triangle is tested at all pixels of its bounding box.
"""

import torch
from torch import Tensor
from torch.nn import functional


def rasterize(clip: Tensor, faces: Tensor, size: int) -> Tensor:
  """Finds the visible triangle of each pixel, and the pixel's place in it.

  Args:
    clip: Vertices in clip space, `[N, V, 4]`.
    faces: Triangles, `[T, 3]`.
    size: Height and width of the picture, px.

  Returns:
    The raster, differentiable in u and v.
  """
  ids = torch.stack([visible(c, faces, size) for c in clip.detach()])
  shown = ids > 0
  image, row, column = shown.nonzero(as_tuple=True)
  corners = clip[image[:, None], faces[ids[shown] - 1]]
  x, y = _centers(size, clip)[column], _centers(size, clip)[row]
  areas = _areas(corners, x, y)
  weights = areas / areas.sum(1, keepdim=True)
  z, w = (weights * corners[..., 2]).sum(1), (weights * corners[..., 3]).sum(1)
  depth = (z / w).detach()
  # Rounding may move weights out of [0, 1]; their slope stays.
  inside = weights.detach().clamp(0, 1)
  inside = inside / inside.sum(1, keepdim=True)
  weights = weights + (inside - weights).detach()
  raster = clip.new_zeros((*ids.shape, 4))
  number = ids[shown].to(clip.dtype)
  values = torch.stack([weights[:, 0], weights[:, 1], depth, number], 1)
  return raster.index_put((image, row, column), values)


def visible(clip: Tensor, faces: Tensor, size: int) -> Tensor:
  """Returns the number + 1 of the triangle that each pixel shows, else 0, `[H, W]`.

  A pixel center on an edge belongs to one of its two triangles; at equal depths the
  triangle of the lower number is seen. Both sides of a triangle are seen. What lies
  behind the eye or outside of -1 <= z/w <= 1 is cut off.
  """
  corners = clip[faces].double()
  triangle, row, column = _candidates(corners, size)
  corners = corners[triangle]
  x, y = _centers(size, corners)[column], _centers(size, corners)[row]
  areas = _areas(corners, x, y)
  left = _on_the_left(corners, x, y, areas)
  z, w = (areas * corners[..., 2]).sum(1), (areas * corners[..., 3]).sum(1)
  depth = z / torch.where(w == 0, 1, w)
  # In front of the eye, areas and w have the same sign.
  hit = (left.all(1) & (w > 0)) | (~left.any(1) & (w < 0))
  hit &= depth.abs() <= 1
  pixel, depth, triangle = (row * size + column)[hit], depth[hit], triangle[hit]
  empty = torch.full((size * size,), torch.inf, dtype=depth.dtype, device=clip.device)
  nearest = empty.scatter_reduce(0, pixel, depth, "amin")
  first = depth == nearest[pixel]
  nobody = torch.full_like(nearest, len(faces), dtype=torch.long)
  owner = nobody.scatter_reduce(0, pixel[first], triangle[first], "amin")
  return torch.where(owner < len(faces), owner + 1, 0).reshape(size, size)


def interpolate(attributes: Tensor, raster: Tensor, faces: Tensor) -> Tensor:
  """Interpolates attributes of corners `[U, A]` at the pixels, zeros where empty."""
  triangle = raster[..., 3].long() - 1
  u, v = raster[..., 0], raster[..., 1]
  weights = torch.stack([u, v, 1 - u - v], -1)
  values = (attributes[faces[triangle.clamp(min=0)]] * weights[..., None]).sum(3)
  return torch.where((triangle >= 0)[..., None], values, 0)


def texture(maps: Tensor, uv: Tensor) -> Tensor:
  """Reads maps `[N, S, S, C]` bilinearly at `uv [N, H, W, 2]`; borders repeat.

  Texel edges lie at 0 and 1, and row 0 of a map at v = 1.
  """
  grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
  read = functional.grid_sample(
    maps.permute(0, 3, 1, 2), grid, padding_mode="border", align_corners=False
  )
  return read.permute(0, 2, 3, 1)


def _centers(size: int, like: Tensor) -> Tensor:
  """Returns the pixel centers along an axis, in [-1, 1]."""
  numbers = torch.arange(size, dtype=like.dtype, device=like.device)
  return (2 * numbers + 1) / size - 1


def _candidates(corners: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
  """Lists triangle, row and column of all pixels in the triangles' bounding boxes."""
  w = corners[..., 3]
  front = w > 1e-6
  px = (corners[..., :2] / torch.where(front, w, 1)[..., None] + 1) * (size / 2) - 0.5
  low, high = (px.amin(1) - 1e-6).ceil(), (px.amax(1) + 1e-6).floor()
  # A triangle that reaches behind the eye may appear anywhere.
  whole = front.all(1)[:, None]
  low = torch.where(whole, low, 0).clamp(0, size).long()
  high = torch.where(whole, high, size - 1).clamp(-1, size - 1).long()
  finite = corners.isfinite().all(2).all(1) & front.any(1)
  side = (high - low + 1).clamp(min=0) * finite[:, None]
  count = side.prod(1)
  triangle = torch.repeat_interleave(count)
  number = (
    torch.arange(len(triangle), device=w.device) - (count.cumsum(0) - count)[triangle]
  )
  across = side[triangle, 0]
  column, row = low[triangle, 0] + number % across, low[triangle, 1] + number // across
  return triangle, row, column


def _areas(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
  """Returns the edge function of each edge at a pixel: twice a signed area, `[P, 3]`.

  Edge k lies opposite corner k. The functions are those of homogeneous coordinates, so
  that their ratios are weights with the right perspective.
  """
  px = corners[..., 0] - x[:, None] * corners[..., 3]
  py = corners[..., 1] - y[:, None] * corners[..., 3]
  after, last = [1, 2, 0], [2, 0, 1]
  return px[:, after] * py[:, last] - px[:, last] * py[:, after]


def _on_the_left(corners: Tensor, x: Tensor, y: Tensor, areas: Tensor) -> Tensor:
  """Returns on which side of each edge the pixel lies, `[P, 3]`.

  A center on the edge counts as moved a little to the right, and still less down.
  """
  a, b = corners[:, [1, 2, 0]], corners[:, [2, 0, 1]]
  ax, ay = a[..., 0] - x[:, None] * a[..., 3], a[..., 1] - y[:, None] * a[..., 3]
  bx, by = b[..., 0] - x[:, None] * b[..., 3], b[..., 1] - y[:, None] * b[..., 3]
  right = b[..., 3] * ay - a[..., 3] * by
  down = a[..., 3] * bx - b[..., 3] * ax
  tie = (right > 0) | ((right == 0) & (down > 0))
  return (areas > 0) | ((areas == 0) & tie)
