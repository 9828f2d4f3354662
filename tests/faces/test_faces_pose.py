"""Poses of many heads against SciPy's optimizer, one head and one start at a time."""

import math

import numpy as np
import pytest
from scipy import optimize
from scipy.spatial.transform import Rotation

from affjax.faces import (
  Face,
  _pose,
  face_crop,
  face_crops,
  mean_landmarks,
  solve_pose,
  solve_poses,
  warp,
)
from affjax.heads import open_head
from affjax.types import Camera

TEMPLATE, CAMERA, SIZE = open_head("embedded").template, Camera(), 256
POINTS = mean_landmarks(TEMPLATE)
WEIGHTS = np.where(np.arange(68) < 17, 0.2, 1.0)


def _project(poses, points=POINTS):
  """Projects points to px of the standard camera, `[N, K, 2]`."""
  focal = SIZE / 2 / math.tan(math.radians(CAMERA.fov_deg) / 2)
  world = np.stack([Rotation.from_rotvec(p[:3]).apply(points) + p[3:] for p in poses])
  depth = np.maximum(CAMERA.distance - world[..., 2:], 0.1)
  return focal * world[..., :2] * [1, -1] / depth + (SIZE - 1) / 2


def _residual(found, px):
  share = np.sqrt(WEIGHTS)[:, None] / (0.02 * SIZE)
  return ((_project(found[None])[0] - px) * share).reshape(-1)


def _cost(found, px):
  return 2 * np.sum(np.sqrt(1 + _residual(found, px) ** 2) - 1)


def _people(count, noise_px, seed=0):
  rng = np.random.default_rng(seed)
  angles = rng.uniform(-1, 1, (count, 3)) * [70, 30, 40]
  turns = Rotation.from_euler("YXZ", angles, degrees=True).as_rotvec()
  poses = np.concatenate([turns, rng.uniform(-1, 1, (count, 3)) * [0.3, 0.3, 2]], 1)
  px = _project(poses) + noise_px * rng.standard_normal((count, 68, 2))
  px[:, rng.integers(17, 68)] += 40  # one is plainly wrong
  return poses, px


def test_no_start_of_scipys_gives_a_lower_cost():
  poses, px = _people(12, 3.0)
  found = _pose.solve_poses(POINTS, px, CAMERA, SIZE, weights=WEIGHTS)
  for one, own, truth in zip(found, px, poses, strict=True):
    starts = [truth] + [
      np.concatenate([Rotation.from_euler("y", yaw, degrees=True).as_rotvec(), [0] * 3])
      for yaw in (0, -40, 40)
    ]
    fits = [
      optimize.least_squares(_residual, start, args=(own,), loss="soft_l1", xtol=1e-12)
      for start in starts
    ]
    best = min(fits, key=lambda fit: fit.cost)
    assert _cost(one, own) <= _cost(best.x, own) + 1e-6
    if _cost(best.x, own) > _cost(one, own) - 1e-6:
      np.testing.assert_allclose(_project(one[None]), _project(best.x[None]), atol=0.02)


def test_exact_landmarks_give_the_exact_pose():
  poses, px = _people(20, 0.0, seed=1)
  px = _project(poses)
  found = _pose.solve_poses(POINTS, px, CAMERA, SIZE, weights=WEIGHTS)
  np.testing.assert_allclose(found, poses, atol=1e-5)


def test_many_are_as_one_by_one():
  _, px = _people(9, 2.0, seed=2)
  found = solve_poses(POINTS, px, CAMERA, SIZE)
  singles = [solve_pose(POINTS, one, CAMERA, SIZE) for one in px]
  np.testing.assert_allclose(found, singles, atol=1e-9)
  assert solve_poses(POINTS, px[:0], CAMERA, SIZE).shape == (0, 6)


def test_fewer_points_and_weights():
  """Landmarks of weight zero do not count, however wrong they are."""
  poses, _ = _people(5, 0.0, seed=3)
  px = _project(poses)
  px[:, :17] = 0
  weights = np.where(np.arange(68) < 17, 0.0, 1.0)
  found = solve_poses(POINTS, px, CAMERA, SIZE, weights=weights)
  np.testing.assert_allclose(found, poses, atol=1e-4)
  part = solve_poses(POINTS[17:], px[:, 17:], CAMERA, SIZE)
  np.testing.assert_allclose(part, poses, atol=1e-4)


@pytest.mark.parametrize("px", [
  np.zeros((68, 2)),  # all in one place
  np.full((68, 2), 1e6),  # far outside
  np.stack([np.arange(68.0), np.zeros(68)], 1),  # on a line
  np.random.default_rng(0).normal(size=(68, 2)) * 1e4,
])  # fmt: skip
def test_degenerate_landmarks_give_numbers(px):
  assert np.isfinite(solve_pose(POINTS, px, CAMERA, SIZE)).all()
  face = Face(np.zeros(4), 1.0, np.zeros((468, 3)), px)
  assert np.isfinite(face_crop(face, TEMPLATE, CAMERA, SIZE).matrix).all()


def test_crops_of_many_faces_are_as_one_by_one():
  _, px = _people(6, 2.0, seed=4)
  faces = [Face(np.zeros(4), 1.0, np.zeros((468, 3)), 3 * one + 50) for one in px]
  many = face_crops(faces, TEMPLATE, CAMERA, SIZE)
  corners = np.array([[0.0, 0], [900, 700]])
  for face, placed in zip(faces, many, strict=True):
    alone = face_crop(face, TEMPLATE, CAMERA, SIZE)
    a, b = (warp.transform(c.matrix, corners) for c in (placed, alone))
    np.testing.assert_allclose(a, b, atol=1e-6)
  assert face_crops([], TEMPLATE, CAMERA, SIZE) == []


def test_the_mean_landmarks_are_the_templates():
  expected = TEMPLATE.landmark_positions(TEMPLATE.vertices)
  np.testing.assert_allclose(POINTS, expected, atol=1e-6)
