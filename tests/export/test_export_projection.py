"""The written matrices agree with the camera that training uses."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax import types
from affjax.export import _projection
from affjax.geometry import camera as cameras
from affjax.geometry import rotation

CAMERA = types.Camera()
POSE = np.array([0.2, -0.5, 0.3, 0.1, -0.2, 0.4])


def _points(count=20):
  return np.random.default_rng(0).normal(size=(count, 3))


def test_crop_pixels_agree_with_the_camera():
  points = _points()
  world = cameras.head_to_world(jnp.asarray(points, jnp.float32), jnp.asarray(POSE))
  expected = cameras.world_to_px(world, CAMERA, 64, 64)
  matrix = _projection.head_to_photo(POSE, CAMERA, crop=np.eye(2, 3), crop_size=64)
  got = _projection.project(points, matrix)
  np.testing.assert_allclose(got, expected, atol=2e-3)
  # The third row is the distance from the camera.
  depth = points @ matrix[2, :3] + matrix[2, 3]
  np.testing.assert_allclose(depth, 10 - np.asarray(world[:, 2]), atol=1e-4)


def test_photo_pixels_go_through_the_crop():
  points = _points()
  crop = np.array([[0.4, -0.1, 7], [0.1, 0.4, -9]])
  plain = _projection.head_to_photo(POSE, CAMERA, crop=np.eye(2, 3), crop_size=64)
  matrix = _projection.head_to_photo(POSE, CAMERA, crop=crop, crop_size=64)
  photo = _projection.project(points, matrix)
  back = photo @ crop[:, :2].T + crop[:, 2]
  np.testing.assert_allclose(back, _projection.project(points, plain), atol=1e-9)


def test_clip_space_agrees_with_the_camera():
  points = _points()
  world = cameras.head_to_world(jnp.asarray(points, jnp.float32), jnp.asarray(POSE))
  expected = cameras.world_to_clip(world, CAMERA)
  matrix = _projection.head_to_photo(POSE, CAMERA, crop=np.eye(2, 3), crop_size=64)
  np.testing.assert_allclose(
    _projection.to_clip(points, matrix, CAMERA, 64), expected, atol=1e-3
  )


def test_scaling_counts_in_pixel_edges():
  matrix = _projection.head_to_photo(POSE, CAMERA, crop=np.eye(2, 3), crop_size=64)
  px = _projection.project(_points(), matrix)
  got = _projection.project(_points(), _projection.scaled(matrix, 3, (10, 20)))
  np.testing.assert_allclose(got + 0.5, 3 * (px + 0.5 - [10, 20]))


@pytest.mark.parametrize("angles", [(30.0, -10.0, 15.0), (0.0, 0.0, 0.0)])
def test_angles_are_those_of_geometry(angles):
  vector = rotation.euler_deg_to_axis_angle(*(jnp.float32(a) for a in angles))
  matrix = _projection.rigid(np.concatenate([vector, np.zeros(3)]))[:3, :3]
  np.testing.assert_allclose(_projection.yaw_pitch_roll_deg(matrix), angles, atol=1e-3)


def test_the_turn_of_the_crop_is_undone():
  # A photo turned clockwise by 20 degrees: the crop turns it back.
  a = np.radians(20)
  crop = 0.5 * np.array([[np.cos(a), np.sin(a), 3], [-np.sin(a), np.cos(a), 4]])
  matrix = _projection.photo_rotation(np.zeros(6), crop)
  yaw, pitch, roll = _projection.yaw_pitch_roll_deg(matrix)
  np.testing.assert_allclose([yaw, pitch, roll], [0, 0, -20], atol=1e-9)
  # The photo shows the head's up axis where the projection puts it.
  full = _projection.head_to_photo(np.zeros(6), CAMERA, crop=crop, crop_size=64)
  low, high = _projection.project(np.array([[0.0, 0, 0], [0, 1, 0]]), full)
  up = (high - low) * [1, -1]
  np.testing.assert_allclose(up / np.linalg.norm(up), matrix[:2, 1], atol=1e-9)
