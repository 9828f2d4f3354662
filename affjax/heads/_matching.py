"""Correspondences between two surfaces: close, of like normals, and without tears."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from affjax.geometry import surface
from affjax.types import Template, per_template

# Least cosine between the normals of a vertex and of its match.
_FACING = 0.5
# Largest ratio of the distance of neighbors' matches to that of the neighbors.
_STRETCH = 2.5
# Largest share of a vertex's neighbors whose matches are elsewhere.
_ASTRAY = 0.4
# A vertex nearer than this, dm, lies on the surface whatever its normal.
SAME = 1e-5
# Largest number of edges between the close matches of two neighbors.
_RINGS = 3
# Visibility from outside: number of directions, number of those that must see a vertex,
# least cosine to a direction, texel of the depth images, dm, and depth tolerance, dm.
_LOOKS, _AGREE, _GRAZING, _TEXEL, _BEHIND = 24, 2, 0.15, 0.05, 0.06


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
  """A triangle mesh to match with another.

  Attributes:
    vertices: float64 `[V, 3]`, dm.
    faces: int32 `[T, 3]`.
    seen: bool `[V]`, vertices that may match; all by default.
  """

  vertices: Float[np.ndarray, "v 3"]
  faces: Int[np.ndarray, "t 3"]
  seen: Bool[np.ndarray, " v"] | None = None

  @functools.cached_property
  def used(self) -> Int[np.ndarray, " u"]:
    """Vertices of triangles."""
    return np.unique(self.faces)

  @functools.cached_property
  def face_normals(self) -> Float[np.ndarray, "t 3"]:
    return _unit(_crosses(self.vertices, self.faces))

  @functools.cached_property
  def normals(self) -> Float[np.ndarray, "v 3"]:
    """Area-weighted vertex normals; zero without area."""
    total = np.zeros_like(self.vertices, np.float64)
    np.add.at(total, self.faces, _crosses(self.vertices, self.faces)[:, None])
    return _unit(total)

  @functools.cached_property
  def areas(self) -> Float[np.ndarray, " v"]:
    """Area of each vertex: a third of that of its triangles, dm²."""
    area = np.linalg.norm(_crosses(self.vertices, self.faces), axis=-1) / 6
    return np.bincount(self.faces.ravel(), np.repeat(area, 3), len(self.vertices))

  @functools.cached_property
  def border(self) -> Bool[np.ndarray, " v"]:
    """Whether a vertex lies on a border."""
    triangle, corner = np.nonzero(surface.border_edges(self.faces))
    found = np.zeros(len(self.vertices), bool)
    found[self.faces[triangle[:, None], (corner[:, None] + [1, 2]) % 3]] = True
    return found

  @functools.cached_property
  def edges(self) -> Int[np.ndarray, "e 2"]:
    sides = np.sort(self.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    keys = np.unique(sides[:, 0].astype(np.int64) << 32 | sides[:, 1])
    return np.stack([keys >> 32, keys & 0xFFFFFFFF], 1).astype(self.faces.dtype)

  @functools.cached_property
  def edge_length(self) -> float:
    """Median length of the edges, dm."""
    a, b = self.edges.T
    return float(np.median(np.linalg.norm(self.vertices[a] - self.vertices[b], axis=1)))

  @functools.cached_property
  def rings(self) -> sparse.csr_matrix:
    """Bool `[V, V]`: vertices that few edges connect."""
    count = len(self.vertices)
    a, b = self.edges.T
    link = sparse.coo_matrix((np.ones(len(a), bool), (a, b)), shape=(count, count))
    one = (link + link.T + sparse.identity(count, "bool")).tocsr().astype(bool)
    return functools.reduce(lambda x, _: (x @ one).astype(bool), range(_RINGS), one)

  def at(self, vertices: np.ndarray, seen: np.ndarray | None = None) -> "Surface":
    """Returns the same triangles with other vertices."""
    moved = Surface(vertices, self.faces, seen)
    for name in ("used", "border", "edges"):  # these depend on the triangles only
      moved.__dict__[name] = getattr(self, name)
    return moved

  def places(self, match: "Match") -> Float[np.ndarray, "m 3"]:
    corner = self.vertices[self.faces[match.triangle]]
    return np.einsum("mk,mkx->mx", match.weights, corner)


@dataclasses.dataclass(frozen=True, eq=False)
class Match:
  """Matches of the used vertices of one surface on another.

  Attributes:
    index: int `[M]`, index among the used vertices.
    near: bool `[M]`, whether the match is accepted.
    triangle: int32 `[M]`, triangle of the other surface.
    weights: float64 `[M, 3]`, barycentric weights in it.
    trust: float64 `[M]` in [0, 1], weight of the match by its distance.
  """

  index: Int[np.ndarray, " m"]
  near: Bool[np.ndarray, " m"]
  triangle: Int[np.ndarray, " m"]
  weights: Float[np.ndarray, "m 3"]
  trust: Float[np.ndarray, " m"]

  def only(self, which: Bool[np.ndarray, " m"]) -> "Match":
    fields = (getattr(self, field.name)[which] for field in dataclasses.fields(self))
    return Match(*fields)


def matches(here: Surface, there: Surface, reach: float, lean: float) -> Match:
  """Matches the used vertices of `here` with the surface `there`.

  The nearest position is found by position and normal. A match is accepted if it is
  within reach, has a similar normal, is visible, is not beyond a border, and lies where
  the matches of the neighbors lie.

  Args:
    here: surface whose vertices are matched.
    there: surface on which matches are sought.
    reach: largest distance of a match, dm.
    lean: distance that a right angle between normals counts as, dm.
  """
  points, normals = here.vertices[here.used], here.normals[here.used]
  triangle, weights = surface.nearest_points(
    points, there.vertices, there.faces, normals=normals, lean=lean
  )
  match = Match(
    np.arange(len(points)), np.ones(len(points), bool), triangle, weights,
    np.ones(len(points)),
  )  # fmt: skip
  places = there.places(match)
  apart = np.linalg.norm(places - points, axis=-1)
  facing = (there.face_normals[triangle] * normals).sum(-1)
  beyond = (there.border[there.faces[triangle]] | (weights < 1e-9)).all(-1)
  near = (apart <= reach) & (facing >= _FACING) & ~beyond
  if here.seen is not None:
    near &= here.seen[here.used]
  if there.seen is not None:
    near &= there.seen[there.faces[triangle]].all(-1)
  near &= ~_astray(here, there, near, triangle, places)
  near |= apart < SAME
  trust = (1 - np.minimum(apart / (1.5 * reach), 1) ** 2) ** 2
  return dataclasses.replace(match, near=near, trust=trust)


def _astray(
  here: Surface,
  there: Surface,
  near: np.ndarray,
  triangle: np.ndarray,
  places: np.ndarray,
) -> np.ndarray:
  """Bool `[U]`: vertices whose matches are torn from those of their neighbors."""
  row = np.full(len(here.vertices), -1)
  row[here.used] = np.arange(len(here.used))
  a, b = row[here.edges].T
  both = near[a] & near[b]
  a, b = a[both], b[both]
  if not len(a):
    return np.zeros(len(near), bool)
  own = here.vertices[here.used]
  length = np.linalg.norm(own[a] - own[b], axis=-1)
  gone = np.linalg.norm(places[a] - places[b], axis=-1)
  torn = gone > _STRETCH * length + 0.2 * there.edge_length
  close = gone < 2 * there.edge_length
  at = there.faces[triangle][:, 0]
  joined = np.asarray(there.rings[at[a], at[b]]).ravel()
  torn |= close & ~joined
  count = lambda which: np.bincount(
    np.concatenate([a[which], b[which]]), minlength=len(near)
  )
  every = slice(None)
  return count(torn) > _ASTRAY * np.maximum(count(every), 1)


@per_template
def seen_on(template: Template) -> Bool[np.ndarray, " v"]:
  """Returns which of a template's vertices are visible, see `seen`."""
  return seen(template.vertices, template.faces)


