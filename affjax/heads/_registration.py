"""Non-rigid registration of one head's mesh to the surface of another.

Radial basis functions first carry landmarks to landmarks. Closest points then pull the
mesh to the surface, from coarse to fine, while a bending energy preserves its shape.
Matches that tear or fold the mesh are dropped; there it keeps its shape and follows.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import linalg
from scipy.spatial import KDTree

from affjax.geometry import surface
from affjax.heads import _matching
from affjax.types import Template

# Slack of the landmarks, dm. Those of the jaw slide along the silhouette, so that head
# models disagree about their positions.
_SLACK, _CHIN_SLACK, _JAW_SLACK = 0.003, 0.05, 3.0
# Rounds of closest points: stiffness of the mesh, largest distance of a match, dm, and
# the distance that a right angle between normals counts as, dm.
_ROUNDS = (
  *[(300.0, 0.6, 0.4)] * 3, *[(100.0, 0.5, 0.4)] * 4, *[(30.0, 0.4, 0.3)] * 2,
  *[(10.0, 0.25, 0.2)] * 2, (3.0, 0.2, 0.1), (1.0, 0.1, 0.06), (0.3, 0.06, 0.03),
)  # fmt: skip
# While the mesh is stiffer than this, the source's vertices are matched as well,
_BOTH_WAYS = 5.0
# but not with positions this few rings from a border of the target,
_ENDS = 2
# nor with positions beside rather than along the normal.
_ASIDE, _CLOSE = 0.6, 0.03
_MENDING = 6
# Hidden vertices follow this many visible ones; blur, dm, and weight of this pull.
_AROUND, _BLUR, _INNER = 48, 0.05, 0.1
# Weight of stretching against bending; without it, parts that the source lacks (inner
# mouth, neck) would swing out.
_TENSION = 0.02
# Pulls: the matrix that reads positions from vertices, their weights, and their goals.
Side = tuple[sparse.csr_matrix, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Laid:
  """A mesh registered to the surface of another.

  Attributes:
    vertices: float64 `[V, 3]`, dm.
    free: bool `[V]`, vertices without matches: hidden, or folding the mesh.
    seen: bool `[W]`, vertices of the other mesh that are visible from outside.
  """

  vertices: Float[np.ndarray, "v 3"]
  free: Bool[np.ndarray, " v"]
  seen: Bool[np.ndarray, " w"]


def similarity(
  points: Float[np.ndarray, "p 3"], goals: Float[np.ndarray, "p 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
  """Returns the similarity `(s R, t)` that takes points to goals, in least squares."""
  a, b = points - points.mean(0), goals - goals.mean(0)
  left, size, right = np.linalg.svd(b.T @ a)
  sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
  turn = (left * sign) @ right * (size * sign).sum() / (a**2).sum()
  return turn, goals.mean(0) - turn @ points.mean(0)


def radial_warp(
  points: Float[np.ndarray, "p 3"],
  goals: Float[np.ndarray, "p 3"],
  slack: Float[np.ndarray, " p"],
  where: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 3"]:
  """Applies the smooth warp that takes points to goals.

  The warp is a similarity, fitted to the points with least slack, plus radial basis
  functions `|r|` of the residual. Far from the points it neither stretches nor shears.

  Args:
    points: points at which the warp is known.
    goals: their images.
    slack: about how far each image may stay from its goal, dm.
    where: positions to warp.

  Raises:
    ValueError: the points are coplanar, or fewer than four.
  """
  count = len(points)
  if count < 4 or np.linalg.svd(points - points.mean(0), compute_uv=False)[2] < 1e-3:
    raise ValueError(f"pairs must be four or more, not in one plane; got {count}")
  sure = slack <= 20 * slack.min()
  sure = sure if sure.sum() >= 4 else slack >= 0
  turn, shift = similarity(points[sure], goals[sure])
  left = goals - points @ turn.T - shift
  kernel = lambda x: -np.linalg.norm(x[:, None] - points, axis=-1)
  system = np.ones((count + 1, count + 1))
  system[:count, :count] = kernel(points) + np.diag(slack)
  system[count, count] = 0
  found = np.linalg.solve(system, np.concatenate([left, np.zeros((1, 3))]))
  return where @ turn.T + shift + kernel(where) @ found[:count] + found[count]


def slack68() -> Float[np.ndarray, "68"]:
  """Returns the slack of each of the 68 standard landmarks, dm."""
  slack = np.full(68, _SLACK)
  slack[:17], slack[8] = _JAW_SLACK, _CHIN_SLACK
  return slack


def laplacian(faces: Int[np.ndarray, "t 3"], count: int) -> sparse.csc_matrix:
  """Returns the matrix of each vertex minus the mean of its neighbors."""
  a, b = np.concatenate([faces, faces[:, [1, 2, 0]]]).T[:2]
  link = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
  link = ((link + link.T) > 0).astype(np.float64)
  degree = np.asarray(link.sum(1)).ravel()
  inverse = sparse.diags(1 / np.maximum(degree, 1))
  return (sparse.diags((degree > 0).astype(np.float64)) - inverse @ link).tocsc()


class _Pulls:
  """The normal equations of a smooth displacement under pulls."""

  def __init__(
    self,
    target: Template,
    start: np.ndarray,
    faces: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    anchor: float,
  ):
    goals, points, slack = pairs
    triangle, weights = surface.nearest_points(points, target.vertices, faces)
    reads = _reading(faces[triangle], weights, len(start))
    trust = sparse.diags(anchor * (slack.min() / slack) ** 2)
    bend = laplacian(target.faces, len(start))
    self.start = start
    self.bend = bend.T @ bend + _TENSION * (bend + bend.T) / 2
    self.anchor = reads.T @ trust @ reads + 1e-4 * sparse.identity(len(start))
    self.right = reads.T @ (trust @ (goals - reads @ start))

  def solved(self, stiffness: float, sides: Sequence[Side]) -> np.ndarray:
    """Returns the vertices under the pulls of the sides."""
    system, right = self.anchor + stiffness * self.bend, self.right
    for reads, trust, places in sides:
      pull = reads.T @ sparse.diags(trust)
      system = system + pull @ reads
      right = right + pull @ (places - reads @ self.start)
    return self.start + factorized(system)(right)


def factorized(
  matrix: sparse.csr_matrix | sparse.csc_matrix,
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the solver of a symmetric positive definite system."""
  factors = linalg.splu(
    matrix.tocsc(),
    permc_spec="MMD_AT_PLUS_A",
    diag_pivot_thresh=0.0,
    options={"SymmetricMode": True},
  )
  return factors.solve


