"""Bringing one head's mesh onto the surface of another.

First radial basis functions carry landmarks to landmarks, then closest points pull the
surface on, from coarse to fine, while the mesh stays as smooth as it was. Matches that
tear or fold the mesh are let go: there it keeps its own shape and follows.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse
from scipy.sparse import linalg
from scipy.spatial import KDTree

from affjax.geometry import surface
from affjax.heads import _matching
from affjax.types import Template

# How far the landmarks may stay off, dm: those of the jaw slide along the silhouette,
# so that no two head models mean the same places by them.
_SLACK, _CHIN_SLACK, _JAW_SLACK = 0.003, 0.05, 3.0
# The rounds of the closest-point pass: stiffness of the mesh against the pull, how near
# the surface must be, dm, and what a right angle between normals counts as, dm.
_ROUNDS = (
  *[(300.0, 0.6, 0.4)] * 3, *[(100.0, 0.5, 0.4)] * 4, *[(30.0, 0.4, 0.3)] * 2,
  *[(10.0, 0.25, 0.2)] * 2, (3.0, 0.2, 0.1), (1.0, 0.1, 0.06), (0.3, 0.06, 0.03),
)  # fmt: skip
_ANCHOR = 1.0
# While the mesh is stiffer than this, the source's vertices look for places as well.
_BOTH_WAYS = 5.0
# But not places that are so few rings from where the target ends.
_ENDS = 2
# Nor places that lie aside rather than below, in front of or behind.
_ASIDE, _CLOSE = 0.6, 0.03
_MENDING = 6
# Hidden vertices go with so many around them; blur in dm, trust against a match's 1.
_AROUND, _BLUR, _INNER = 48, 0.05, 0.1
# How much the mesh resists stretch, compared with bending: without it an inner mouth or
# a neck that the source does not have would swing out.
_TENSION = 0.02


@dataclasses.dataclass(frozen=True, eq=False)
class Laid:
  """A mesh on the surface of another.

  Attributes:
    vertices: float64 `[V, 3]`.
    free: bool `[V]`, vertices that nothing may pull: inside, or the mesh would fold.
    seen: bool `[W]`, vertices of the other mesh that can be seen from outside.
  """

  vertices: Float[np.ndarray, "v 3"]
  free: Bool[np.ndarray, " v"]
  seen: Bool[np.ndarray, " w"]


def similarity(points, goals):
  """Scale, rotation and shift `(s R [3, 3], t [3])` from points to goals."""
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
  """Places after a smooth warp that takes points to goals.

  A similarity, by the points with least slack, and radial basis functions `|r|` for
  what it leaves: far from the points nothing is stretched or sheared.

  Args:
    points: where the warp is known.
    goals: where they go.
    slack: about how far each may stay off its goal, dm.
    where: places to warp.

  Raises:
    ValueError: the points lie in one plane, or are fewer than four.
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
  """How far each of the 68 standard landmarks may stay off its goal, dm."""
  slack = np.full(68, _SLACK)
  slack[:17], slack[8] = _JAW_SLACK, _CHIN_SLACK
  return slack


def laplacian(faces: Int[np.ndarray, "t 3"], count: int) -> sparse.csc_matrix:
  """Each vertex less the mean of its neighbours; zero rows without any."""
  a, b = np.concatenate([faces, faces[:, [1, 2, 0]]]).T[:2]
  link = sparse.coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
  link = ((link + link.T) > 0).astype(np.float64)
  degree = np.asarray(link.sum(1)).ravel()
  inverse = sparse.diags(1 / np.maximum(degree, 1))
  return (sparse.diags((degree > 0).astype(np.float64)) - inverse @ link).tocsc()


class _Pulls:
  """What is pulled where: the normal equations of a smooth displacement."""

  def __init__(self, target: Template, start: np.ndarray, faces, pairs):
    goals, points, slack = pairs
    triangle, weights = surface.nearest_points(points, target.vertices, faces)
    reads = _reading(faces[triangle], weights, len(start))
    trust = sparse.diags(_ANCHOR * (slack.min() / slack) ** 2)
    bend = laplacian(target.faces, len(start))
    self.start = start
    self.bend = bend.T @ bend + _TENSION * (bend + bend.T) / 2
    self.anchor = reads.T @ trust @ reads + 1e-4 * sparse.identity(len(start))
    self.right = reads.T @ (trust @ (goals - reads @ start))

  def solved(self, stiffness: float, sides) -> np.ndarray:
    """Vertices; `sides` are `(reading, trust, places)`."""
    system, right = self.anchor + stiffness * self.bend, self.right
    for reads, trust, places in sides:
      pull = reads.T @ sparse.diags(trust)
      system = system + pull @ reads
      right = right + pull @ (places - reads @ self.start)
    return self.start + linalg.splu(system.tocsc()).solve(right)


def _reading(corners: np.ndarray, weights: np.ndarray, count: int):
  """Matrix that reads places on triangles from vertices."""
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
) -> Laid:
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
  pulls = _Pulls(target, start, faces, pairs)
  seen = _matching.seen(source.vertices, source.faces)
  there = _matching.Surface(source.vertices.astype(np.float64), surface_faces, seen)
  hidden = ~_matching.seen(target.vertices, target.faces)
  moved, free = start, hidden.copy()
  for stiffness, reach, lean in _ROUNDS:
    sides = [_forth(moved, faces, there, free, reach, lean)]
    if stiffness >= _BOTH_WAYS:
      sides.append(_back(moved, faces, there, free, reach, lean))
    moved = pulls.solved(stiffness, sides)
  stiffness, reach, lean = _ROUNDS[-1]
  for _ in range(_MENDING):
    bad = _matching.folded(moved, faces) & ~_matching.folded(start, faces)
    if not bad.any():
      break
    free |= _matching.grown(faces, faces[bad], len(start), 2)
    moved = pulls.solved(stiffness, [_forth(moved, faces, there, free, reach, lean)])
  side = _forth(moved, faces, there, free, reach, lean)
  moved = pulls.solved(stiffness, [side, _within(start, moved, hidden)])
  return Laid(moved, free, seen)


def _forth(moved, faces, there, free, reach: float, lean: float):
  """The pulls of the target's vertices to the source; tiny triangles hardly pull."""
  here = _matching.Surface(moved, faces, ~free)
  match = _matching.matches(here, there, reach, lean)
  match = match.only(match.near)
  used = here.used[match.index]
  one = sparse.csr_matrix(
    (np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), len(moved))
  )
  area = here.areas[used]
  share = np.minimum(area / np.median(here.areas[here.used]), 1)
  return one, share * match.trust, there.places(match)


def _within(start, moved, hidden):
  """The pulls of hidden vertices along with the surface around them, in space."""
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


def _back(moved, faces, there, free, reach: float, lean: float):
  """The pulls of the source's vertices to places on the target, not near its ends."""
  here = _matching.Surface(moved, faces)
  ends = _matching.grown(faces, np.flatnonzero(here.border), len(moved), _ENDS)
  here = _matching.Surface(moved, faces, ~(free | ends))
  match = _matching.matches(there, here, reach, lean)
  offset = there.vertices[there.used] - here.places(match)
  apart = np.linalg.norm(offset, axis=-1)
  along = np.abs((offset * here.face_normals[match.triangle]).sum(-1))
  match = match.only(match.near & (along >= _ASIDE * np.maximum(apart - _CLOSE, 0)))
  share = min(1.0, len(here.used) / len(there.used))
  reads = _reading(faces[match.triangle], match.weights, len(moved))
  return reads, share * match.trust, there.vertices[there.used[match.index]]