def seen(vertices: np.ndarray, faces: np.ndarray) -> Bool[np.ndarray, " v"]:
  """Returns which vertices are visible from outside: no inner mouth, no eye sockets.

  A direction sees a vertex that faces it and that nothing occludes. Several directions
  must see it, because slits show a little of everything.
  """
  here = Surface(np.asarray(vertices, np.float64), faces)
  points = _sampled(here, 0.7 * _TEXEL)
  times = np.zeros(len(here.vertices), int)
  for look in _directions(_LOOKS):
    turn = np.linalg.svd(look[None])[2]  # the last two rows: across
    facing = here.normals @ look > _GRAZING
    low = (points @ turn[1:].T).min(0)
    width = int(np.ptp(points @ turn[1:].T, axis=0).max() / _TEXEL) + 2
    texel = lambda x, turn=turn, low=low, width=width: (
      ((x @ turn[1:].T - low) / _TEXEL + 0.5).astype(int) @ [width, 1]
    )
    front = np.full(width * width, -np.inf)
    np.maximum.at(front, texel(points), points @ look)
    times += facing & (here.vertices @ look > front[texel(here.vertices)] - _BEHIND)
  return times >= _AGREE


def _sampled(here: Surface, spacing: float) -> np.ndarray:
  """Positions all over a surface, about `spacing` apart, dm."""
  corner = here.vertices[here.faces]
  side = np.linalg.norm(corner - np.roll(corner, 1, 1), axis=-1).max(1)
  steps = np.ceil(side / spacing).astype(int)
  found = [here.vertices[here.used]]
  for count in np.unique(np.minimum(steps, 64)):
    i, j = np.mgrid[: count + 1, : count + 1].reshape(2, -1)
    i, j = i[i + j <= count], j[i + j <= count]
    weights = np.stack([i, j, count - i - j], -1) / count
    found.append(
      np.einsum("pk,tkx->tpx", weights, corner[steps == count]).reshape(-1, 3)
    )
  return np.concatenate(found)


def _directions(count: int) -> np.ndarray:
  """Evenly distributed unit vectors."""
  up = 1 - (2 * np.arange(count) + 1) / count
  turn = np.pi * (1 + 5**0.5) * np.arange(count)
  across = np.sqrt(1 - up**2)
  return np.stack([across * np.sin(turn), up, across * np.cos(turn)], -1)


def folded(vertices: np.ndarray, faces: np.ndarray) -> Bool[np.ndarray, " t"]:
  """Returns which triangles face against the surface around them."""
  here = Surface(np.asarray(vertices, np.float64), faces)
  facing = np.einsum("tx,tkx->tk", here.face_normals, here.normals[faces])
  return facing.min(1) < 0


def grown(
  faces: np.ndarray, seeds: np.ndarray, count: int, rings: int
) -> Bool[np.ndarray, " v"]:
  """Returns bool `[V]`: the seeds and some rings of vertices around them."""
  chosen = np.zeros(count, bool)
  chosen[seeds] = True
  for _ in range(rings):
    chosen[faces[chosen[faces].any(1)]] = True
  return chosen


def _crosses(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
  return np.cross(b - a, c - a)


def _unit(vectors: np.ndarray) -> np.ndarray:
  return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
