"""Bringing one head's mesh onto the surface of another.

First radial basis functions carry landmarks to landmarks, then a closest-point pass
pulls the surface on, while the mesh stays as smooth as it was.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import linalg

from affjax.geometry import surface
from affjax.types import Template

# How far the landmarks may stay off, dm: those of the jaw slide along the silhouette,
# so that no two head models mean the same places by them.
_SLACK, _JAW_SLACK, _JAW = 0.003, 0.05, 17
# The rounds of the closest-point pass: stiffness of the mesh against the pull, and how
# near the surface must be, dm.
_ROUNDS = ((30.0, 0.25), (10.0, 0.2), (3.0, 0.15), (1.0, 0.1), (0.3, 0.08), (0.1, 0.06))
_ANCHOR = 1.0
# A vertex and its place on the surface look in directions with this cosine at least.
_FACING = 0.5
# Nearer than this, dm, a vertex lies on the surface whichever way it looks.
_SAME = 1e-5


@dataclasses.dataclass(frozen=True, eq=False)
class Contact:
  """Where vertices of one mesh lie on the surface of another.

  Attributes:
    near: bool `[V]`, vertices that have a place there: close, facing the same way, not
      beyond a border.
    triangle: int32 `[V]`, triangle of the surface; meaningful where `near`.
    weights: float64 `[V, 3]`, barycentric weights there.
  """

  near: Bool[np.ndarray, " v"]
  triangle: Int[np.ndarray, " v"]
  weights: Float[np.ndarray, "v 3"]


def radial_warp(
  points: Float[np.ndarray, "p 3"],
  goals: Float[np.ndarray, "p 3"],
  slack: Float[np.ndarray, " p"],
  where: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 3"]:
  """Places after the smoothest warp (biharmonic, `|r|`) that takes points to goals.

  Args:
    points: where the warp is known.
    goals: where they go.
    slack: about how far each may stay off its goal, dm.
    where: places to warp.

  Raises:
    ValueError: the points lie in one plane, or are fewer than four.
  """
  count = len(points)
  middle = points.mean(0)
  affine = lambda x: np.concatenate([np.ones((len(x), 1)), x - middle], 1)
  kernel = lambda x: -np.linalg.norm(x[:, None] - points, axis=-1)
  side = affine(points)
  if count < 4 or np.linalg.svd(side - side.mean(0), compute_uv=False)[2] < 1e-3:
    raise ValueError(f"pairs must be four or more, not in one plane; got {count}")
  system = np.zeros((count + 4, count + 4))
  system[:count, :count] = kernel(points) - np.diag(slack)
  system[:count, count:], system[count:, :count] = side, side.T
  right = np.concatenate([goals - points, np.zeros((4, 3))])
  found = np.linalg.solve(system, right)
  return where + kernel(where) @ found[:count] + affine(where) @ found[count:]


def slack68() -> Float[np.ndarray, "68"]:
  """How far each of the 68 standard landmarks may stay off its goal, dm."""
  return np.where(np.arange(68) < _JAW, _JAW_SLACK, _SLACK)


def contact(
  vertices: Float[np.ndarray, "v 3"],
  normals: Float[np.ndarray, "v 3"],
  points: Float[np.ndarray, "w 3"],
  faces: Int[np.ndarray, "t 3"],
  reach: float,
) -> Contact:
  """Where vertices with unit normals lie on the surface of a mesh, within `reach`."""
  triangle, weights = surface.nearest_points(vertices, points, faces)
  corner = points[faces[triangle]].astype(np.float64)
  apart = np.linalg.norm(np.einsum("vk,vkx->vx", weights, corner) - vertices, axis=-1)
  facing = np.einsum("vx,vx->v", unit_face_normals(points, faces)[triangle], normals)
  edge = surface.border_edges(faces)[triangle]  # of the edge opposite each corner
  beyond = (edge & (weights < 1e-9)).any(-1)
  near = (apart <= reach) & (facing >= _FACING) & ~beyond
  return Contact(near | (apart < _SAME), triangle, weights)


def unit_face_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Outward normals `[T, 3]`; zero for triangles without area."""
  a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
  normal = np.cross(b - a, c - a)
  return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)


def unit_vertex_normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Normals `[V, 3]`, by area; zero without any."""
  a, b, c = (points[faces[:, k]].astype(np.float64) for k in range(3))
  total = np.zeros((len(points), 3))
  np.add.at(total, faces, np.cross(b - a, c - a)[:, None])
  return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-30)


def laplacian(faces: Int[np.ndarray, "t 3"], count: int) -> sparse.csc_matrix:
  """Each vertex less the mean of its neighbours; zero rows without any."""
  a, b = np.concatenate([faces, faces[:, [1, 2, 0]]]).T[:2]
  link = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
  link = ((link + link.T) > 0).astype(np.float64)
  degree = np.asarray(link.sum(1)).ravel()
  inverse = sparse.diags(1 / np.maximum(degree, 1))
  return (sparse.diags((degree > 0).astype(np.float64)) - inverse @ link).tocsc()


def register(
  target: Template,
  source: Template,
  faces: Int[np.ndarray, "t 3"],
  surface_faces: Int[np.ndarray, "w 3"],
  pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Float[np.ndarray, "v 3"]:
  """The target's vertices, moved so that `faces` lie on the source's surface.

  Args:
    target: the mesh that moves.
    source: the head that it takes the shape of.
    faces: triangles of the target that have a counterpart.
    surface_faces: triangles of the source, the counterpart.
    pairs: places on the source `[P, 3]`, on the target `[P, 3]`, slack `[P]`.
  """
  goals, points, slack = pairs
  start = radial_warp(points, goals, slack, target.vertices.astype(np.float64))
  triangle, weights = surface.nearest_points(points, target.vertices, faces)
  rows = np.repeat(np.arange(len(points)), 3)
  reads = sparse.coo_matrix(
    (weights.ravel(), (rows, faces[triangle].ravel())),
    shape=(len(points), len(start)),
  ).tocsc()
  trust = sparse.diags(_ANCHOR * (slack.min() / slack) ** 2)
  bend = laplacian(target.faces, len(start))
  bend = bend.T @ bend
  moved = start
  for stiffness, reach in _ROUNDS:
    normals = unit_vertex_normals(moved, faces)
    hit = contact(moved, normals, source.vertices, surface_faces, reach)
    corner = source.vertices[surface_faces[hit.triangle]].astype(np.float64)
    place = np.einsum("vk,vkx->vx", hit.weights, corner)
    pull = sparse.diags(hit.near.astype(np.float64))
    system = pull + stiffness * bend + reads.T @ trust @ reads
    system = system + 1e-4 * sparse.identity(len(start))
    right = pull @ (place - start) + reads.T @ (trust @ (goals - reads @ start))
    moved = start + linalg.splu(system.tocsc()).solve(right)
  return moved
