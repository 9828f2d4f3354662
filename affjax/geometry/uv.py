"""Conversion between vertices and UV maps, and the place of each texel in a photo.

Tables are built once per template in NumPy; their use is a gather.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from affjax.geometry import camera as cameras
from affjax.geometry import mesh, uv_reading
from affjax.types import (
  ArrayLike,
  ArrayT,
  Camera,
  Template,
  namespace,
  per_template,
)

# Texels this far outside the charts still belong to the map: a bilinear read at a
# chart's border touches them.
_GUTTER = 2.0
# Number of texels of triangles' boxes that are tested at once.
_BOXES = 500_000
READINGS = ("smooth", "exact")


@dataclasses.dataclass(frozen=True, eq=False)
class UVTable:
  """The correspondence between a template's vertices and an `[S, S]` map.

  Attributes:
    size: S.
    corners: int32 `[S, S, 3]`, vertex indices of the triangle under each texel.
    weights: float32 `[S, S, 3]`, barycentric weights; in the gutter around a chart,
      those of a position in the nearest triangle; zero outside `support`.
    inside: bool `[S, S]`, texels whose center a triangle covers.
    support: bool `[S, S]`, `inside` and the gutter: the domain of position losses.
    groups: int32 `[S, S]`, group of the triangle under the texel, -1 outside `support`.
    triangles: int32 `[S, S]`, the triangle under each texel, or the nearest one.
    read_texels: int32 `[U, K]`, flat indices of the texels that each uv is read from.
    read_weights: float32 `[U, K]`, their weights (see `affjax.geometry.uv_reading`),
      divided by the number of uvs that share the vertex.
    uv_vertex: int32 `[U]`, the vertex of each uv.
    vertex_count: V.
    detail: float32 `[V, 3]`, dm, the part of the template's vertices that a map of this
      size cannot hold. Without it, charts of few texels (teeth) and folds (lips) would
      be off by centimeters.
  """

  size: int
  corners: np.ndarray
  weights: np.ndarray
  inside: np.ndarray
  support: np.ndarray
  groups: np.ndarray
  triangles: np.ndarray
  read_texels: np.ndarray
  read_weights: np.ndarray
  uv_vertex: np.ndarray
  vertex_count: int
  detail: np.ndarray


def uv_table(template: Template, size: int, reading: str = "smooth") -> UVTable:
  """Returns the table of a template at map size `size`; it is computed only once.

  Args:
    template: the head.
    size: S, at least 4.
    reading: "smooth" reads bilinearly, which halves the noise of a map; use it for maps
      that networks predict or other programs wrote. "exact" is for maps that the same
      table wrote of a true mesh: at 512² half of the vertices come back within 0.01 mm,
      and where the mesh is finer than the texels, some texels hold one vertex each. It
      amplifies noise (`experiments/results/uv_roundtrip.json`).

  Raises:
    ValueError: the size is too small, or the reading is unknown.
  """
  if size < 4:
    raise ValueError(f"size of a UV map must be at least 4, got {size}")
  if reading not in READINGS:
    raise ValueError(f"reading must be one of {READINGS}, got {reading!r}")
  return _built(template, size, reading)


@per_template
def _built(template: Template, size: int, reading: str) -> UVTable:
  points = uv_to_texel(template.uvs, size)
  uv_vertex = np.zeros(len(template.uvs), np.int32)
  uv_vertex[template.faces_uv.reshape(-1)] = template.faces.reshape(-1)
  corners, weights, triangle, inside, support = _filled(template, points, size)
  if reading == "smooth":
    read_texels, read_weights = uv_reading.bilinear(points, support)
  else:
    own = uv_reading.own_texels(points, uv_vertex, corners, weights, inside)
    owner = np.flatnonzero(own >= 0)
    row, column = np.divmod(own[owner], size)
    corners[row, column], weights[row, column] = owner[:, None], (1, 0, 0)
    triangle[row, column] = _a_face_of(template)[owner]
    read_texels, read_weights = uv_reading.kriging(
      points, uv_vertex, template.vertices, corners, weights, support
    )
    alone = np.flatnonzero(own[uv_vertex] >= 0)
    read_texels[alone] = own[uv_vertex[alone], None]
    read_weights[alone] = 1 / read_weights.shape[1]
  share = np.bincount(uv_vertex, minlength=len(template.vertices))
  read_weights = (read_weights / share[uv_vertex][:, None]).astype(np.float32)
  flat = np.sum(template.vertices[corners] * weights[..., None], -2).reshape(-1, 3)
  detail = template.vertices.astype(np.float32)
  np.subtract.at(
    detail, uv_vertex, np.sum(flat[read_texels] * read_weights[..., None], -2)
  )
  return UVTable(
    size=size,
    corners=corners,
    weights=weights,
    inside=inside,
    support=support,
    groups=np.where(support, template.face_groups[triangle], -1).astype(np.int32),
    triangles=triangle.astype(np.int32),
    read_texels=read_texels,
    read_weights=read_weights,
    uv_vertex=uv_vertex,
    vertex_count=len(template.vertices),
    detail=detail,
  )


def covered(corner_uvs: np.ndarray, size: int) -> np.ndarray:
  """Returns bool `[size, size]`: texel centers inside any of the triangles."""
  return _texel_triangles(uv_to_texel(corner_uvs, size), size) >= 0


def uv_to_texel(uvs: np.ndarray, size: int) -> np.ndarray:
  """Returns texel coordinates (column, row) of uvs; texel centers are integers."""
  return np.stack([uvs[..., 0] * size - 0.5, (1 - uvs[..., 1]) * size - 0.5], -1)


def map_from_vertices(
  values: Float[ArrayT, "*b v c"], table: UVTable
) -> Float[ArrayT, "*b s s c"]:
  """Writes per-vertex values into a UV map; zero outside the table's support."""
  corner = values[..., table.corners, :]
  return _weighted("...sxkc,sxk->...sxc", corner, table.weights)


