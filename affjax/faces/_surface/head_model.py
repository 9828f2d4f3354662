"""The numbers that a photo of a head should give, and their derivatives."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces import _pose
from affjax.faces._surface.anchors import Anchors
from affjax.faces._surface.votes import Observed

# Least distance of a point from the camera, dm.
_NEAREST = 0.1
# Unit of FaceMesh's errors, dm.
_MESH_UNIT = 0.01
# Number of components of a step of a `View`.
VIEW = 7


class View(NamedTuple):
  """Pose of a head and distance of the camera; the size in the photo is fixed.

  Attributes:
    turn: Rotation matrix.
    shift: Translation, dm.
    distance: Logarithm of the camera's distance from the origin in dm. The size of the
      head in the photo does not depend on it.
  """

  turn: Float[Array, "*n 3 3"]
  shift: Float[Array, "*n 3"]
  distance: Float[Array, "*n"]


def moved(view: View, step: Float[Array, " 7"]) -> View:
  """Returns a view after a step: a rotation on the left, then a translation."""
  pose = _pose.moved(_pose.Rigid(view.turn, view.shift), step[:6])
  return View(pose.turn, pose.shift, view.distance + jnp.clip(step[6], -0.5, 0.5))


def numbers(
  anchors: Anchors, face: Float[Array, " d"], view: View
) -> tuple[Float[Array, " q"], Float[Array, "q n"]]:
  """Returns the Q numbers of a face, and derivatives by view and components."""
  place, by_place = seen(anchors.points, anchors.modes, face, view)
  mesh, by_mesh = seen(anchors.mesh, anchors.mesh_modes, face, view)
  normal, by_normal = _normals(anchors, face, view)
  values = jnp.concatenate([place, normal, mesh]).reshape(-1)
  slopes = jnp.concatenate([by_place, by_normal, by_mesh])
  return values, slopes.reshape(len(values), -1)


def told(observed: Observed) -> Float[Array, " q"]:
  """Returns the Q numbers that a photo says."""
  parts = [observed.places, observed.normals[:, :2], observed.mesh]
  return jnp.concatenate(parts).reshape(-1)


def scales(observed: Observed) -> tuple[Float[Array, " q"], Float[Array, " q"]]:
  """Returns the unit of the error of each number, and 1 where a number is known."""
  m = len(observed.mesh)
  place, normal = observed.deviations[:, 0], observed.deviations[:, 1]
  unit = jnp.concatenate([place, normal, jnp.full(m, _MESH_UNIT)])
  known = jnp.full(m, observed.mesh_seen)
  known = jnp.concatenate([observed.seen, observed.seen, known])
  return jnp.repeat(unit, 2), jnp.repeat(known, 2)


def seen(
  mean: Float[Array, "p 3"],
  modes: Float[Array, "p 3 d"],
  face: Float[Array, " d"],
  view: View,
) -> tuple[Float[Array, "p 2"], Float[Array, "p 2 n"]]:
  """Returns places of points in the photo, and derivatives by view and components."""
  distance = jnp.exp(view.distance)
  turned = (mean + modes @ face) @ view.turn.T
  world = turned + view.shift[None]
  depth = jnp.maximum(distance - world[:, 2], _NEAREST)
  larger = distance / depth
  place = larger[:, None] * world[:, :2]
  none = jnp.zeros_like(larger)
  rows = [
    jnp.stack([larger, none, place[:, 0] / depth], -1),
    jnp.stack([none, larger, place[:, 1] / depth], -1),
  ]
  by_world = jnp.stack(rows, 1)
  by_distance = place * (1 - larger)[:, None]
  by_face = jnp.einsum("pij,pjd->pid", by_world @ view.turn, modes)
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], by_world.shape), by_world)
  slopes = jnp.concatenate([by_turn, by_world, by_distance[..., None], by_face], -1)
  return place, slopes


def _normals(
  anchors: Anchors, face: Float[Array, " d"], view: View
) -> tuple[Float[Array, "a 2"], Float[Array, "a 2 n"]]:
  """Returns x and y of the normals in camera space, and their derivatives."""
  normal = anchors.normals + anchors.normal_modes @ face
  length = jnp.linalg.norm(normal, axis=1, keepdims=True)
  normal = normal / length
  turned = normal @ view.turn.T
  along = jnp.einsum("pk,pkd->pd", normal, anchors.normal_modes)
  change = anchors.normal_modes - normal[..., None] * along[:, None]
  by_face = jnp.einsum("ij,pjd->pid", view.turn[:2], change / length[..., None])
  axes = jnp.broadcast_to(jnp.eye(3)[None, :2], (len(normal), 2, 3))
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], axes.shape), axes)
  none = jnp.zeros((len(normal), 2, 4))
  return turned[:, :2], jnp.concatenate([by_turn, none, by_face], -1)
