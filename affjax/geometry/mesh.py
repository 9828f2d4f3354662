"""Triangle meshes: normals, adjacency, welding."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from affjax.types import ArrayLike, ArrayT, Template, namespace, per_template


def face_normals(
  vertices: Float[ArrayT, "*b v 3"], faces: Int[ArrayLike, "t 3"]
) -> Float[ArrayT, "*b t 3"]:
  """Returns unnormalized outward normals, as long as twice the triangle's area."""
  a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
  return namespace(vertices).cross(b - a, c - a)


def vertex_normals(
  vertices: Float[ArrayT, "*b v 3"], faces: Int[ArrayLike, "t 3"]
) -> Float[ArrayT, "*b v 3"]:
  """Returns area-weighted unit normals; zero at vertices without any area."""
  xp = namespace(vertices)
  normal = face_normals(vertices, faces)
  total = xp.zeros_like(vertices)
  for k in range(3):
    total = added(total, faces[:, k], normal)
  # Normalized without a division by zero in value or gradient.
  norm2 = xp.sum(total * total, -1, keepdims=True)
  empty = norm2 < 1e-24
  return xp.where(empty, 0.0, total / xp.sqrt(xp.where(empty, 1.0, norm2)))


def added(
  total: Float[ArrayT, "*b v c"],
  index: Int[ArrayLike, " n"],
  values: Float[ArrayT, "*b n c"],
) -> Float[ArrayT, "*b v c"]:
  """Returns rows with the values of the same index added to them."""
  if isinstance(total, np.ndarray):
    # A product with a sparse matrix: `np.add.at` is many times slower.
    count, number = total.shape[-2], len(index)
    ones = np.ones(number, total.dtype)
    chosen = sparse.csr_array((ones, (index, np.arange(number))), (count, number))
    rows = np.moveaxis(np.asarray(values), -2, 0)
    sums = chosen @ rows.reshape(number, math.prod(rows.shape[1:]))
    return total + np.moveaxis(sums.reshape(count, *rows.shape[1:]), 0, -2)
  return total.at[..., index, :].add(values)


def opposite_vertices(faces: np.ndarray) -> np.ndarray:
  """Returns the vertex across each edge of each triangle, in the adjacent triangle.

  Edge `k` of a triangle is the one opposite its corner `k`. The value is -1 for edges
  of a single triangle and for edges that more than two triangles share; the latter
  therefore always count as silhouettes.

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
  """Returns the triangle across each edge of each triangle.

  Edges are numbered, and those without a single neighbor are -1, as in
  `opposite_vertices`.

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
  """The two numbers, `3 triangle + edge`, of each edge that two triangles share."""
  if not len(faces):
    return np.zeros(0, int), np.zeros(0, int)
  start = faces[:, [1, 2, 0]].reshape(-1).astype(np.int64)
  end = faces[:, [2, 0, 1]].reshape(-1).astype(np.int64)
  key = np.minimum(start, end) * (int(faces.max()) + 1) + np.maximum(start, end)
  order = np.argsort(key, kind="stable")
  _, first, number = np.unique(key[order], return_index=True, return_counts=True)
  pair = first[number == 2]
  return order[pair], order[pair + 1]


@dataclasses.dataclass(frozen=True, eq=False)
class Adjacency:
  """Which triangles of a template share edges.

  Attributes:
    opposite: int32 `[T, 3]`, see `opposite_vertices`.
    neighbors: int32 `[T, 3]`, see `neighbors`.
  """

  opposite: Int[np.ndarray, "t 3"]
  neighbors: Int[np.ndarray, "t 3"]


@per_template
def adjacency(template: Template) -> Adjacency:
  """Returns the adjacency of a template's triangles; computed once per template."""
  return Adjacency(opposite_vertices(template.faces), neighbors(template.faces))


def weld(
  positions: np.ndarray, tolerance: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
  """Merges vertices at the same position.

  Args:
    positions: float `[U, 3]`.
    tolerance: positions are rounded to its multiples before comparison; 0 compares
      exactly.

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
