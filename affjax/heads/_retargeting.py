"""From any head model to any template: another mesh takes a person's shape."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import core
from jaxtyping import Array, Float, Int
from scipy import sparse
from scipy.sparse import csgraph, linalg
from scipy.spatial import KDTree

from affjax.geometry import surface
from affjax.heads import _matching, _registration
from affjax.heads._morphable import MorphableModel
from affjax.types import Template

# How near a vertex must come to the source's surface to be carried by it, dm.
_REACH, _LEAN = 0.05, 0.03
# How much a free part of the mesh resists stretch, compared with bending: without it a
# neck that the source does not have would swing out.
_TENSION = 0.05
# Parts of their own (an eyeball) follow the surface around them, so many vertices.
_AROUND, _AFFINE_RIDGE = 600, 0.05


class Retargeter:
  """Carries heads over one template to another template; linear, hence fast.

  The target's mesh is laid on the source's mean head once: by radial basis functions on
  landmarks, then by closest points. A vertex that comes to lie on the source's surface
  is carried by its triangle from then on. What the source does not have (a neck, the
  inner mouth) follows as the mesh it belongs to bends; parts without any contact (eyes,
  teeth) follow the surface around them as a whole.

  `Retargeter(source, target)(vertices)` is `mean + matrix (vertices - source mean)`.

  Attributes:
    source: what `__call__` takes heads of.
    target: what it gives heads of.
    mean: float32 `[Vt, 3]`, the source's mean head as the target's mesh, dm.
    carried: bool `[Vt]`, vertices that the source's surface carries.
  """

  def __init__(
    self,
    source: Template,
    target: Template,
    *,
    pairs: tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "p 3"]] | None = None,
    groups: dict[str, str] | None = None,
  ):
    """Lays the target on the source; some seconds.

    Args:
      source: the template of the heads to come.
      target: the template that they should get.
      pairs: places on the source's mean head and the same ones on the target's, dm;
        the 68 standard landmarks of both by default.
      groups: for groups of the target, the source's group that is their counterpart;
        by default the groups with most landmarks, and groups of the same name.

    Raises:
      ValueError: a template has no UVs, no landmarks, NaN, or edges that more than two
        triangles share; pairs or groups do not fit.
    """
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

  def __call__(self, vertices: Float[Array, "*b vs 3"]) -> Float[Array, "*b vt 3"]:
    """The target's vertices for heads over the source; safe under `jit` and `grad`.

    Raises:
      ValueError: another number of vertices; NaN, where it can be seen.
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

  def move(self, moves: Float[Array, "*b vs 3"]) -> Float[Array, "*b vt 3"]:
    """Displacements of the target's vertices for displacements of the source's."""
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
  pairs: tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "p 3"]] | None = None,
  groups: dict[str, str] | None = None,
) -> _registration.Laid:
  """The target's vertices in the shape of the source's mean head, dm.

  Arguments and errors are those of `Retargeter`.
  """
  _check(source, "source")
  _check(target, "target")
  points = _pairs(source, target, pairs)
  main, _ = _counterparts(source, target, groups)
  return _registration.register(
    target, source, _part(target, main[:1]), _part(source, main[1:]), points
  )


def retarget_model(
  model: MorphableModel, template: Template, **options
) -> MorphableModel:
  """The head model on another template: the same people, expressions, coefficients.

  Args:
    model: any morphable model.
    template: the mesh that it should move.
    **options: of `Retargeter`.

  Raises:
    ValueError: as `Retargeter`.
  """
  carry = Retargeter(model.template, template, **options)
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
  """Refuses meshes that nothing can be carried over."""
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


def _pairs(source: Template, target: Template, pairs):
  """Places on the source, on the target, and their slack."""
  if pairs is None:
    for role, template in (("source", source), ("target", target)):
      if len(template.landmark_faces) != 68:
        raise ValueError(
          f"{role} {template.name!r} has no 68 landmarks: add them with "
          "landmark_sets.with_landmarks(template, file), or give pairs=(points on the "
          "source, points on the target)"
        )
    places = [_landmarks(source), _landmarks(target)]
    return places[0], places[1], _registration.slack68()
  given = [np.asarray(points, np.float64) for points in pairs]
  if len(given) != 2 or given[0].shape != given[1].shape or given[0].shape[1:] != (3,):
    raise ValueError(
      f"pairs must be two arrays [P, 3], got {[points.shape for points in given]}"
    )
  if not all(np.isfinite(points).all() for points in given):
    raise ValueError("pairs must be finite")
  return given[0], given[1], np.full(len(given[0]), _registration.slack68().min())


def _landmarks(template: Template) -> np.ndarray:
  corner = template.vertices[template.faces[template.landmark_faces]]
  return np.einsum("lk,lkx->lx", template.landmark_weights, corner).astype(np.float64)


def _counterparts(source: Template, target: Template, groups):
  """`(target group, source group)`: the main one, and the others."""
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
  """The group with most landmarks; without landmarks, with most triangles."""
  faces = template.landmark_faces if len(template.landmark_faces) else slice(None)
  return int(np.bincount(template.face_groups[faces]).argmax())


def _part(template: Template, groups) -> np.ndarray:
  return template.faces[np.isin(template.face_groups, groups)]


def _contacts(laid: _registration.Laid, source: Template, target: Template, groups):
  """Corners `[Vt, 3]` on the source, their weights, and which vertices have any."""
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


def _followers(moved: np.ndarray, target: Template, carried: np.ndarray):
  """Free vertices, whom they follow (indices among the carried), float32 weights."""
  count = len(moved)
  edges = np.concatenate([target.faces[:, :2], target.faces[:, 1:]])
  links = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
  _, component = csgraph.connected_components(links, directed=False)
  led = np.isin(component, component[carried])
  bent = np.flatnonzero(led & ~carried)
  matrix = sparse.lil_matrix((count, int(carried.sum())), dtype=np.float32)
  if len(bent):
    matrix[bent] = _bending(target.faces, carried, bent)
  for number in np.unique(component[~led]):
    part = np.flatnonzero(component == number)
    near, weights = _whole(moved, part, np.flatnonzero(carried))
    matrix[np.ix_(part, near)] = weights
  free = np.flatnonzero(~carried)
  rows = matrix.tocsr()[free]
  leaders = np.unique(rows.indices)
  return free, leaders, np.asarray(rows[:, leaders].todense(), np.float32)


def _bending(faces: Int[np.ndarray, "t 3"], carried: np.ndarray, bent: np.ndarray):
  """Weights `[F, C]` by which free vertices follow the carried ones of their mesh."""
  plain = _registration.laplacian(faces, len(carried))
  energy = (plain.T @ plain + _TENSION * (plain + plain.T) / 2).tocsc()
  # Constants are kept: each row of the weights sums to one.
  across = energy[bent][:, np.flatnonzero(carried)].tocsc()
  touched = np.flatnonzero(np.diff(across.indptr))
  solved = linalg.splu(energy[bent][:, bent].tocsc()).solve(
    -across[:, touched].toarray()
  )
  solved /= solved.sum(1, keepdims=True)
  weights = sparse.lil_matrix(across.shape, dtype=np.float32)
  weights[:, touched] = solved
  return weights


def _whole(moved: np.ndarray, part: np.ndarray, carried: np.ndarray):
  """Carried vertices around a part and weights by which it follows as a whole.

  An affine map of the part, by least squares over the surface around it.
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
