"""The pose in which 3D points project onto given pixels, of many heads at once."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from affjax import compilation
from affjax.faces import _least_squares
from affjax.geometry import rotation
from affjax.geometry.camera import clip_to_ndc, focal_ndc, world_to_clip
from affjax.heads import landmarks
from affjax.types import Camera

# The jaw's landmarks slide along the outline as the head turns.
_JAW_WEIGHT = 0.2
# Distance from the camera, dm, below which a descent sees no point.
NEAREST = 0.1
# Yaws that a descent starts from: from a far start it may end in a mirrored pose.
_STARTS_DEG = (0.0, -40.0, 40.0)
# Largest rotation by one step, radians: the linearization is worthless beyond it.
_LARGEST_TURN = 0.6
# Part of the image's half side from which on an error counts linearly only.
_OUTLIER = 0.04
# Number of steps, and the largest step, rad or dm, with which a descent ends.
_STEPS, _TOLERANCE = 60, 1e-6


class Rigid(NamedTuple):
  """A pose as a descent moves it: rotation matrix and translation (dm)."""

  turn: Float[Array, "*b 3 3"]
  shift: Float[Array, "*b 3"]


class Poses(NamedTuple):
  """Poses of heads.

  Attributes:
    vectors: Axis-angle rotations and translations (dm).
    origins: Image coordinates in [-1, 1] of the head's origin.
  """

  vectors: Float[np.ndarray, "n 6"]
  origins: Float[np.ndarray, "n 2"]


def solve_pose(
  points: np.ndarray,
  points_px: np.ndarray,
  camera: Camera,
  size: int,
  *,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, " 6"]:
  """Returns the pose of one head, as `solve_poses` does for many."""
  many = np.asarray(points_px, float)[None]
  return solve_poses(points, many, camera, size, weights=weights)[0]


def solve_poses(
  points: np.ndarray,
  points_px: np.ndarray,
  camera: Camera,
  size: int,
  *,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, "n 6"]:
  """Returns the poses in which 3D points project onto given pixels, robustly.

  The poses have the least soft L1 loss under perspective, the best of three starts.

  Args:
    points: Points `[K, 3]` in head space, dm.
    points_px: Places (x, y) `[N, K, 2]` of each head's points, px of a square image.
    camera: Camera of the images.
    size: Width and height of the images, px.
    weights: Weights of the points; by default 1, and 0.2 for the jaw of 68 landmarks.

  Returns:
    Axis-angle rotations and translations (dm), as `geometry.camera.head_to_world`
    takes them.

  Raises:
    ValueError: There are fewer than four points, shapes differ, or coordinates are not
      finite.
  """
  return solve(points, points_px, camera, size, weights).vectors


def solve(
  points: np.ndarray,
  points_px: np.ndarray,
  camera: Camera,
  size: int,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Poses:
  """Returns what `solve_poses` returns, and where the heads' origins are seen."""
  points, points_px = np.asarray(points, float), np.asarray(points_px, float)
  if (
    points.shape[1:] != (3,)
    or points_px.shape[1:] != (len(points), 2)
    or len(points) < 4
  ):
    raise ValueError(
      "points and points_px must be [K >= 4, 3] and [N, K, 2], got "
      f"{points.shape} and {points_px.shape}"
    )
  if not (np.isfinite(points).all() and np.isfinite(points_px).all()):
    raise ValueError("points and points_px must be finite, got NaN or infinity")
  if weights is None:
    weights = np.ones(len(points))
    if len(points) == 68:
      weights[landmarks.JAW] = _JAW_WEIGHT
  if not len(points_px):
    return Poses(np.zeros((0, 6)), np.zeros((0, 2)))
  # In double precision a pose does not depend on which others are solved with it.
  with jax.enable_x64(True):
    run = functools.partial(_solve, points, weights, camera=camera)
    found = _least_squares.in_chunks(run, ndc_of_px(points_px, size))
  turn, shift, origins = found
  return Poses(vectors(turn, shift), origins)


@compilation.saved(static_argnames=("camera",))
def _solve(
  points: Float[Array, "k 3"],
  weights: Float[Array, " k"],
  target: Float[Array, "n k 2"],
  *,
  camera: Camera,
) -> tuple[Float[Array, "n 3 3"], Float[Array, "n 3"], Float[Array, "n 2"]]:
  def one(target: Float[Array, "k 2"]):
    def linearize(pose: Rigid):
      ndc, slopes = see(points @ pose.turn.T, pose.shift, camera)
      share = jnp.sqrt(weights)[:, None] / _OUTLIER
      rows, slopes = (ndc - target) * share, slopes * share[..., None]
      return rows.reshape(-1), slopes.reshape(-1, 6)

    def descend(start: Rigid):
      return _least_squares.minimize(
        linearize, _least_squares.soft_l1, moved, start,
        steps=_STEPS, tolerance=_TOLERANCE,
      )  # fmt: skip

    found = jax.vmap(descend)(starts(points, target, weights, camera))
    pose = jax.tree.map(lambda values: values[found.cost.argmin()], found.state)
    return *pose, project(pose.shift, camera)

  return jax.vmap(one)(target)


