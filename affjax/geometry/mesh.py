"""Triangle meshes: normals, edges, welding."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def face_normals(
  vertices: Float[Array, "*b v 3"], faces: Int[Array, "t 3"] | np.ndarray
) -> Float[Array, "*b t 3"]:
  """Unnormalised outward normals (counter-clockwise faces), twice the area long."""
  a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
  return jnp.cross(b - a, c - a)


def vertex_normals(
  vertices: Float[Array, "*b v 3"], faces: Int[Array, "t 3"] | np.ndarray
) -> Float[Array, "*b v 3"]:
  """Unit normals, area-weighted; zero at a vertex without any area around it."""
  normal = face_normals(vertices, faces)
  total = jnp.zeros_like(vertices)
  for k in range(3):
    total = total.at[..., faces[:, k], :].add(normal)
  # Normalised without a division by zero in value or gradient.
  norm2 = jnp.sum(total * total, -1, keepdims=True)
  empty = norm2 < 1e-24
  return jnp.where(empty, 0.0, total / jnp.sqrt(jnp.where(empty, 1.0, norm2)))


def opposite_vertices(faces: np.ndarray) -> np.ndarray:
  """For each edge of each triangle, the vertex across it in the neighbouring triangle.

  Edge `k` of a triangle is the one opposite its corner `k`. The answer is -1 where an
  edge belongs to one triangle only; where more than two share it, -1 as well, which
  makes the edge a silhouette always.

  Args:
    faces: int `[T, 3]`, welded.

  Returns:
    int32 `[T, 3]`.
  """
  left, right = _twin_edges(faces)
  corner = faces.reshape(-1)
  opposite = np.full(faces.size, -1, np.int32)
  opposite[left], opposite[right] = corner[right], corner[left]
  return opposite.reshape(-1, 3)


def neighbors(faces: np.ndarray) -> np.ndarray:
  """The triangle across each edge of each triangle.

  Edges are numbered and left out (-1) as in `opposite_vertices`.

  Args:
    faces: int `[T, 3]`, welded.

  Returns:
    int32 `[T, 3]`.
  """
  left, right = _twin_edges(faces)
  across = np.full(faces.size, -1, np.int32)
  across[left], across[right] = right // 3, left // 3
  return across.reshape(-1, 3)


def _twin_edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Both numbers, `3 triangle + edge`, of each edge that two triangles share."""
  if not len(faces):
    return np.zeros(0, int), np.zeros(0, int)
  start = faces[:, [1, 2, 0]].reshape(-1).astype(np.int64)
  end = faces[:, [2, 0, 1]].reshape(-1).astype(np.int64)
  key = np.minimum(start, end) * (int(faces.max()) + 1) + np.maximum(start, end)
  order = np.argsort(key, kind="stable")
  _, first, number = np.unique(key[order], return_index=True, return_counts=True)
  pair = first[number == 2]
  return order[pair], order[pair + 1]


def weld(
  positions: np.ndarray, tolerance: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
  """Merges vertices at the same place.

  Args:
    positions: float `[U, 3]`.
    tolerance: positions are compared after rounding to multiples of it; 0 = exactly.

  Returns:
    `(keep [V], index [U])`: `positions[keep][index]` equals `positions` within the
    tolerance, and `keep` is in order of first appearance.
  """
  key = positions if tolerance <= 0 else np.round(positions / tolerance)
  _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
  order = np.argsort(first, kind="stable")
  rank = np.empty_like(order)
  rank[order] = np.arange(len(order))
  return first[order], rank[inverse.reshape(-1)].astype(np.int32)