def _reading(corners: np.ndarray, weights: np.ndarray, count: int) -> sparse.csr_matrix:
  """The matrix that reads positions in triangles from vertices."""
  rows = np.repeat(np.arange(len(corners)), 3)
  return sparse.csr_matrix(
    (weights.ravel(), (rows, corners.ravel())), shape=(len(corners), count)
  )


def register(
  target: Template,
  source: Template,
  faces: Int[np.ndarray, "t 3"],
  surface_faces: Int[np.ndarray, "w 3"],
  pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
  *,
  anchor: float = 1.0,
) -> Laid:
  """Registers the triangles `faces` of the target to the source's surface.

  Args:
    target: mesh that moves.
    source: head whose shape it takes.
    faces: triangles of the target with a counterpart.
    surface_faces: triangles of the source that are the counterpart.
    pairs: positions on the source `[P, 3]`, the same on the target `[P, 3]`, and their
      slack `[P]`.
    anchor: weight of the pair with least slack; that of a closest point is 1.
  """
  goals, points, slack = pairs
  start = radial_warp(points, goals, slack, target.vertices.astype(np.float64))
  pulls = _Pulls(target, start, faces, pairs, anchor)
  seen = _matching.seen_on(source)
  there = _matching.Surface(source.vertices.astype(np.float64), surface_faces, seen)
  hidden = ~_matching.seen_on(target)
  moved, free, mesh = start, hidden.copy(), _matching.Surface(start, faces)
  for stiffness, reach, lean in _ROUNDS:
    sides = [_forth(mesh, moved, there, free, reach, lean)]
    if stiffness >= _BOTH_WAYS:
      sides.append(_back(mesh, moved, there, free, reach, lean))
    moved = pulls.solved(stiffness, sides)
  stiffness, reach, lean = _ROUNDS[-1]
  for _ in range(_MENDING):
    bad = _matching.folded(moved, faces) & ~_matching.folded(start, faces)
    if not bad.any():
      break
    free |= _matching.grown(faces, faces[bad], len(start), 2)
    moved = pulls.solved(stiffness, [_forth(mesh, moved, there, free, reach, lean)])
  side = _forth(mesh, moved, there, free, reach, lean)
  moved = pulls.solved(stiffness, [side, _within(start, moved, hidden)])
  return Laid(moved, free, seen)


def _forth(
  mesh: _matching.Surface,
  moved: np.ndarray,
  there: _matching.Surface,
  free: np.ndarray,
  reach: float,
  lean: float,
) -> Side:
  """Pulls of the target's vertices to the source, by the area of their triangles."""
  here = mesh.at(moved, ~free)
  match = _matching.matches(here, there, reach, lean)
  match = match.only(match.near)
  used = here.used[match.index]
  one = sparse.csr_matrix(
    (np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), len(moved))
  )
  area = here.areas[used]
  share = np.minimum(area / np.median(here.areas[here.used]), 1)
  return one, share * match.trust, there.places(match)


def _within(start: np.ndarray, moved: np.ndarray, hidden: np.ndarray) -> Side:
  """Pulls of hidden vertices along with the visible surface around them."""
  inner, outer = np.flatnonzero(hidden), np.flatnonzero(~hidden)
  if not len(inner) or not len(outer):
    return sparse.csr_matrix((0, len(start))), np.zeros(0), np.zeros((0, 3))
  apart, near = KDTree(start[outer]).query(start[inner], min(_AROUND, len(outer)))
  apart, near = apart.reshape(len(inner), -1), near.reshape(len(inner), -1)
  trust = 1 / (apart**2 + _BLUR**2)
  trust /= trust.sum(1, keepdims=True)
  places = start[inner] + np.einsum("ik,ikx->ix", trust, (moved - start)[outer[near]])
  one = sparse.csr_matrix(
    (np.ones(len(inner)), (np.arange(len(inner)), inner)), (len(inner), len(start))
  )
  return one, np.full(len(inner), _INNER), places


def _back(
  mesh: _matching.Surface,
  moved: np.ndarray,
  there: _matching.Surface,
  free: np.ndarray,
  reach: float,
  lean: float,
) -> Side:
  """Pulls of positions on the target, away from its borders, to source vertices."""
  ends = _matching.grown(mesh.faces, np.flatnonzero(mesh.border), len(moved), _ENDS)
  here = mesh.at(moved, ~(free | ends))
  match = _matching.matches(there, here, reach, lean)
  offset = there.vertices[there.used] - here.places(match)
  apart = np.linalg.norm(offset, axis=-1)
  along = np.abs((offset * here.face_normals[match.triangle]).sum(-1))
  match = match.only(match.near & (along >= _ASIDE * np.maximum(apart - _CLOSE, 0)))
  share = min(1.0, len(here.used) / len(there.used))
  reads = _reading(mesh.faces[match.triangle], match.weights, len(moved))
  return reads, share * match.trust, there.vertices[there.used[match.index]]