def vertices_from_map(
  uv_map: Float[ArrayT, "*b s s 3"], table: UVTable
) -> Float[ArrayT, "*b v 3"]:
  """Reads vertices from a position map, averaging over the sides of a seam.

  `UVTable.detail` is added: the template's own map gives its vertices exactly, other
  heads lose a part of the template's detail.
  """
  flat = uv_map.reshape((*uv_map.shape[:-3], -1, uv_map.shape[-1]))
  read = flat[..., table.read_texels, :]
  read = _weighted("...ukc,uk->...uc", read, table.read_weights)
  shape = (*uv_map.shape[:-3], table.vertex_count, uv_map.shape[-1])
  zeros = namespace(read).zeros(shape, read.dtype)
  coarse = mesh.added(zeros, table.uv_vertex, read)
  detail = table.detail.reshape((1,) * (coarse.ndim - 2) + table.detail.shape)
  return coarse + detail


def _weighted(
  axes: str, values: Float[ArrayT, "..."], weights: Float[np.ndarray, "..."]
) -> Float[ArrayT, "..."]:
  """Returns sums of products, in full precision on accelerators as well."""
  if isinstance(values, np.ndarray):
    return np.einsum(axes, values, weights)
  return jnp.einsum(axes, values, weights, precision="highest")


def projection_affine(
  vertices: Float[ArrayLike, "n v 3"],
  template: Template,
  camera: Camera,
  *,
  size: int,
  resolution: tuple[int, int],
  max_scale: float = 3.0,
) -> Float[Array, "n s s 2 3"]:
  """Returns where each texel lies in the photo, to first order around its center.

  A texel's surroundings are a plane, the triangle under its center, and the matrix is
  the derivative of the plane's perspective projection. It is exact: no differences of
  neighboring texels are taken, which mean nothing at silhouettes and at the borders of
  charts.

  Args:
    vertices: Vertices in world space, dm.
    template: The head, which gives triangles and UVs.
    camera: Camera of the photo.
    size: Side S of the map whose texels are asked for. The texels of a layer of half
      the resolution are those of a map of half the size.
    resolution: (height, width) of the photo, px.
    max_scale: Bound of the Frobenius norm of the linear part, in multiples of
      `height / size`: a sliver of a triangle may span half a head within one texel.

  Returns:
    Matrices with rows (x, y): the first two columns are the derivatives of the place by
    the texel's column and row, px a texel; the third is the place of the center, px.
    Texels outside the charts have the values of the nearest one inside. Points nearer
    to the camera than its near plane are projected as if they lay on it, so that finite
    vertices give finite matrices.
  """
  corners, mixing = _places(template, size)
  height, width = resolution
  cam = cameras.world_to_cam(jnp.asarray(vertices), camera)[:, corners]
  frames = jnp.einsum("npkc,pkm->npcm", cam, mixing, precision="highest")
  x, y, z = frames[:, :, 0], frames[:, :, 1], frames[:, :, 2]
  depth = jnp.maximum(-z[..., :1], camera.near)
  focal = cameras.focal_px(camera, height)
  # The derivative of x / depth is x' / depth + x z' / depth^2: depth falls with z.
  slope = lambda a: a[..., 1:] / depth + a[..., :1] * z[..., 1:] / depth**2
  linear = focal * jnp.stack([slope(x), -slope(y)], -2)
  place = focal * jnp.stack([x[..., :1], -y[..., :1]], -2) / depth[..., None]
  middle = jnp.array([[width - 1.0], [height - 1.0]]) / 2
  length = jnp.sqrt(jnp.sum(linear**2, (-2, -1), keepdims=True) + 1e-12)
  linear = linear * jnp.minimum(max_scale * height / size / length, 1.0)
  matrices = jnp.concatenate([linear, place + middle[None, None]], -1)
  return matrices.reshape(len(vertices), size, size, 2, 3)


