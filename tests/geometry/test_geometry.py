"""Rotations, the camera and meshes against closed forms and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import transform

from affjax.geometry import camera, mesh, rotation
from affjax.types import Camera

pytestmark = pytest.mark.smoke  # on a newer jax as well, see `make smoke`

VECTOR = st.lists(st.floats(-6, 6, width=32), min_size=3, max_size=3)
to_matrix = jax.jit(rotation.axis_angle_to_matrix)
to_vector = jax.jit(rotation.matrix_to_axis_angle)
slope_of_matrix = jax.jit(jax.jacfwd(rotation.axis_angle_to_matrix))
euler_to_vector = jax.jit(rotation.euler_deg_to_axis_angle)


@settings(max_examples=60, deadline=None)
@given(VECTOR)
def test_matrices_agree_with_scipy(vector):
  expected = transform.Rotation.from_rotvec(vector).as_matrix()
  np.testing.assert_allclose(to_matrix(jnp.array(vector)), expected, atol=3e-6)


@settings(max_examples=60, deadline=None)
@given(VECTOR)
def test_axis_angle_round_trip(vector):
  matrix = to_matrix(jnp.array(vector))
  back = to_vector(matrix)
  assert float(jnp.linalg.norm(back)) <= np.pi + 1e-5
  np.testing.assert_allclose(to_matrix(back), matrix, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-30, 1e-9, 1e-4, 1e-3])
def test_rotations_near_zero_have_exact_gradients(angle):
  vector = jnp.array([angle, 0, 0], jnp.float32)
  slope = slope_of_matrix(vector)
  assert np.isfinite(slope).all()
  np.testing.assert_allclose(slope[2, 1, 0], np.cos(angle), atol=1e-6)
  np.testing.assert_allclose(to_vector(to_matrix(vector)), vector, atol=1e-6)


def test_half_turns_are_recovered():
  for axis in np.eye(3, dtype=np.float32):
    found = to_vector(to_matrix(jnp.asarray(np.pi * axis)))
    np.testing.assert_allclose(np.abs(found), np.pi * axis, atol=1e-3)


@pytest.mark.parametrize(
  ("angles", "forward"),
  [
    ((30, 0, 0), (0.5, 0, 0.866)),
    ((0, 30, 0), (0, -0.5, 0.866)),
    ((0, 0, 30), (0, 0, 1)),
  ],
)
def test_euler_angles_turn_the_face_as_documented(angles, forward):
  vector = euler_to_vector(*(jnp.float32(a) for a in angles))
  np.testing.assert_allclose(to_matrix(vector)[:, 2], forward, atol=1e-3)


def test_the_camera_puts_known_points_where_they_belong():
  """Focal length 1015 px for 224 px (Deep3D); up is up; pixel centers are integers."""
  points = jnp.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]])
  px = np.asarray(camera.world_to_px(points, Camera(), 224, 224))
  np.testing.assert_allclose(px[0], 111.5, atol=1e-3)
  np.testing.assert_allclose(px[1], [111.5 + 1015 * 0.05, 111.5], atol=0.05)
  np.testing.assert_allclose(px[2], [111.5, 111.5 - 1015 * 0.05], atol=0.05)
  np.testing.assert_allclose(px[3], 111.5, atol=1e-3)


def test_depth_is_monotone_and_inverts():
  lens = Camera()
  z = jnp.linspace(-15.0, 8.5, 9)
  points = jnp.stack([z * 0, z * 0, z], -1)
  clip = camera.world_to_clip(points, lens)
  depth = camera.clip_to_ndc(clip)[:, 2]
  assert (np.diff(depth) < 0).all()  # towards the camera = smaller
  np.testing.assert_allclose(clip[:, 3], 10 - z, rtol=1e-6)
  np.testing.assert_allclose(
    camera.ndc_depth_to_distance(depth, lens), 10 - z, rtol=1e-4
  )
  edges = jnp.array([[0, 0, 10 - lens.near], [0, 0, 10 - lens.far]])
  found = camera.clip_to_ndc(camera.world_to_clip(edges, lens))[:, 2]
  np.testing.assert_allclose(found, [-1, 1], atol=1e-5)


def test_a_wide_image_keeps_pixels_square():
  points = jnp.array([[0.3, 0, 0], [0, 0.3, 0]])
  px = np.asarray(camera.world_to_px(points, Camera(), 100, 300))
  right, up = px[0] - [149.5, 49.5], px[1] - [149.5, 49.5]
  np.testing.assert_allclose(right[0], -up[1], rtol=1e-4)


def test_poses_rotate_then_translate():
  pose = jnp.array([0, np.pi / 2, 0, 1, 2, 3], jnp.float32)
  found = camera.head_to_world(jnp.array([[0.0, 0, 1]]), pose)
  np.testing.assert_allclose(found, [[2, 2, 3]], atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 0.4, 3.0])
def test_numpy_arrays_go_from_head_to_pixels_without_jax(angle):
  """What stays in NumPy compiles nothing; numbers are those of JAX."""
  points = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
  pose = np.float32([[angle, 0, 0, 1, 2, 3], [0, angle, -angle, 0, 0, 1]])
  world = camera.head_to_world(points, pose)
  px = camera.world_to_px(world, Camera(), 64, 64)
  assert isinstance(px, np.ndarray)
  assert px.dtype == np.float32
  expected = camera.head_to_world(jnp.asarray(points), jnp.asarray(pose))
  assert isinstance(expected, jax.Array)
  np.testing.assert_allclose(world, expected, atol=1e-5)
  expected = camera.world_to_px(expected, Camera(), 64, 64)
  np.testing.assert_allclose(px, expected, atol=1e-3)


@pytest.mark.parametrize("bad", [{"fov_deg": 0}, {"near": 2, "far": 1}])
def test_cameras_refuse_nonsense(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    Camera(**bad)


def _sphere(n=16):
  """A closed sphere: rings of a globe, poles welded."""
  theta = np.linspace(0, np.pi, n + 1)[1:-1]
  phi = np.arange(2 * n) * np.pi / n
  ring = np.stack(
    [
      np.outer(np.sin(theta), np.cos(phi)),
      np.outer(np.sin(theta), np.sin(phi)),
      np.outer(np.cos(theta), np.ones_like(phi)),
    ],
    -1,
  ).reshape(-1, 3)
  points = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
  m, faces = 2 * n, []
  for c in range(m):
    d = (c + 1) % m
    faces.append((len(ring), c, d))
    faces.append((len(ring) + 1, (n - 2) * m + d, (n - 2) * m + c))
    for r in range(n - 2):
      a, b = r * m + c, r * m + d
      faces += [(a, a + m, b + m), (a, b + m, b)]
  return points, np.array(faces, np.int32)


def test_normals_of_a_sphere_point_outwards():
  points, faces = _sphere()
  normals = mesh.vertex_normals(jnp.asarray(points), faces)
  # Near the poles area weights lean over by a fifth of a ring's 11 degrees.
  np.testing.assert_allclose(normals, points, atol=0.04)


def test_a_vertex_without_area_has_no_normal_and_no_nan():
  points = jnp.zeros((3, 3))
  faces = np.array([[0, 1, 2]], np.int32)
  normals = jax.jit(lambda p: mesh.vertex_normals(p, faces))
  assert not np.asarray(normals(points)).any()
  assert np.isfinite(jax.jit(jax.grad(lambda p: jnp.sum(normals(p))))(points)).all()


def test_opposite_vertices():
  _, faces = _sphere()
  opposite = mesh.opposite_vertices(faces)
  assert (opposite >= 0).all()  # closed
  for t in range(0, len(faces), 37):
    for k in range(3):
      a, b = faces[t, (k + 1) % 3], faces[t, (k + 2) % 3]
      others = [f for f in faces if a in f and b in f and not (f == faces[t]).all()]
      assert len(others) == 1
      assert opposite[t, k] == next(v for v in others[0] if v not in (a, b))
  plate = np.array([[0, 1, 2], [0, 2, 3]])
  np.testing.assert_array_equal(
    mesh.opposite_vertices(plate), [[-1, 3, -1], [-1, -1, 1]]
  )
  fan = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])  # three at one edge
  assert (mesh.opposite_vertices(fan) == -1).all()
  assert mesh.opposite_vertices(np.zeros((0, 3), int)).shape == (0, 3)


def test_neighbors_share_the_edge():
  _, faces = _sphere()
  across = mesh.neighbors(faces)
  assert (across >= 0).all()
  for t in range(0, len(faces), 37):
    for k in range(3):
      shared = set(faces[t]) & set(faces[across[t, k]])
      assert shared == set(faces[t]) - {faces[t, k]}
  plate = np.array([[0, 1, 2], [0, 2, 3]])
  np.testing.assert_array_equal(mesh.neighbors(plate), [[-1, 1, -1], [-1, -1, 0]])
  fan = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
  assert (mesh.neighbors(fan) == -1).all()
  assert mesh.neighbors(np.zeros((0, 3), int)).shape == (0, 3)


def test_welding():
  points = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1e-7]])
  keep, index = mesh.weld(points)
  np.testing.assert_array_equal(keep, [0, 1, 3])
  np.testing.assert_array_equal(index, [0, 1, 0, 2])
  keep, index = mesh.weld(points, 1e-3)
  np.testing.assert_array_equal(keep, [0, 1])
  np.testing.assert_array_equal(index, [0, 1, 0, 1])
