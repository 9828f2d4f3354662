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
  corners = vertices[faces].astype(np.float64)
  count = _CANDIDATES if normals is None else _CANDIDATES_LEANING
  count = min(count, len(faces))
  center, look = corners.mean(1), np.zeros((len(points), 3))
  if normals is not None:
    look = lean * normals
    own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    own *= lean / np.maximum(np.linalg.norm(own, axis=-1, keepdims=True), 1e-30)
    center = np.concatenate([center, own], 1)
  tree = KDTree(center)
  triangle = np.empty(len(points), np.int64)
  weights = np.empty((len(points), 3))
  for start in range(0, len(points), _CHUNK):
    part = slice(start, start + _CHUNK)
    point = np.asarray(points[part], np.float64)
    wanted = point if normals is None else np.concatenate([point, look[part]], 1)
    found: Any = tree.query(wanted, count)
    near = found[1].reshape(-1, count)
    weight = _in_triangle(point[:, None], corners[near])
    place = np.einsum("pck,pckx->pcx", weight, corners[near])
    square = lambda apart: np.einsum("pcx,pcx->pc", apart, apart)
    cost = square(place - point[:, None])
    if normals is not None:
      cost += square(center[near, 3:] - look[part][:, None])
    best = cost.argmin(1)
    rows = np.arange(len(point))
    triangle[part], weights[part] = near[rows, best], weight[rows, best]
  return triangle.astype(np.int32), weights


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
