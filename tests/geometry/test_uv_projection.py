"""Where texels lie in a photo, against the twin and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import camera as cameras
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Camera
from tests.reference import uv_projection as twin

SIZE, RESOLUTION = 24, (40, 60)
POSE = np.array([0.1, 0.6, -0.2, 0.05, -0.1, 0.3], np.float32)


@pytest.fixture(scope="module")
def template():
  return open_head("embedded").template


def _world(template, pose=POSE):
  return cameras.head_to_world(template.vertices[None], jnp.asarray(pose)[None])


def _affine(world, template, **options):
  options = {"size": SIZE, "resolution": RESOLUTION, **options}
  run = lambda v: uv.projection_affine(v, template, Camera(), **options)
  return np.asarray(jax.jit(run)(world))


def _some_texels(template, count=40):
  rows, columns = np.nonzero(uv.uv_table(template, SIZE).inside)
  chosen = np.random.default_rng(0).choice(len(rows), count, replace=False)
  return list(zip(rows[chosen], columns[chosen], strict=True))


def test_projection_is_the_twin_s(template):
  world = _world(template)
  got = _affine(world, template, max_scale=1e6)[0]
  vertices, triangles = np.asarray(world[0]), uv.uv_table(template, SIZE).triangles
  for row, column in _some_texels(template):
    point = np.array([column, row], float)
    where = (int(triangles[row, column]), point, SIZE, RESOLUTION)
    want = twin.projection_affine(vertices, template, Camera(), *where)
    np.testing.assert_allclose(got[row, column, :, 2], want[:, 2], atol=2e-3)
    scale = np.abs(want[:, :2]).max()
    np.testing.assert_allclose(got[row, column, :, :2], want[:, :2], atol=2e-3 * scale)


def test_texels_lie_in_the_triangle_that_covers_them(template):
  triangles = uv.uv_table(template, SIZE).triangles
  for row, column in _some_texels(template, 3):
    point = np.array([column, row], float)
    assert twin.triangle_under(template, point, SIZE) == triangles[row, column]


def test_derivatives_are_those_of_finite_differences(template):
  world = _world(template)
  got = _affine(world, template, max_scale=1e6)[0]
  vertices, triangles = np.asarray(world[0]), uv.uv_table(template, SIZE).triangles
  step = 1e-4
  for row, column in _some_texels(template):

    def place(point, triangle=int(triangles[row, column])):
      where = (triangle, point, SIZE, RESOLUTION)
      return twin.photo_place(vertices, template, Camera(), *where)

    point = np.array([column, row], float)
    for axis, shift in enumerate(np.eye(2) * step):
      want = (place(point + shift) - place(point - shift)) / (2 * step)
      scale = max(np.abs(want).max(), 1.0)
      np.testing.assert_allclose(got[row, column, :, axis], want, atol=5e-3 * scale)


@pytest.mark.parametrize("yaw_deg", [-180, -90, -60, 0, 45, 89.9, 90, 120])
def test_projection_is_finite_and_bounded_at_every_yaw(template, yaw_deg):
  pose = np.array([0, np.radians(yaw_deg), 0, 0, 0, 0], np.float32)
  got = _affine(_world(template, pose), template)
  assert np.isfinite(got).all()
  length = np.sqrt((got[..., :2] ** 2).sum((-2, -1)))
  assert length.max() <= 3 * RESOLUTION[0] / SIZE * 1.0001
  assert np.abs(got[..., 2]).max() < 200


def test_points_at_and_behind_the_camera_stay_finite(template):
  for depth in (9.0, 10.0, 50.0, -1e6):
    pose = np.array([0, 0, 0, 0, 0, depth], np.float32)
    assert np.isfinite(_affine(_world(template, pose), template)).all()


def test_texels_outside_the_charts_have_the_nearest_one_s_values(template):
  size = 96
  got = _affine(_world(template), template, size=size)[0]
  support = uv.uv_table(template, size).support
  outside = np.argwhere(~support)
  assert len(outside)
  inside = np.argwhere(support)
  for row, column in outside[:: max(len(outside) // 10, 1)]:
    distance = ((inside - [row, column]) ** 2).sum(1)
    same = inside[distance == distance.min()]
    assert any((got[r, c] == got[row, column]).all() for r, c in same)


def test_batch_is_a_loop(template):
  poses = np.stack([POSE, -POSE])
  world = cameras.head_to_world(np.stack([template.vertices] * 2), jnp.asarray(poses))
  both = _affine(world, template)
  for k in range(2):
    np.testing.assert_allclose(both[k], _affine(world[k][None], template)[0], atol=1e-4)
