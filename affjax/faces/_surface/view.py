"""Where the camera sees a head: pose and distance of the camera."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces import _pose
from affjax.types import ArrayLike, Camera

# Prior mean and deviation of the logarithm of the camera's distance (dm), and bounds.
DISTANCE, _DISTANCE_DEVIATION = 2.1, 0.35
NEAREST, FARTHEST = math.log(3.0), math.log(14.0)
# Least depth of a point before the camera, dm.
_LEAST_DEPTH = 0.1
# Deviation of a measured place, dm, and how many independent places a face has.
_PLACE, _INDEPENDENT = 0.02, 20.0


class View(NamedTuple):
  """Pose of a head and distance of the camera; the size in the photo is fixed.

  Attributes:
    turn: Rotation matrix.
    shift: Translation, dm.
    distance: Logarithm of the camera's distance from the origin in dm. The size of the
      head in the photo does not depend on it.
  """

  turn: Float[ArrayLike, "*n 3 3"]
  shift: Float[ArrayLike, "*n 3"]
  distance: Float[ArrayLike, "*n"]


def half_side(camera: Camera) -> float:
  """Returns half the side of a photo at the distance of the head's origin, dm."""
  return camera.distance * math.tan(math.radians(camera.fov_deg) / 2)


def places_px(
  places: Float[Array, "*n 2"], camera: Camera, size: int
) -> Float[Array, "*n 2"]:
  """Returns the px of places in a photo of `size` px."""
  scale = size / (2 * half_side(camera))
  return jnp.stack([scale * places[..., 0], -scale * places[..., 1]], -1) + (
    (size - 1) / 2
  )


def world(points: Float[ArrayLike, "p 3"], view: View) -> Float[Array, "p 3"]:
  """Returns points of a head in world space, dm."""
  return jnp.asarray(points) @ view.turn.T + view.shift[None]


def places(points: Float[ArrayLike, "p 3"], view: View) -> Float[Array, "p 2"]:
  """Returns where points of a head lie in the photo.

  Returns:
    Places in dm at the distance of the head's origin, from the middle, y up.
  """
  turned, distance = world(points, view), jnp.exp(view.distance)
  depth = jnp.maximum(distance - turned[:, 2:], _LEAST_DEPTH)
  return turned[:, :2] * distance / depth


def moved(view: View, step: Float[Array, " 7"]) -> View:
  """Returns a view after a step: a rotation on the left, then a translation."""
  pose = _pose.moved(
    _pose.Rigid(jnp.asarray(view.turn), jnp.asarray(view.shift)), step[:6]
  )
  distance = view.distance + jnp.clip(step[6], -0.5, 0.5)
  return View(pose.turn, pose.shift, jnp.clip(distance, NEAREST, FARTHEST))


def slopes(points: Float[ArrayLike, "p 3"], view: View) -> Float[Array, "p 2 7"]:
  """Returns derivatives of `places` by the steps of `moved`."""
  turned, distance = points @ view.turn.T, jnp.exp(view.distance)
  depth = jnp.maximum(distance - turned[:, 2] - view.shift[2], _LEAST_DEPTH)
  larger, none = distance / depth, jnp.zeros_like(depth)
  place = places(points, view)
  rows = [
    jnp.stack([larger, none, place[:, 0] / depth], -1),
    jnp.stack([none, larger, place[:, 1] / depth], -1),
  ]
  by_shift = jnp.stack(rows, 1)
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], by_shift.shape), by_shift)
  by_distance = place * (1 - larger)[:, None]
  return jnp.concatenate([by_turn, by_shift, by_distance[..., None]], -1)


def trust(weight: Float[ArrayLike, " p"]) -> Float[Array, " p"]:
  """Returns the inverse deviations of places, 1/dm, from weights of any scale."""
  total = jnp.maximum(weight.sum(), 1e-6)
  return jnp.sqrt(weight * _INDEPENDENT / total) / _PLACE


def settled(
  points: Float[ArrayLike, "p 3"],
  target: Float[ArrayLike, "p 2"],
  weight: Float[ArrayLike, " p"],
  start: View,
  *,
  fixed: bool = False,
  steps: int = 4,
) -> View:
  """Returns the view in which points lie best at given places.

  Args:
    points: Points of the head, dm.
    target: Their places, as `places` returns them.
    weight: Weight of each place, of any scale.
    start: Where the Gauss-Newton steps begin.
    fixed: Whether the distance of the camera stays that of `start`.
    steps: Number of steps.
  """
  root = trust(weight)[:, None]
  stiff = 1e6 if fixed else _DISTANCE_DEVIATION**-2
  middle = start.distance if fixed else jnp.asarray(DISTANCE)
  prior = jnp.diag(jnp.array([1.0] * 6 + [stiff]))

  def body(_, view: View) -> View:
    slope = (slopes(points, view) * root[..., None]).reshape(-1, 7)
    error = ((target - places(points, view)) * root).reshape(-1)
    right = slope.T @ error
    right = right.at[6].add(stiff * (middle - view.distance))
    return moved(view, jnp.linalg.solve(slope.T @ slope + prior, right))

  found = jax.lax.fori_loop(0, steps, body, start)
  return found._replace(distance=start.distance) if fixed else found
