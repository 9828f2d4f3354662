"""Depth maps against their definition: planes, spheres, known views, cameras."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import depth
from affjax.geometry.camera import world_to_px
from affjax.types import Camera
from tests.reference import depth as reference

SIZE = 12


def test_pixels_points_and_clip_space_agree():
  rays = np.asarray(depth.rays(SIZE))
  np.testing.assert_allclose(rays[3, 7], reference.ray(7, 3, SIZE), atol=1e-6)
  angle = math.degrees(math.atan(rays[0, -1, 0]) - math.atan(rays[0, 0, 0]))
  assert angle == pytest.approx(depth.FOV_DEG, abs=1e-4)
  points = jnp.asarray(rays) * np.linspace(0.8, 1.2, SIZE).reshape(-1, 1, 1)
  places = np.asarray(depth.points_to_px(points, SIZE))
  columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
  np.testing.assert_allclose(places, np.stack([columns, rows], -1), atol=1e-4)
  clip = np.asarray(depth.points_to_clip(points, SIZE))
  # The raster's centers: docs/rendering.md.
  ndc = clip[..., :2] / clip[..., 3:]
  np.testing.assert_allclose((ndc + 1) * SIZE / 2 - 0.5, places, atol=1e-4)
  ends = jnp.asarray([[0.0, 0.0, 0.1], [0.0, 0.0, 10.0]])
  ends = np.asarray(depth.points_to_clip(ends, SIZE))
  np.testing.assert_allclose(ends[:, 2] / ends[:, 3], [-1, 1], atol=1e-5)


def test_normals_of_planes_and_spheres_are_those_of_the_twin():
  wall = np.ones((SIZE, SIZE), np.float32)
  tilted = np.array([0.3, -0.2, 0.9]) / np.linalg.norm([0.3, -0.2, 0.9])
  plane = reference.plane_depth(tilted, np.array([0, 0, 1.0]), SIZE)
  ball = reference.sphere_depth(np.array([0.01, 0, 1.0]), 0.06, SIZE, 1.1)
  maps = np.stack([wall, plane, ball])
  found = np.asarray(depth.depth_to_normals(maps.astype(np.float32)))
  for own, one in zip(found, maps, strict=True):
    np.testing.assert_allclose(own, reference.normals(one), atol=2e-3)
  np.testing.assert_allclose(
    found[1, 1:-1, 1:-1], np.tile(tilted, (10, 10, 1)), atol=2e-3
  )
  np.testing.assert_array_equal(found[2, 0], np.tile([0, 0, 1], (SIZE, 1)))


def test_gradients_of_normals_are_finite_where_depth_is_zero():
  slope = jax.grad(lambda d: depth.depth_to_normals(d)[..., 0].sum())(jnp.zeros((6, 6)))
  assert np.isfinite(slope).all()


def test_views_turn_about_the_face_and_come_back():
  angles, move = np.array([0.3, -0.5, 0.2]), np.array([0.02, -0.05, 0.01])
  view = jnp.asarray(np.concatenate([angles, move])[None], jnp.float32)
  matrix = reference.rotation(angles)
  np.testing.assert_allclose(depth.view_to_matrix(view)[0], matrix, atol=1e-6)
  center = np.array([0, 0, 1])
  points = center + np.random.default_rng(0).normal(0, 0.05, (1, 7, 3))
  points = points.astype(np.float32)
  there = np.asarray(depth.to_view(points, view))
  wanted = (points[0] - center) @ matrix.T + center + move
  np.testing.assert_allclose(there[0], wanted, atol=1e-6)
  np.testing.assert_allclose(depth.from_view(there, view), points, atol=1e-6)


def test_a_camera_of_head_space_has_the_same_pixels():
  camera = depth.camera(Camera(), 64)
  # One decimeter to the right of the origin, and one up.
  points = np.array([[1.0, 0, 0], [0, 1.0, 0.5]], np.float32)
  px = np.asarray(world_to_px(points, camera, 64, 64))
  unit = np.stack(
    [points[:, 0], -points[:, 1], camera.distance - points[:, 2]], -1
  ) / np.float32(camera.distance)
  np.testing.assert_allclose(depth.points_to_px(unit, 64), px, atol=1e-3)
  # The head is as large as before.
  old = np.asarray(world_to_px(points[:1], Camera(), 64, 64))
  np.testing.assert_allclose(px[:1], old, atol=1e-3)
