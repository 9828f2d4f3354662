"""Crops of heads that a known camera projected, and warps of pictures known exactly."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import (
  Crop,
  Face,
  face_crop,
  initial_pose,
  inside_photo,
  mean_landmarks,
  warp,
)
from affjax.geometry import camera as cameras
from affjax.geometry import rotation
from affjax.heads import open_head
from affjax.types import Camera

TEMPLATE, CAMERA, SIZE = open_head("embedded").template, Camera(), 256


def _pose(yaw, pitch, roll):
  angles = (jnp.float32(angle) for angle in (yaw, pitch, roll))
  turn = np.asarray(rotation.euler_deg_to_axis_angle(*angles))
  return np.concatenate([turn, np.zeros(3, np.float32)])


def _seen(pose):
  points = jnp.asarray(mean_landmarks(TEMPLATE), jnp.float32)
  world = cameras.head_to_world(points, jnp.asarray(pose))
  return np.asarray(cameras.world_to_px(world, CAMERA, SIZE, SIZE), np.float64)


def _face(px):
  box = np.concatenate([px.min(0), px.max(0)])
  return Face(box, 1.0, np.zeros((468, 3)), px)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (55, 0), (-55, 15), (30, -20)])
def test_scale_shift_and_roll_are_undone(yaw, pitch):
  """A head as before the camera, then scaled, turned and moved into a photo."""
  upright = _seen(_pose(yaw, pitch, 0))
  in_photo = warp.similarity(np.array([40.0, 300.0]), 90.0, np.deg2rad(25), SIZE)
  face = _face(warp.transform(in_photo, upright))
  placed = face_crop(face, TEMPLATE, CAMERA, SIZE)
  back = warp.transform(placed.matrix, face.landmarks68)
  np.testing.assert_allclose(back, upright, atol=0.3)
  found = initial_pose(face, TEMPLATE, CAMERA, placed)
  np.testing.assert_allclose(found, _pose(yaw, pitch, 0), atol=0.01)


def test_crops_of_any_size_show_the_same():
  face = _face(_seen(_pose(20, 5, 10)) * 3 + 100)
  small, large = (face_crop(face, TEMPLATE, CAMERA, size) for size in (64, 512))
  points = np.array([[100.0, 200.0], [500.0, 700.0]])
  ratio = (warp.transform(small.matrix, points) + 0.5) / 64
  np.testing.assert_allclose(
    ratio, (warp.transform(large.matrix, points) + 0.5) / 512, atol=1e-3
  )


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5, 7.3])
def test_warp_of_a_ramp_is_exact(ratio):
  """A photo that is linear in x and y stays so, at the matrix's place and scale."""
  y, x = np.mgrid[:200, :220]
  ramp = np.stack([x, y, 255 - x], -1).astype(np.uint8)
  matrix = warp.similarity(np.array([110.0, 100.0]), 16 * ratio, 0.3, 16)
  rows, columns = np.mgrid[:16, :16]
  at = warp.transform(warp.invert(matrix), np.stack([columns, rows], -1).astype(float))
  found = warp.warp(ramp, matrix, 16) * 255
  # Pillow cuts interpolated values down to whole numbers.
  np.testing.assert_allclose(found[..., :2], at - 0.5, atol=0.75)


def test_depth_is_scaled_as_x_and_y_are():
  matrix = warp.similarity(np.array([5.0, 5.0]), 10.0, 0.7, 30)
  moved = warp.transform(matrix, np.array([[5.0, 5.0, 2.0]]))
  np.testing.assert_allclose(moved, [[14.5, 14.5, 6.0]])


def test_pixels_beyond_the_border_are_not_inside():
  """A photo of 6 x 4 px in the middle of a crop of 16 px, at twice its size."""
  matrix = np.array([[2.0, 0, 2.5], [0, 2.0, 4.5]])
  inside = inside_photo(np.zeros((4, 6, 3), np.uint8), Crop(matrix, 16))[..., 0]
  expected = np.zeros((16, 16), np.float32)
  expected[4:12, 2:14] = 1
  np.testing.assert_array_equal(inside, expected)
