"""Antialiasing of silhouettes (Laine et al. 2020, section 3.6), with a gradient.

For each pair of neighboring pixels that show different triangles, the surface of the
nearer pixel is followed towards the other one. Where it ends at a silhouette edge, at a
fraction c of the way, the farther pixel takes c - 1/2 of the nearer color if that is
positive, and otherwise the nearer pixel takes 1/2 - c of the farther color. The search
is discrete; c is differentiable in the ends of the edge.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# A crossing this far outside of the segment, in pixels, counts as one at its end.
_SLACK = 1e-3
# The largest number of triangles between two pixels.
_STEPS = 64
# Ends of edge k of a triangle, which lies opposite corner k.
_FIRST, _SECOND = [1, 2, 0], [2, 0, 1]


class Mesh(NamedTuple):
  """Triangles and, for each edge, what lies across it.

  Attributes:
    faces: Triangles `[T, 3]`.
    across: Triangle on the other side of each edge, -1 if there is not exactly one.
    opposite: That triangle's vertex that is not on the edge.
  """

  faces: Tensor
  across: Tensor
  opposite: Tensor


class Pairs(NamedTuple):
  """Pairs of neighboring pixels that show different triangles, `[P]` each.

  Attributes:
    image: Number of the picture.
    line: Row of a horizontal pair, column of a vertical one.
    near: Column (or row) of the nearer pixel.
    far: Column (or row) of the farther one.
    triangle: Triangle that the nearer pixel shows.
    other: Triangle that the farther one shows, -1 where it is empty.
  """

  image: Tensor
  line: Tensor
  near: Tensor
  far: Tensor
  triangle: Tensor
  other: Tensor


def mesh(faces: Tensor) -> Mesh:
  """Returns a welded mesh with its adjacency."""
  owners: dict[tuple[int, int], list[tuple[int, int]]] = {}
  for triangle, corners in enumerate(faces.tolist()):
    for k in range(3):
      a, b = corners[_FIRST[k]], corners[_SECOND[k]]
      owners.setdefault((min(a, b), max(a, b)), []).append((triangle, k))
  across, opposite = torch.full_like(faces, -1), torch.full_like(faces, -1)
  for sides in owners.values():
    if len(sides) == 2:
      for own, twin in (sides, sides[::-1]):
        across[own] = twin[0]
        opposite[own] = faces[twin]
  return Mesh(faces, across, opposite)


def antialias(color: Tensor, raster: Tensor, clip: Tensor, surface: Mesh) -> Tensor:
  """Blends the pixels at silhouettes of pictures `[N, H, W, C]`.

  Args:
    color: The pictures.
    raster: The raster that `rasterizer.rasterize` returned.
    clip: Vertices in clip space.
    surface: The triangles that were rasterized, welded.
  """
  kinds = _silhouettes(clip.detach(), surface, color.shape[1])
  rows = _blend(color, raster, clip, surface, kinds)
  swap = lambda x: x.transpose(1, 2)
  turned = clip[..., [1, 0, 2, 3]]
  columns = _blend(swap(color), swap(raster), turned, surface, kinds, steeper=True)
  return color + rows + swap(columns)


def _blend(
  color: Tensor,
  raster: Tensor,
  clip: Tensor,
  surface: Mesh,
  kinds: Tensor,
  *,
  steeper: bool = False,
) -> Tensor:
  """Returns what horizontal pairs add to the colors."""
  size = color.shape[1]
  px = _to_px(clip, size)
  pairs = _pairs(raster)
  start, end = _crossed(pairs, px.detach().double(), surface, kinds, steeper=steeper)
  found = start >= 0
  image, line, near, far = (v[found] for v in pairs[:4])
  a, b = px[image, start[found]], px[image, end[found]]
  t = (line - a[:, 1]) / (b[:, 1] - a[:, 1])
  c = ((a[:, 0] + t * (b[:, 0] - a[:, 0]) - near) * (far - near)).clamp(0, 1)[:, None]
  step = color[image, line, near] - color[image, line, far]
  gain = torch.zeros_like(color)
  gain = gain.index_put((image, line, far), (c - 0.5).clamp(min=0) * step, True)
  return gain.index_put((image, line, near), (0.5 - c).clamp(min=0) * -step, True)


def _to_px(clip: Tensor, size: int) -> Tensor:
  w = clip[..., 3:]
  return (clip[..., :2] / torch.where(w == 0, 1, w) + 1) * (size / 2) - 0.5


def _pairs(raster: Tensor) -> Pairs:
  """Lists the horizontal pairs that differ; at equal depths the left one is nearer."""
  ids, depth = raster[..., 3].long(), raster[..., 2].detach()
  image, row, column = (ids[:, :, :-1] != ids[:, :, 1:]).nonzero(as_tuple=True)
  left, right = ids[image, row, column], ids[image, row, column + 1]
  nearer = depth[image, row, column] <= depth[image, row, column + 1]
  first = (left > 0) & ((right == 0) | nearer)
  return Pairs(
    image,
    row,
    torch.where(first, column, column + 1),
    torch.where(first, column + 1, column),
    torch.where(first, left, right) - 1,
    torch.where(first, right, left) - 1,
  )


def _silhouettes(clip: Tensor, surface: Mesh, size: int) -> Tensor:
  """Returns the kind of each edge, `[N, T, 3]`: 1 silhouette, 0 inner, -1 unusable.

  A silhouette borders one triangle, or two that lie on the same side of it in the
  picture. An edge with an end at or behind the eye is unusable.
  """
  px, w = _to_px(clip.double(), size), clip[..., 3]
  a, b = surface.faces[:, _FIRST], surface.faces[:, _SECOND]
  run, rise = (px[:, b] - px[:, a]).unbind(-1)

  def side(vertex: Tensor) -> Tensor:
    x, y = (px[:, vertex] - px[:, a]).unbind(-1)
    # A vertex behind the eye appears on the mirrored side.
    return torch.sign(run * y - rise * x) * torch.where(w[:, vertex] < 0, -1, 1)

  folded = side(surface.faces) * side(surface.opposite.clamp(min=0)) >= 0
  kind = ((surface.opposite < 0) | folded).long()
  usable = (w[:, a] > 1e-20) & (w[:, b] > 1e-20) & (run + rise).isfinite()
  return torch.where(usable, kind, -1)


def _crossed(
  pairs: Pairs, px: Tensor, surface: Mesh, kinds: Tensor, *, steeper: bool
) -> tuple[Tensor, Tensor]:
  """Returns the vertices of the silhouette edge between the pixels, -1 if none."""
  start, end = torch.full_like(pairs.image, -1), torch.full_like(pairs.image, -1)
  triangle, before = pairs.triangle, torch.full_like(pairs.image, -2)
  going = torch.ones_like(pairs.image, dtype=torch.bool)
  for _ in range(_STEPS):
    if not going.any():
      break
    c, edge, steep = _exit(pairs, px, surface, kinds, triangle, before)
    leaves = going & (edge >= 0)
    k = edge.clamp(min=0)
    kind = kinds[pairs.image, triangle, k]
    blends = (steep > 1) if steeper else (steep >= 1)
    met = leaves & (kind == 1) & blends & (c >= -_SLACK) & (c <= 1 + _SLACK)
    corners = surface.faces[triangle]
    at = torch.arange(len(k), device=k.device)
    start = torch.where(met, corners[:, _FIRST][at, k], start)
    end = torch.where(met, corners[:, _SECOND][at, k], end)
    after = surface.across[triangle, k]
    going = leaves & (kind == 0) & (c <= 1) & (after >= 0) & (after != pairs.other)
    before = torch.where(going, triangle, before)
    triangle = torch.where(going, after, triangle)
  return start, end


def _exit(
  pairs: Pairs,
  px: Tensor,
  surface: Mesh,
  kinds: Tensor,
  triangle: Tensor,
  before: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
  """Finds the edge through which the line from near to far leaves a triangle.

  Returns:
    The distance from the near pixel, the edge (-1 if there is none), and the ratio of
    its rise to its run.
  """
  corners = px[pairs.image[:, None], surface.faces[triangle]]
  a, b = corners[:, _FIRST], corners[:, _SECOND]
  line = pairs.line[:, None]
  # Half-open: a line through a corner meets one edge on each side.
  meets = (a[..., 1] <= line) != (b[..., 1] <= line)
  meets &= kinds[pairs.image, triangle] >= 0
  meets &= surface.across[triangle] != before[:, None]
  run, rise = (b - a).unbind(-1)
  rise = torch.where(meets, rise, 1)
  at = a[..., 0] + (line - a[..., 1]) / rise * run - pairs.near[:, None]
  c = torch.where(meets, at * (pairs.far - pairs.near)[:, None], -torch.inf)
  c, edge = c.max(1)
  steep = (rise.abs() / run.abs().clamp(min=1e-30)).gather(1, edge[:, None])[:, 0]
  return c, torch.where(meets.any(1), edge, -1), steep
