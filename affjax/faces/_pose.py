"""The pose in which 3D points project onto given pixels, of many heads at once.

Levenberg-Marquardt with a soft L1 loss, in NumPy: a step of all heads is a handful of
operations on small arrays.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.types import Camera

# Yaws to start from, degrees: from a far start the fit may end in a mirrored pose.
_STARTS_DEG = (0.0, -40.0, 40.0)
# From this part of the image's size on, a landmark's error counts linearly only.
_OUTLIER = 0.02
# A point may not come nearer to the camera than this, dm, though a fit may try.
NEAREST = 0.1
# A fit ends when no part of a step is larger, rad or dm.
_STEPS, _SMALL = 60, 1e-6


class _Poses(NamedTuple):
  """Rotation matrices `[B, 3, 3]` and translations `[B, 3]`."""

  turn: np.ndarray
  shift: np.ndarray


class _Problems(NamedTuple):
  points: np.ndarray  # [K, 3] head space
  px: np.ndarray  # [B, K, 2]
  share: np.ndarray  # [K, 1] root of the weight, per px
  distance: float
  focal: float  # px
  middle: float  # px


def solve(
  points: Float[np.ndarray, "k 3"],
  points_px: Float[np.ndarray, "n k 2"],
  camera: Camera,
  size: int,
  weights: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "n 6"]:
  """Least squares under perspective with a soft L1 loss, the best of three starts.

  Args:
    points: in head space, dm.
    points_px: where each head's are seen, (x, y) in px of a square image.
    camera: of the images.
    size: width and height of the images, px.
    weights: of the points.

  Returns:
    Axis-angle rotation and translation (dm), as `geometry.camera.head_to_world` takes.
  """
  count, starts = len(points_px), len(_STARTS_DEG)
  if not count:
    return np.zeros((0, 6))
  focal = size / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  share = np.sqrt(weights)[:, None] / (_OUTLIER * size)
  problems = _Problems(
    points, np.repeat(points_px, starts, 0), share, camera.distance, focal,
    (size - 1) / 2,
  )  # fmt: skip
  poses, cost = _descend(problems, _starts(problems, starts))
  best = cost.reshape(count, starts).argmin(1) + starts * np.arange(count)
  turns = Rotation.from_matrix(poses.turn[best]).as_rotvec()
  return np.concatenate([turns.reshape(-1, 3), poses.shift[best]], 1)


def _starts(problems: _Problems, count: int) -> _Poses:
  """First guesses: size and place from the spread of the points, three yaws."""
  points, px, focal = problems.points, problems.px, problems.focal
  center = px.mean(1)
  spread = np.linalg.norm(px - center[:, None], axis=-1).mean(1)
  actual = np.linalg.norm((points - points.mean(0))[:, :2], axis=1).mean()
  depth = (focal * actual / np.maximum(spread, 1e-6))[:, None]
  shift = (center - problems.middle) * [1, -1] * depth / focal
  place = np.concatenate([shift, problems.distance - depth], 1)
  turn = Rotation.from_euler(
    "y", np.array(_STARTS_DEG)[:, None], degrees=True
  ).as_matrix()
  turn = np.tile(turn, (len(px) // count, 1, 1))
  return _Poses(turn, place - turn @ points.mean(0))


def _descend(problems: _Problems, poses: _Poses) -> tuple[_Poses, np.ndarray]:
  """The poses of least cost near given ones, and the costs `[B]`."""
  turned, residual = _look(problems, poses)
  cost = _cost(residual)
  damping = np.full(len(cost), 1e-2)
  going = np.arange(len(cost))
  for _ in range(_STEPS):
    step = _step(problems, poses, turned, residual, damping, going)
    trial = _moved(poses, going, step)
    part = problems._replace(px=problems.px[going])
    new_turned, new_residual = _look(part, trial)
    new_cost = _cost(new_residual)
    better = new_cost < cost[going]
    damping[going] *= np.where(better, 0.2, 6.0)
    done, chosen = going[better], better
    poses.turn[done], poses.shift[done] = trial.turn[chosen], trial.shift[chosen]
    turned[done], residual[done] = new_turned[chosen], new_residual[chosen]
    cost[done] = new_cost[chosen]
    going = going[np.abs(step).max(1) > _SMALL]
    if not len(going):
      break
  return poses, cost


def _look(problems: _Problems, poses: _Poses) -> tuple[np.ndarray, np.ndarray]:
  """Turned points `[B, K, 3]` and residuals `[B, K, 2]` in units of an outlier."""
  turned = problems.points @ np.swapaxes(poses.turn, 1, 2)
  return turned, (
    _project(turned, poses.shift, problems) - problems.px
  ) * problems.share


def _project(turned, shift, problems: _Problems) -> np.ndarray:
  """Turned points in px; agrees with `geometry.camera`."""
  world = turned + shift[:, None]
  # Behind the camera there is no picture, but a fit may stray there on its way.
  depth = np.maximum(problems.distance - world[..., 2:], NEAREST)
  return problems.focal * world[..., :2] * [1, -1] / depth + problems.middle


def _cost(residual: np.ndarray) -> np.ndarray:
  return 2 * np.sum(np.sqrt(1 + residual**2) - 1, (1, 2))


def _step(problems, poses, turned, residual, damping, going) -> np.ndarray:
  """Steps `[G, 6]` of the poses that still go on: rotation on the left, translation."""
  rows, residual = turned[going], residual[going]
  world = rows + poses.shift[going][:, None]
  depth = problems.distance - world[..., 2]
  free = depth > NEAREST
  depth = np.maximum(depth, NEAREST)
  scale = problems.focal / depth
  # Of px (x, y) by world (x, y, z).
  zero = np.zeros_like(depth)
  pull = free * scale / depth
  by_world = np.stack([
    np.stack([scale, zero, pull * world[..., 0]], -1),
    np.stack([zero, -scale, -pull * world[..., 1]], -1),
  ], -2)  # fmt: skip
  # A small rotation by d moves a turned point p by d x p: row g of it gives p x g.
  by_turn = np.cross(rows[:, :, None], by_world)
  jacobian = np.concatenate([by_turn, by_world], -1) * problems.share[..., None]
  jacobian = jacobian.reshape(len(rows), -1, 6)
  flat = residual.reshape(len(rows), -1)
  root = np.sqrt(1 + flat**2)
  gradient = np.einsum("bka,bk->ba", jacobian, flat / root)
  # Of the loss's second derivative: near the end the steps are Newton's.
  weighted = jacobian / root[..., None] ** 3
  hessian = np.swapaxes(weighted, 1, 2) @ jacobian
  diagonal = np.einsum("baa->ba", hessian)
  lift = damping[going][:, None] * diagonal + 1e-9 * diagonal.max(1, keepdims=True)
  hessian = hessian + np.eye(6) * (lift + 1e-300)[:, None]
  return -np.linalg.solve(hessian, gradient[..., None])[..., 0]


def _moved(poses: _Poses, going: np.ndarray, step: np.ndarray) -> _Poses:
  # A step may not turn further than it is good for.
  angle = np.linalg.norm(step[:, :3], axis=1, keepdims=True)
  step = step * np.minimum(1, 0.8 / np.maximum(angle, 1e-12))
  turn = Rotation.from_rotvec(step[:, :3]).as_matrix() @ poses.turn[going]
  return _Poses(turn, poses.shift[going] + step[:, 3:])