def vectors(
  turn: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "n 6"]:
  """Returns axis-angle rotations and translations of poses."""
  return np.concatenate([Rotation.from_matrix(turn).as_rotvec(), shift], 1)


def ndc_of_px(
  px: Float[np.ndarray, "*b 2"], size: int | Float[np.ndarray, "*#b 1"]
) -> Float[np.ndarray, "*b 2"]:
  """Returns image coordinates in [-1, 1] of pixels of a square image."""
  return (px + 0.5) * (2 / size) - 1


def project(points: Float[Array, "*b 3"], camera: Camera) -> Float[Array, "*b 2"]:
  """Returns image coordinates in [-1, 1] of points in world space.

  Points behind the camera are brought before it: a descent may stray there on its way.
  """
  z = jnp.minimum(points[..., 2:], camera.distance - NEAREST)
  visible = jnp.concatenate([points[..., :2], z], -1)
  return clip_to_ndc(world_to_clip(visible, camera))[..., :2]


def see(
  turned: Float[Array, "k 3"], shift: Float[Array, " 3"], camera: Camera
) -> tuple[Float[Array, "k 2"], Float[Array, "k 2 6"]]:
  """Returns image coordinates in [-1, 1] of points, and derivatives by the pose.

  Args:
    turned: Points in head space after the rotation of the pose, dm.
    shift: Translation of the pose, dm.
    camera: Camera of the image.

  Returns:
    The coordinates, and their derivatives by the components of a step, see `moved`.
  """
  both = lambda point: (project(point, camera),) * 2
  slopes, ndc = jax.vmap(jax.jacfwd(both, has_aux=True))(turned + shift[None])
  # A small rotation by d moves a point p by d x p: a row g of the slopes gives p x g.
  by_turn = jnp.cross(jnp.broadcast_to(turned[:, None], slopes.shape), slopes)
  return ndc, jnp.concatenate([by_turn, slopes], -1)


def starts(
  points: Float[Array, "k 3"],
  target: Float[Array, "k 2"],
  weights: Float[Array, " k"],
  camera: Camera,
) -> Rigid:
  """Returns poses to start from: three yaws, and roll, size and place of the points.

  The roll is that of the similarity which brings the points nearest to the target:
  from an upright start a descent does not find a head that is upside down.

  Args:
    points: Points in head space, dm.
    target: Image coordinates in [-1, 1] of the points.
    weights: Weights of the points.
    camera: Camera of the image.
  """
  share = weights / weights.sum()
  middle, center = share @ points, share @ target
  flat, aim = (points - middle[None])[:, :2], (target - center[None])
  actual = share @ jnp.linalg.norm(flat, axis=-1)
  seen = share @ jnp.linalg.norm(aim, axis=-1)
  focal = focal_ndc(camera)
  depth = focal * actual / jnp.maximum(seen, 1e-6)
  side = center * jnp.array([1, -1]) * depth / focal
  place = jnp.append(side, camera.distance - depth)
  yaws = Rotation.from_euler("y", np.array(_STARTS_DEG)[:, None], degrees=True)
  # Image y points down.
  x, y = flat.T @ (share[:, None] * aim * jnp.array([[1, -1]]))
  roll = jnp.arctan2(x[1] - y[0], x[0] + y[1])
  upright = jnp.asarray(yaws.as_matrix(), points.dtype)
  turn = rotation.axis_angle_to_matrix(roll * jnp.array([0.0, 0.0, 1.0])) @ upright
  return Rigid(turn, place[None] - turn @ middle)


def moved(pose: Rigid, step: Float[Array, " 6"]) -> Rigid:
  """Returns the pose after a step: a rotation on the left, then a translation."""
  return Rigid(turned(pose.turn, step[:3]), pose.shift + step[3:])


def turned(turn: Float[Array, "3 3"], step: Float[Array, " 3"]) -> Float[Array, "3 3"]:
  """Returns a rotation matrix after a rotation by an axis-angle vector, shortened."""
  long = jnp.maximum(jnp.linalg.norm(step), _LARGEST_TURN)
  return rotation.axis_angle_to_matrix(step * (_LARGEST_TURN / long)) @ turn
