"""Flattening of disks: Tutte's embedding, then a search for the least distortion.

The energy is the symmetric Dirichlet energy (Smith and Schaefer 2015): it grows without
bound as a triangle collapses, so that a search that never steps over a collapse keeps
every triangle upright. Vertices may be fixed, slide along a curve, or move freely.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse import linalg


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
  """A disk to flatten.

  Attributes:
    faces: int `[T, 3]`.
    rest: float `[T, 2, 2]`, two edges (columns) of each triangle in its own plane,
      scaled to the size that it should have in the flat map.
    weights: float `[T]`, how much the distortion of a triangle counts.
    place: maps the variables to flat positions `[V, 2]`.
    jacobian: the derivative of `place`, sparse `[2 V, n]`, x of all vertices first.
  """

  faces: np.ndarray
  rest: np.ndarray
  weights: np.ndarray
  place: Callable[[np.ndarray], np.ndarray]
  jacobian: Callable[[np.ndarray], sparse.csr_matrix]


def rest_edges(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Edges 01 and 02 of each triangle as the columns of `[T, 2, 2]`."""
  e1 = vertices[faces[:, 1]] - vertices[faces[:, 0]]
  e2 = vertices[faces[:, 2]] - vertices[faces[:, 0]]
  length = np.linalg.norm(e1, axis=1)
  along = (e1 * e2).sum(1) / length
  across = np.linalg.norm(np.cross(e1, e2), axis=1) / length
  return np.stack(
    [np.stack([length, along], -1), np.stack([0 * length, across], -1)], -2
  )


def tutte(count: int, faces: np.ndarray, fixed: np.ndarray, target: np.ndarray):
  """Places every free vertex at the mean of its neighbors: a bijection of a disk.

  Args:
    count: number of vertices.
    faces: int `[T, 3]`, a disk.
    fixed: the vertices of its border.
    target: `[len(fixed), 2]`, their places on a convex curve.
  """
  a = faces.reshape(-1)
  b = np.roll(faces, -1, 1).reshape(-1)
  both = sparse.coo_matrix(
    (np.ones(2 * len(a)), (np.concatenate([a, b]), np.concatenate([b, a]))),
    shape=(count, count),
  ).tocsr()
  both.data[:] = 1.0
  degree = np.asarray(both.sum(1)).reshape(-1)
  laplacian = sparse.csr_matrix(sparse.diags(degree) - both)
  free = np.setdiff1d(np.arange(count), fixed)
  result = np.zeros((count, 2))
  result[fixed] = target
  right = -laplacian[free][:, fixed] @ target
  result[free] = linalg.splu(laplacian[free][:, free].tocsc()).solve(right)
  return result


def minimise(problem: Problem, start: np.ndarray, *, steps: int) -> np.ndarray:
  """Scalable locally injective mappings (Rabinovich et al. 2017).

  Each step solves a weighted least-squares problem that has the energy's gradient and
  looks at every triangle's singular values, then goes along as far as no triangle
  collapses.

  Args:
    problem: the disk.
    start: variables at which every triangle is upright.
    steps: the largest number of steps.

  Returns:
    The variables reached; every triangle is upright.
  """
  x = start
  value, gradient = _energy(problem, x)
  if not np.isfinite(value):
    raise ValueError("start must flatten without a flipped triangle")
  for _ in range(steps):
    direction = -_step_solver(problem, x)(gradient)
    slope = gradient @ direction
    length = min(1.0, 0.9 * _largest_step(problem, x, direction))
    new_value, new_gradient = _energy(problem, x + length * direction)
    while new_value > value + 1e-4 * length * slope and length > 1e-10:
      length *= 0.6
      new_value, new_gradient = _energy(problem, x + length * direction)
    if new_value >= value:
      return x
    done = value - new_value < 1e-6 * value
    x, value, gradient = x + length * direction, new_value, new_gradient
    if done:
      return x
  return x


def _matrices(problem: Problem, flat: np.ndarray):
  corner = flat[problem.faces]
  edges = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], -1)
  return edges @ np.linalg.inv(problem.rest)


