"""The numbers that a photo of a head should give, and their derivatives."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces._dense_fit.anchors import Anchors, Errors, pose_features
from affjax.faces._dense_fit.reading import Observed

# Least distance of a point from the camera, dm.
_NEAREST = 0.1
# Unit of FaceMesh's errors, dm.
_MESH_UNIT = 0.01


class Local(NamedTuple):
  """What is a photo's own; a step's components come in the same order.

  Attributes:
    turn: Rotation matrix.
    shift: Translation, dm.
    distance: Logarithm of the camera's distance from the origin in dm. The size of the
      head in the photo does not depend on it.
    expression: Coefficients of the expression units.
    factors: Common errors of the photo's numbers, see `Errors`.
  """

  turn: Float[Array, "*n 3 3"]
  shift: Float[Array, "*n 3"]
  distance: Float[Array, "*n"]
  expression: Float[Array, "*n e"]
  factors: Float[Array, "*n r"]


class Rows(NamedTuple):
  """Standardized errors of a photo's Q numbers and their derivatives.

  Attributes:
    errors: Predicted less seen numbers, in deviations of their independent part; zero
      where nothing is seen.
    by_identity: Derivatives by the identity coefficients.
    by_local: Derivatives by the components of a step of `Local`.
  """

  errors: Float[Array, " q"]
  by_identity: Float[Array, "q k"]
  by_local: Float[Array, "q l"]


def groups(anchors: Anchors) -> Array:
  """Returns for each of the Q numbers which measured point it belongs to."""
  a, m = len(anchors.points), len(anchors.mesh)
  ids = jnp.concatenate([jnp.arange(a), a + jnp.arange(a), 2 * a + jnp.arange(m)])
  return jnp.repeat(ids, 2)


def rows(
  anchors: Anchors,
  errors: Errors,
  observed: Observed,
  identity: Float[Array, " k"],
  local: Local,
) -> Rows:
  """Returns the standardized errors of a head, and their derivatives."""
  values = jnp.concatenate([identity, local.expression])
  distance = jnp.exp(local.distance)
  see = lambda mean, modes: _seen(mean, modes, values, local, distance)
  place, by_place = see(anchors.points, anchors.modes)
  mesh, by_mesh = see(anchors.mesh, anchors.mesh_modes)
  normal, by_normal = _normals(anchors, values, local)
  scale, weight = scales(anchors, observed)
  told = jnp.concatenate([observed.places, observed.normals[:, :2], observed.mesh])
  k = len(identity)
  bias = pose_features(local.turn) @ errors.bias + identity @ errors.shrinkage
  common = errors.factors.T @ local.factors
  away = jnp.concatenate([place, normal, mesh]).reshape(-1) - told.reshape(-1)
  away = away + scale * (bias + common)
  slopes = jnp.concatenate([by_place, by_normal, by_mesh]).reshape(len(away), -1)
  by_identity = slopes[:, 7 : 7 + k] + scale[:, None] * errors.shrinkage.T
  by_local = jnp.concatenate(
    [slopes[:, :7], slopes[:, 7 + k :], scale[:, None] * errors.factors.T], 1
  )
  share = weight / (scale * jnp.sqrt(errors.variance))
  return Rows(share * away, share[:, None] * by_identity, share[:, None] * by_local)


def scales(
  anchors: Anchors, observed: Observed
) -> tuple[Float[Array, " q"], Float[Array, " q"]]:
  """Returns the unit of the error of each number, and 1 where a number is known."""
  m = len(anchors.mesh)
  place, normal = observed.deviations[:, 0], observed.deviations[:, 1]
  unit = jnp.concatenate([place, normal, jnp.full(m, _MESH_UNIT)])
  known = jnp.full(m, observed.mesh_seen)
  seen = jnp.concatenate([observed.seen, observed.seen, known])
  return jnp.repeat(unit, 2), jnp.repeat(seen, 2)


def _seen(
  mean: Float[Array, "p 3"],
  modes: Float[Array, "p 3 d"],
  values: Float[Array, " d"],
  local: Local,
  distance: Float[Array, ""],
) -> tuple[Float[Array, "p 2"], Float[Array, "p 2 n"]]:
  """Returns places of points in the photo; derivatives by pose, distance and modes."""
  turned = (mean + modes @ values) @ local.turn.T
  world = turned + local.shift[None]
  depth = jnp.maximum(distance - world[:, 2], _NEAREST)
  larger = distance / depth
  place = larger[:, None] * world[:, :2]
  none = jnp.zeros_like(larger)
  by_world = jnp.stack(
    [
      jnp.stack([larger, none, place[:, 0] / depth], -1),
      jnp.stack([none, larger, place[:, 1] / depth], -1),
    ],
    1,
  )
  by_distance = place * (1 - larger)[:, None]
  by_values = jnp.einsum("pij,jk,pkd->pid", by_world, local.turn, modes)
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], by_world.shape), by_world)
  slopes = jnp.concatenate([by_turn, by_world, by_distance[..., None], by_values], -1)
  return place, slopes


def _normals(
  anchors: Anchors, values: Float[Array, " d"], local: Local
) -> tuple[Float[Array, "a 2"], Float[Array, "a 2 n"]]:
  """Returns x and y of the normals in camera space, and their derivatives."""
  normal = anchors.normals + anchors.normal_modes @ values
  length = jnp.linalg.norm(normal, axis=1, keepdims=True)
  normal = normal / length
  turned = normal @ local.turn.T
  along = jnp.einsum("pk,pkd->pd", normal, anchors.normal_modes)
  moved = (anchors.normal_modes - normal[..., None] * along[:, None]) / length[
    ..., None
  ]
  by_values = jnp.einsum("ij,pjd->pid", local.turn[:2], moved)
  axes = jnp.broadcast_to(jnp.eye(3)[None, :2], (len(normal), 2, 3))
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], axes.shape), axes)
  none = jnp.zeros((len(normal), 2, 4))
  return turned[:, :2], jnp.concatenate([by_turn, none, by_values], -1)


def moved(local: Local, step: Float[Array, " l"]) -> Local:
  """Returns the state after a step."""
  from affjax.faces import _pose

  e = len(local.expression)
  return Local(
    _pose.turned(local.turn, step[:3]),
    local.shift + step[3:6],
    local.distance + jnp.clip(step[6], -0.3, 0.3),
    jnp.clip(local.expression + step[7 : 7 + e], 0, 1),
    local.factors + step[7 + e :],
  )
