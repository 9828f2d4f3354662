"""Points on the surface of a triangle mesh."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

# Number of triangles tested for each point: those with the nearest centroids.
_CANDIDATES, _CANDIDATES_LEANING = 24, 10
_CHUNK = 20_000


def nearest_points(
  points: Float[np.ndarray, "p 3"],
  vertices: Float[np.ndarray, "v 3"],
  faces: Int[np.ndarray, "t 3"],
  *,
  normals: Float[np.ndarray, "p 3"] | None = None,
  lean: float = 0.0,
) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, "p 3"]]:
  """Returns the triangle nearest to each point, and the nearest position in it.

  Only the triangles with the nearest centroids are tested. This is exact where adjacent
  triangles are of similar size, as those of heads are.

  Args:
    points: query points.
    vertices: vertices of the mesh.
    faces: triangles of the mesh.
    normals: unit normals at the points; if given, the distance includes the difference
      of normals.
    lean: distance that a right angle between normals counts as, divided by √2, in the
      unit of the points.

  Returns:
    `(triangle [P], weights [P, 3])`, the weights barycentric, ≥ 0, of sum 1.
  """
  mesh = Surface(vertices, faces, lean=None if normals is None else lean)
  return mesh.nearest(points, normals=normals)


class Surface:
  """A triangle mesh to which nearest points are found many times.

  Attributes:
    corners: float64 `[T, 3, 3]`, the corners of the triangles.
  """

  def __init__(
    self,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "t 3"],
    *,
    lean: float | None = None,
  ):
    """Prepares the search.

    Args:
      vertices: vertices of the mesh.
      faces: triangles of the mesh.
      lean: as `nearest_points` takes it; None if normals do not count.
    """
    self.corners = vertices[faces].astype(np.float64)
    self._lean, self._center = lean, self.corners.mean(1)
    if lean is not None:
      a, b, c = (self.corners[:, k] for k in range(3))
      own = np.cross(b - a, c - a)
      own *= lean / np.maximum(np.linalg.norm(own, axis=-1, keepdims=True), 1e-30)
      self._center = np.concatenate([self._center, own], 1)
    self._tree = KDTree(self._center)

  def nearest(
    self,
    points: Float[np.ndarray, "p 3"],
    *,
    normals: Float[np.ndarray, "p 3"] | None = None,
    candidates: int | None = None,
  ) -> tuple[Int[np.ndarray, " p"], Float[np.ndarray, "p 3"]]:
    """Returns what `nearest_points` returns.

    Args:
      points: query points.
      normals: unit normals at the points, where the mesh was made with `lean`.
      candidates: number of triangles that are tested for each point; fewer are faster
        and less exact.
    """
    usual = _CANDIDATES if normals is None else _CANDIDATES_LEANING
    count = min(candidates or usual, len(self.corners))
    triangle = np.empty(len(points), np.int64)
    weights = np.empty((len(points), 3))
    for start in range(0, len(points), _CHUNK):
      part = slice(start, start + _CHUNK)
      look = None if normals is None else (self._lean or 0.0) * normals[part]
      point = np.asarray(points[part], np.float64)
      triangle[part], weights[part] = self._nearest(point, look, count)
    return triangle.astype(np.int32), weights

  def _nearest(
    self, point: np.ndarray, look: np.ndarray | None, count: int
  ) -> tuple[np.ndarray, np.ndarray]:
    wanted = point if look is None else np.concatenate([point, look], 1)
    found: Any = self._tree.query(wanted, count)
    near = found[1].reshape(-1, count)
    weight = _in_triangle(point[:, None], self.corners[near])
    place = np.einsum("pck,pckx->pcx", weight, self.corners[near])
    square = lambda apart: np.einsum("pcx,pcx->pc", apart, apart)
    cost = square(place - point[:, None])
    if look is not None:
      cost += square(self._center[near, 3:] - look[:, None])
    best, rows = cost.argmin(1), np.arange(len(point))
    return near[rows, best], weight[rows, best]


def _in_triangle(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
  """Weights of the position in triangles `[..., 3, 3]` nearest to points `[..., 3]`."""
  a, b, c = (corners[..., k, :] for k in range(3))
  inner = lambda p, q: np.einsum("...x,...x->...", p, q)
  ab, ac, ap = b - a, c - a, points - a
  d00, d01, d11 = inner(ab, ab), inner(ab, ac), inner(ac, ac)
  area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
  v = (d11 * inner(ap, ab) - d01 * inner(ap, ac)) / area
  w = (d00 * inner(ap, ac) - d01 * inner(ap, ab)) / area
  inside = np.stack([1 - v - w, v, w], -1)
  best = np.where((inside >= 0).all(-1), 0.0, np.inf)
  result = np.clip(inside, 0, 1)
  # Otherwise the nearest position lies on one of the edges.
  for i, j in ((0, 1), (1, 2), (2, 0)):
    p, q = corners[..., i, :], corners[..., j, :]
    along = inner(points - p, q - p) / np.maximum(inner(q - p, q - p), 1e-30)
    along = np.clip(along, 0, 1)[..., None]
    apart = p + along * (q - p) - points
    distance = inner(apart, apart)
    edge = np.zeros_like(inside)
    edge[..., i], edge[..., j] = 1 - along[..., 0], along[..., 0]
    closer = distance < best
    best = np.where(closer, distance, best)
    result = np.where(closer[..., None], edge, result)
  return result


def looks_inward(
  vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> bool:
  """Returns whether the triangles of a head or a face are clockwise from outside.

  Outward triangles enclose a positive volume about the mean of the vertices, whether or
  not the surface is closed.
  """
  corner, middle = vertices[faces], vertices[np.unique(faces)].mean(0)
  normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  return bool((normals * (corner.mean(1) - middle)).sum() < 0)


def border_edges(faces: Int[np.ndarray, "t 3"]) -> Bool[np.ndarray, "t 3"]:
  """Returns whether the edge opposite each corner belongs to a single triangle."""
  inverse, counts = _edges(faces)
  return counts[inverse].reshape(-1, 3) == 1


def crowded_edges(faces: Int[np.ndarray, "t 3"]) -> int:
  """Returns the number of edges of more than two triangles; 0 for a manifold mesh."""
  return int((_edges(faces)[1] > 2).sum())


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Index of the edge opposite each corner, flat; number of triangles per edge."""
  edges = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), 1)
  keys = edges[:, 0].astype(np.int64) * (int(faces.max()) + 1) + edges[:, 1]
  _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
  return inverse.reshape(-1), counts