def _energy(problem: Problem, x: np.ndarray) -> tuple[float, np.ndarray]:
  """Weighted sum of |J|² + |J⁻¹|² and its gradient; infinite at a flip."""
  flat = problem.place(x)
  jacobian = _matrices(problem, flat)
  det = np.linalg.det(jacobian)
  if det.min() <= 1e-9:
    return np.inf, np.zeros_like(x)
  norm = (jacobian**2).sum((1, 2))
  value = (problem.weights * norm * (1 + det**-2)).sum()
  cofactor = np.stack(
    [
      np.stack([jacobian[:, 1, 1], -jacobian[:, 1, 0]], -1),
      np.stack([-jacobian[:, 0, 1], jacobian[:, 0, 0]], -1),
    ],
    -2,
  )
  d_j = 2 * jacobian * (1 + det**-2)[:, None, None]
  d_j -= (2 * norm * det**-3)[:, None, None] * cofactor
  d_edges = problem.weights[:, None, None] * (
    d_j @ np.linalg.inv(problem.rest).swapaxes(1, 2)
  )
  d_flat = np.zeros_like(flat)
  np.add.at(d_flat, problem.faces[:, 1], d_edges[:, :, 0])
  np.add.at(d_flat, problem.faces[:, 2], d_edges[:, :, 1])
  np.add.at(d_flat, problem.faces[:, 0], -d_edges.sum(-1))
  return float(value), problem.jacobian(x).T @ d_flat.T.reshape(-1)


def _step_solver(problem: Problem, x: np.ndarray):
  """Solves with the Hessian of the least-squares problem of this step."""
  u, s, _ = np.linalg.svd(_matrices(problem, problem.place(x)))
  near = np.abs(s - 1) < 1e-4
  ratio = np.where(near, 4.0, (s - s**-3.0) / np.where(near, 1.0, s - 1))
  metric = (u * ratio[:, None, :]) @ u.swapaxes(1, 2)
  inverse = np.linalg.inv(problem.rest)
  gradients = np.stack(
    [-(inverse[:, 0] + inverse[:, 1]), inverse[:, 0], inverse[:, 1]], 1
  )
  local = 2 * problem.weights[:, None, None] * (gradients @ gradients.swapaxes(1, 2))
  count = len(problem.place(x))
  rows = np.repeat(problem.faces, 3, 1).reshape(-1)
  columns = np.tile(problem.faces, (1, 3)).reshape(-1)

  def block(i, j):
    values = (local * metric[:, i, j, None, None]).reshape(-1)
    return sparse.coo_matrix((values, (rows, columns)), shape=(count, count))

  j = problem.jacobian(x)
  whole = sparse.bmat([[block(0, 0), block(0, 1)], [block(1, 0), block(1, 1)]])
  matrix = (j.T @ whole @ j).tocsc()
  floor = 1e-9 * matrix.diagonal().max()
  return linalg.splu(matrix + floor * sparse.identity(len(x), format="csc")).solve


def _largest_step(problem: Problem, x: np.ndarray, direction: np.ndarray) -> float:
  """The step at which the first triangle collapses (vertices on lines)."""
  flat = problem.place(x)
  move = (problem.jacobian(x) @ direction).reshape(2, -1).T

  def edges(values):
    corner = values[problem.faces]
    return corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]

  def cross(p, q):
    return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

  (p, q), (dp, dq) = edges(flat), edges(move)
  a, b, c = cross(dp, dq), cross(p, dq) + cross(dp, q), cross(p, q)
  root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
  root[b * b - 4 * a * c < 0] = np.nan
  # Stable form of the two roots of a t² + b t + c.
  half = -0.5 * (b + np.where(b >= 0, 1, -1) * root)
  with np.errstate(divide="ignore", invalid="ignore"):
    roots = np.concatenate([half / a, c / half])
  roots = roots[np.isfinite(roots) & (roots > 0)]
  return float(roots.min()) if len(roots) else np.inf
