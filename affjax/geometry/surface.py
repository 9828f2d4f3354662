"""Nearest points on a triangle mesh."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

# Triangles looked at for each point: those with the nearest centroids.
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
  """The triangle nearest to each point, and where in it the nearest place lies.

  Looks at the triangles with the nearest centroids only: exact where triangles near
  each other are of similar size, as heads' are.

  Args:
    points: places to start from.
    vertices: of the mesh.
    faces: of the mesh.
    normals: unit directions of the points; with them, the nearest is what is close in
      place and in direction.
    lean: what directions at right angles add to the distance (as squares), in the unit
      of the points, times the root of 2.

  Returns:
    `(triangle [P], weights [P, 3])`, the weights barycentric, ≥ 0, of sum 1.
  """
  corners = vertices[faces].astype(np.float64)
  count = _CANDIDATES if normals is None else _CANDIDATES_LEANING
  count = min(count, len(faces))
  centre, look = corners.mean(1), np.zeros((len(points), 3))
  if normals is not None:
    look = lean * normals
    own = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    own *= lean / np.maximum(np.linalg.norm(own, axis=-1, keepdims=True), 1e-30)
    centre = np.concatenate([centre, own], 1)
  tree = KDTree(centre)
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
    cost = np.sum((place - point[:, None]) ** 2, -1)
    if normals is not None:
      cost += np.sum((centre[near, 3:] - look[part][:, None]) ** 2, -1)
    best = cost.argmin(1)
    rows = np.arange(len(point))
    triangle[part], weights[part] = near[rows, best], weight[rows, best]
  return triangle.astype(np.int32), weights


def _in_triangle(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
  """Weights of the place in triangles `[..., 3, 3]` nearest to points `[..., 3]`."""
  a, b, c = (corners[..., k, :] for k in range(3))
  inner = lambda p, q: np.sum(p * q, -1)
  ab, ac, ap = b - a, c - a, points - a
  d00, d01, d11 = inner(ab, ab), inner(ab, ac), inner(ac, ac)
  area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
  v = (d11 * inner(ap, ab) - d01 * inner(ap, ac)) / area
  w = (d00 * inner(ap, ac) - d01 * inner(ap, ab)) / area
  inside = np.stack([1 - v - w, v, w], -1)
  best = np.where((inside >= 0).all(-1), 0.0, np.inf)
  result = np.clip(inside, 0, 1)
  # Else the nearest place lies on one of the edges.
  for i, j in ((0, 1), (1, 2), (2, 0)):
    p, q = corners[..., i, :], corners[..., j, :]
    along = inner(points - p, q - p) / np.maximum(inner(q - p, q - p), 1e-30)
    along = np.clip(along, 0, 1)[..., None]
    distance = np.sum((p + along * (q - p) - points) ** 2, -1)
    edge = np.zeros_like(inside)
    edge[..., i], edge[..., j] = 1 - along[..., 0], along[..., 0]
    closer = distance < best
    best = np.where(closer, distance, best)
    result = np.where(closer[..., None], edge, result)
  return result


def border_edges(faces: Int[np.ndarray, "t 3"]) -> Bool[np.ndarray, "t 3"]:
  """Whether the edge opposite each corner belongs to this triangle alone."""
  inverse, counts = _edges(faces)
  return counts[inverse].reshape(-1, 3) == 1


def crowded_edges(faces: Int[np.ndarray, "t 3"]) -> int:
  """How many edges more than two triangles share: 0 for a manifold mesh."""
  return int((_edges(faces)[1] > 2).sum())


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Number of the edge opposite each corner, flat; triangles of each edge."""
  edges = np.sort(faces[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), 1)
  keys = edges[:, 0].astype(np.int64) * (int(faces.max()) + 1) + edges[:, 1]
  _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
  return inverse.reshape(-1), counts
