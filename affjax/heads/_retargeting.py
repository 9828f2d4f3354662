"""Retargeting: carries heads over one template to another template."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import KDTree

from affjax.geometry import surface
from affjax.heads import _matching, _registration
from affjax.heads._morphable import MorphableModel
from affjax.types import ArrayLike, Template

# Largest distance of a carried vertex from the source, dm, and of a right angle.
_REACH, _LEAN = 0.05, 0.03
# Weight of stretching against bending of free parts; without it, a neck that the source
# lacks would swing out.
_TENSION = 0.05
# Number of vertices that a separate part (an eyeball) follows, and the regularization.
_AROUND, _AFFINE_RIDGE = 600, 0.05


# The same positions on a source and on a target.
Pairs = tuple[Float[np.ndarray, "_ 3"], Float[np.ndarray, "_ 3"]]


class Retargeter:
  """A linear map from heads over one template to heads over another.

  The target's mesh is registered to the source's mean head once. A vertex that comes to
  lie on the source's surface is carried by its triangle. Regions that the source lacks
  (neck, inner mouth) follow as their mesh bends; separate parts without any contact
  (eyes, teeth) follow the surface around them as a whole.

  `Retargeter(source, target)(vertices)` is `mean + matrix (vertices - source mean)`.

  Attributes:
    source: template of the input.
    target: template of the output.
    mean: float32 `[Vt, 3]`, the source's mean head as the target's mesh, dm.
    carried: bool `[Vt]`, vertices that the source's surface carries.
  """

  def __init__(
    self,
    source: Template,
    target: Template,
    *,
    pairs: Pairs | None = None,
    groups: dict[str, str] | None = None,
    laid: _registration.Laid | None = None,
  ):
    """Registers the target to the source, which takes some seconds.

    Args:
      source: template of the input.
      target: template of the output.
      pairs: positions on the source's mean head and the same positions on the target's,
        dm; by default the 68 standard landmarks of both.
      groups: the counterpart in the source of groups of the target; by default the
        groups with most landmarks, and groups of the same name.
      laid: the registration, if it is known.

    Raises:
      ValueError: a template has no UVs, no landmarks, NaN, or edges that more than two
        triangles share; pairs or groups do not fit.
    """
    if laid is None:
      laid = laid_on(source, target, pairs=pairs, groups=groups)
    moved = laid.vertices
    main, others = _counterparts(source, target, groups)
    self.source, self.target = source, target
    self.mean = moved.astype(np.float32)
    corners, weights, self.carried = _contacts(laid, source, target, (main, *others))
    if not self.carried.any():
      raise ValueError(
        f"no vertex of {target.name!r} came to lie on {source.name!r}: are the pairs "
        "the same places, in the same order?"
      )
    self._corners, self._weights = corners[self.carried], weights[self.carried]
    self._free, self._leaders, self._follow = _followers(moved, target, self.carried)
    self._order = np.argsort(
      np.concatenate([np.flatnonzero(self.carried), self._free]), kind="stable"
    )

  def __call__(self, vertices: Float[ArrayLike, "*b vs 3"]) -> Float[Array, "*b vt 3"]:
    """Returns the target's vertices for heads over the source; works under `jit`.

    Raises:
      ValueError: the number of vertices is wrong, or concrete values are not finite.
    """
    vertices = jnp.asarray(vertices)
    expected = self.source.vertices.shape
    if vertices.shape[-2:] != expected:
      raise ValueError(
        f"vertices over {self.source.name!r} must have shape [*, {expected[0]}, 3], "
        f"got {vertices.shape}"
      )
    if not isinstance(vertices, core.Tracer) and not jnp.isfinite(vertices).all():
      raise ValueError("vertices must be finite")
    lead = (1,) * (vertices.ndim - 2)
    mean = jnp.asarray(self.source.vertices).reshape(*lead, *expected)
    return self.move(vertices - mean) + self.mean.reshape(*lead, *self.mean.shape)

  def move(self, moves: Float[ArrayLike, "*b vs 3"]) -> Float[Array, "*b vt 3"]:
    """Returns displacements of the target's vertices for those of the source's."""
    weights = self._weights.astype(np.float32)
    corner = moves[..., self._corners, :]
    carried = jnp.einsum("...vkx,vk->...vx", corner, weights, precision="highest")
    leaders = carried[..., self._leaders, :]
    free = jnp.einsum("...lx,fl->...fx", leaders, self._follow, precision="highest")
    return jnp.concatenate([carried, free], -2)[..., self._order, :]


def laid_on(
  source: Template,
  target: Template,
  *,
  pairs: Pairs | None = None,
  groups: dict[str, str] | None = None,
  anchor: float = 1.0,
) -> _registration.Laid:
  """Returns the target's vertices in the shape of the source's mean head, dm.

  Arguments and errors are those of `Retargeter`; `anchor` is the weight of the pairs
  against a closest point's 1.
  """
  _check(source, "source")
  _check(target, "target")
  points = _pairs(source, target, pairs)
  main, _ = _counterparts(source, target, groups)
  return _registration.register(
    target,
    source,
    _part(target, main[:1]),
    _part(source, main[1:]),
    points,
    anchor=anchor,
  )


def retarget_model(
  model: MorphableModel,
  template: Template,
  *,
  pairs: Pairs | None = None,
  groups: dict[str, str] | None = None,
  laid: _registration.Laid | None = None,
) -> MorphableModel:
  """Returns a head model over another template, with the same coefficients.

  Args:
    model: a morphable model.
    template: the new template.
    pairs: pairs of points, as `Retargeter` takes them.
    groups: counterparts of groups.
    laid: the registration, if it is known.

  Raises:
    ValueError: see `Retargeter`.
  """
  carry = Retargeter(model.template, template, pairs=pairs, groups=groups, laid=laid)
  # One mode at a time: a hundred modes of a fine mesh would take gigabytes at once.
  moved = lambda basis: np.array(
    [carry.move(jnp.asarray(mode)) for mode in basis], np.float32
  ).reshape(len(basis), len(template.vertices), 3)
  identity = moved(model.identity_basis)
  return MorphableModel(
    template=dataclasses.replace(template, vertices=carry.mean),
    identity_basis=identity,
    identity_std=np.sqrt((identity**2).sum(-1).mean(-1)),
    expression_basis=moved(model.expression_basis),
    expression_names=model.expression_names,
  )


def _check(template: Template, role: str) -> None:
  """Refuses meshes that cannot be registered."""
  bad = int((~np.isfinite(template.vertices)).any(-1).sum())
  if bad:
    raise ValueError(f"{role} {template.name!r} has {bad} vertices that are not finite")
  if not len(template.faces) or not len(template.uvs):
    raise ValueError(f"{role} {template.name!r} needs triangles and UVs")
  crowded = surface.crowded_edges(template.faces)
  if crowded:
    raise ValueError(
      f"{role} {template.name!r} is not a manifold: more than two triangles share "
      f"{crowded} of its edges"
    )


def _pairs(
  source: Template, target: Template, pairs: Pairs | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Positions on the source, on the target, and their slack."""
  if pairs is None:
    for role, template in (("source", source), ("target", target)):
      if len(template.landmark_faces) != 68:
        raise ValueError(
          f"{role} {template.name!r} has no 68 landmarks: add them with "
          "heads.with_landmarks(template, file), or give pairs=(points on the source, "
          "points on the target)"
        )
    places = [
      head.landmark_positions(head.vertices.astype(np.float64))
      for head in (source, target)
    ]
    return places[0], places[1], _registration.slack68()
  given = [np.asarray(points, np.float64) for points in pairs]
  if len(given) != 2 or given[0].shape != given[1].shape or given[0].shape[1:] != (3,):
    raise ValueError(
      f"pairs must be two arrays [P, 3], got {[points.shape for points in given]}"
    )
  if not all(np.isfinite(points).all() for points in given):
    raise ValueError("pairs must be finite")
  return given[0], given[1], np.full(len(given[0]), _registration.slack68().min())