@per_template
def _places(template: Template, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Corners `[P, 3]` of all texels, and weights `[P, 3, 3]` that mix them.

  The weights give the point under the texel's center, and its derivatives by column and
  row; a texel outside the support has those of the nearest one inside.
  """
  table = uv_table(template, size)
  uvs = uv_to_texel(template.uvs, size)[template.faces_uv[table.triangles]]
  edges = np.stack([uvs[..., 1, :] - uvs[..., 0, :], uvs[..., 2, :] - uvs[..., 0, :]])
  (a, b), (c, d) = np.moveaxis(edges, -1, 1)
  area = a * d - b * c
  area = np.where(np.abs(area) < 1e-12, np.inf, area)
  second, third = np.stack([d, -c], -1), np.stack([-b, a], -1)
  slopes = np.stack([-second - third, second, third], -2) / area[..., None, None]
  mixing = np.concatenate([table.weights[..., None], slopes], -1)
  found: Any = ndimage.distance_transform_edt(
    ~table.support, return_distances=False, return_indices=True
  )
  rows, columns = found.reshape(2, -1)
  return table.corners[rows, columns], mixing[rows, columns].astype(np.float32)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
  """Resizes a UV mask to float32 `[size, size]`; whole factors average by area."""
  from_size = mask.shape[0]
  if from_size % size == 0:
    k = from_size // size
    return mask.reshape(size, k, size, k).mean((1, 3)).astype(np.float32)
  place = (np.arange(size) + 0.5) * from_size / size - 0.5
  rows, columns = np.meshgrid(place, place, indexing="ij")
  return ndimage.map_coordinates(
    mask.astype(np.float32), [rows, columns], order=1, mode="nearest"
  )


def _filled(
  template: Template, points: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Corners, weights, triangle, inside and support of each texel.

  `points` are the uvs in texels.
  """
  weights_at = _weights_at(points[template.faces_uv])
  triangle = _texel_triangles(points[template.faces_uv], size)
  inside = triangle >= 0
  found: Any = ndimage.distance_transform_edt(~inside, return_indices=True)
  distance, (rows, columns) = found
  support = distance <= _GUTTER
  triangle = triangle[rows, columns]
  column, row = np.meshgrid(np.arange(size), np.arange(size))
  first, second = _barycentric(weights_at, triangle, column, row)
  weights = np.stack([first, second, 1 - first - second], -1)
  # A sliver would extrapolate wildly, by many head widths, so the gutter does not.
  weights = np.where(inside[..., None], weights, np.clip(weights, 0, 1))
  weights = weights / weights.sum(-1, keepdims=True)
  weights = np.where(support[..., None], weights, 0).astype(np.float32)
  return template.faces[triangle].astype(np.int32), weights, triangle, inside, support


def _texel_triangles(corners: np.ndarray, size: int) -> np.ndarray:
  """Index of a triangle over each texel center, or -1; `corners [T, 3, 2]`."""
  owner = np.full((size, size), -1, np.int32)
  low = np.maximum(np.ceil(corners.min(1) - 1e-6).astype(int), 0)
  high = np.minimum(np.floor(corners.max(1) + 1e-6).astype(int), size - 1)
  side = np.maximum(high - low + 1, 0)
  count = side.prod(1)
  end = np.cumsum(count)
  weights_at = _weights_at(corners)
  # Texels of the triangles' boxes, for many triangles at once.
  start = 0
  while start < len(corners):
    done = end[start - 1] if start else 0
    stop = max(start + 1, int(np.searchsorted(end, done + _BOXES, "right")))
    triangle = np.repeat(np.arange(start, stop), count[start:stop])
    number = done + np.arange(len(triangle)) - (end - count)[triangle]
    row, column = np.divmod(number, np.maximum(side[triangle, 0], 1))
    column, row = low[triangle, 0] + column, low[triangle, 1] + row
    first, second = _barycentric(weights_at, triangle, column, row)
    least = np.minimum(np.minimum(first, second), 1 - first - second)
    hit = np.flatnonzero(least >= -1e-6)
    # Where triangles overlap, the last one counts.
    owner[row[hit], column[hit]] = triangle[hit]
    start = stop
  return owner


def _weights_at(corners: np.ndarray) -> np.ndarray:
  """Returns barycentric weights as functions of places.

  Args:
    corners: Triangles `[T, 3, 2]`.

  Returns:
    Factors `[2, 3, T]` on x, y and 1 of the weights of the first and second corner; no
    place lies in a triangle without area.
  """
  (ax, ay), (bx, by), (cx, cy) = np.moveaxis(corners.astype(np.float64), 0, -1)
  first = np.stack([by - cy, cx - bx, bx * cy - by * cx])
  second = np.stack([cy - ay, ax - cx, ay * cx - ax * cy])
  total = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
  flat = np.abs(total) < 1e-12
  found = np.stack([first, second]) / np.where(flat, 1.0, total)
  found[:, :, flat] = np.array([[0, 0, -1], [0, 0, 1]])[..., None]
  return found


def _barycentric(
  weights_at: np.ndarray, triangle: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the weights of the first and second corner of triangles at places."""
  first, second = (
    by_x[triangle] * x + by_y[triangle] * y + rest[triangle]
    for by_x, by_y, rest in weights_at
  )
  return first, second


def _a_face_of(template: Template) -> np.ndarray:
  """One triangle of each vertex, `[V]`; 0 for vertices without any."""
  face = np.zeros(len(template.vertices), np.int32)
  face[template.faces.reshape(-1)] = np.repeat(np.arange(len(template.faces)), 3)
  return face