def _counterparts(
  source: Template, target: Template, groups: dict[str, str] | None
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
  """The main pair `(target group, source group)`, and the other pairs."""
  if groups is not None:
    for name, other in groups.items():
      if name not in target.group_names or other not in source.group_names:
        raise ValueError(
          f"groups: {name!r} -> {other!r}, but the target has {target.group_names}, "
          f"the source {source.group_names}"
        )
  main = (_main_group(target), _main_group(source))
  named = groups if groups is not None else dict.fromkeys(target.group_names)
  found = [
    (target.group_names.index(name), source.group_names.index(other or name))
    for name, other in named.items()
    if (other or name) in source.group_names
  ]
  if groups is not None and found:
    main = next((pair for pair in found if pair[0] == main[0]), found[0])
  return main, [pair for pair in found if pair[0] != main[0] and pair[1] != main[1]]


def _main_group(template: Template) -> int:
  """The group with most landmarks, or with most triangles if there are none."""
  faces = template.landmark_faces if len(template.landmark_faces) else slice(None)
  return int(np.bincount(template.face_groups[faces]).argmax())


def _part(template: Template, groups: Sequence[int]) -> np.ndarray:
  return template.faces[np.isin(template.face_groups, groups)]


def _contacts(
  laid: _registration.Laid,
  source: Template,
  target: Template,
  groups: Sequence[tuple[int, int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Corners `[Vt, 3]` on the source, their weights, and whether a vertex has any."""
  moved = laid.vertices
  corners = np.zeros((len(moved), 3), np.int32)
  weights = np.zeros((len(moved), 3))
  carried = np.zeros(len(moved), bool)
  for own, other in groups:
    faces, there = _part(target, [own]), _part(source, [other])
    if not len(faces) or not len(there):
      continue
    here = _matching.Surface(moved, faces, ~laid.free)
    other = _matching.Surface(source.vertices.astype(np.float64), there, laid.seen)
    match = _matching.matches(here, other, _REACH, _LEAN)
    match = match.only(match.near & ~carried[here.used])
    chosen = here.used[match.index]
    corners[chosen] = there[match.triangle]
    weights[chosen] = match.weights
    carried[chosen] = True
  return corners, weights, carried


def _followers(
  moved: np.ndarray, target: Template, carried: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Free vertices, the carried vertices that they follow, and float32 weights."""
  count = len(moved)
  edges = np.concatenate([target.faces[:, :2], target.faces[:, 1:]])
  links = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
  _, component = csgraph.connected_components(links, directed=False)
  led = np.isin(component, component[carried])
  bent = np.flatnonzero(led & ~carried)
  parts = [_bending(target.faces, carried, bent)] if len(bent) else []
  for number in np.unique(component[~led]):
    part = np.flatnonzero(component == number)
    parts.append((part, *_whole(moved, part, np.flatnonzero(carried))))
  free = np.flatnonzero(~carried)
  leaders = np.unique(np.concatenate([near for _, near, _ in parts] or [free[:0]]))
  weights = np.zeros((count, len(leaders)), np.float32)
  for part, near, weight in parts:
    weights[np.ix_(part, np.searchsorted(leaders, near))] = weight
  return free, leaders, weights[free]


def _bending(
  faces: Int[np.ndarray, "t 3"], carried: np.ndarray, bent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Free vertices `[F]`, carried vertices `[L]` that they follow, weights `[F, L]`."""
  plain = _registration.laplacian(faces, len(carried))
  energy = (plain.T @ plain + _TENSION * (plain + plain.T) / 2).tocsc()
  # Translations are preserved: each row of the weights sums to one.
  across = energy[bent][:, np.flatnonzero(carried)].tocsc()
  touched = np.flatnonzero(np.diff(across.indptr))
  solve = _registration.factorized(energy[bent][:, bent])
  solved = solve(-across[:, touched].toarray())
  solved /= solved.sum(1, keepdims=True)
  return bent, touched, solved


def _whole(
  moved: np.ndarray, part: np.ndarray, carried: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Carried vertices around a separate part, and their weights for its vertices.

  The part follows by the affine map that fits the surface around it in least squares.
  """
  middle = moved[part].mean(0)
  radius = np.linalg.norm(moved[part] - middle, axis=-1).max()
  distance, near = KDTree(moved[carried]).query(middle, min(_AROUND, len(carried)))
  trust = 1 / (1 + (np.atleast_1d(distance) / max(radius, 1e-3)) ** 4)
  near = np.atleast_1d(near)
  side = lambda x: np.concatenate([np.ones((len(x), 1)), x - middle], 1)
  known = side(moved[carried[near]])
  normal = known.T @ (trust[:, None] * known) / trust.sum()
  normal += np.diag([0, *[_AFFINE_RIDGE * radius**2] * 3])
  solved = np.linalg.solve(normal, (trust[:, None] * known).T / trust.sum())
  return near, side(moved[part]) @ solved
