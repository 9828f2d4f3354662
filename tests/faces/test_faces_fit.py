"""The fit finds heads whose truth is known, and says what it cannot do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import Crop, Face, fit_faces
from affjax.faces._fit import model_points, solver
from affjax.geometry import camera as cameras
from affjax.geometry import rotation
from affjax.heads import open_head, random_vertices
from affjax.types import Camera

SIZE, COUNT = 256, 6
CROP = Crop(np.array([[1.0, 0, 0], [0, 1, 0]]), SIZE)


@jax.jit
def see(data, state) -> solver.Seen:
  return solver.see(data, state, Camera(), solver.FitSettings())


def face(points: np.ndarray) -> Face:
  box = np.concatenate([points.min(0), points.max(0)])
  eyes = np.zeros((468, 3))
  return Face(box, 1.0, eyes, points)


@pytest.fixture(scope="module")
def people():
  """Random heads, their poses, and where their landmarks are seen."""
  rng = np.random.default_rng(5)
  model = open_head("embedded")
  vertices = random_vertices(rng, model, COUNT)
  degrees = rng.uniform(-1, 1, (COUNT, 3)) * [30, 15, 8]
  turn = rotation.euler_deg_to_axis_angle(*degrees.T)
  shift = rng.uniform(-1, 1, (COUNT, 3)) * [0.1, 0.1, 0.5]
  pose = np.concatenate([np.asarray(turn), shift], 1).astype(np.float32)
  points = jax.vmap(lambda v: model.template.landmark_positions(v))(vertices)
  world = cameras.head_to_world(points, jnp.asarray(pose))
  px = np.asarray(cameras.world_to_px(world, Camera(), SIZE, SIZE))
  return vertices, pose, px


@pytest.fixture(scope="module")
def found(people):
  faces = [face(px) for px in people[2]]
  return fit_faces(open_head("embedded"), faces, [CROP] * COUNT, Camera())


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
  a, b = (np.asarray(rotation.axis_angle_to_matrix(jnp.asarray(x[:3]))) for x in (a, b))
  return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def test_inner_landmarks_are_met(found):
  assert np.mean([f.inner_error for f in found]) < 1.0


def test_the_descent_converges(people):
  """Twelve steps, the default, leave one of these heads a last step that gains."""
  faces = [face(px) for px in people[2]]
  settings = solver.FitSettings(steps=20)
  model = open_head("embedded")
  found = fit_faces(model, faces, [CROP] * COUNT, Camera(), settings=settings)
  assert all(f.converged for f in found)


def test_lips_are_as_far_apart_as_they_are_seen(people):
  """A landmark network moves whole mouths, but knows how far they are open."""
  model = open_head("embedded")
  rng = np.random.default_rng(0)
  moved = people[2].copy()
  unit = np.linalg.norm(moved[:, 45] - moved[:, 36], axis=1)[:, None, None]
  moved[:, 48:] += 0.03 * unit * rng.choice([-1, 1], (COUNT, 1, 1)) * [0, 1]
  faces = [face(px) for px in moved]

  def wrong(opening: float) -> float:
    settings = solver.FitSettings(opening=opening, steps=20)
    found = fit_faces(model, faces, [CROP] * COUNT, Camera(), settings=settings)
    points = np.stack([model.template.landmark_positions(f.vertices) for f in found])
    gap = lambda x: np.linalg.norm(x[:, [65, 66, 67]] - x[:, [63, 62, 61]], axis=-1)
    truth = model.template.landmark_positions
    return float(
      np.abs(gap(points) - gap(np.stack([truth(v) for v in people[0]]))).mean()
    )

  assert wrong(0.5) < 0.7 * wrong(1e3)


def test_poses_are_found(people, found):
  errors = [angle_deg(p, f.pose) for p, f in zip(people[1], found, strict=True)]
  assert np.median(errors) < 3
  assert max(errors) < 8


def test_heads_are_nearer_than_the_mean_head(people, found):
  """Landmarks of one picture say little about depth, but more than nothing."""
  model = open_head("embedded")
  chosen = np.unique(model.template.faces[model.template.landmark_faces])

  def error(vertices, truth):
    moved = vertices[chosen] - vertices[chosen].mean(0)
    true = truth[chosen] - truth[chosen].mean(0)
    return np.sqrt(((moved - true) ** 2).sum(-1)).mean()

  ours = [error(f.vertices, v) for f, v in zip(found, people[0], strict=True)]
  mean = [error(model.template.vertices, v) for v in people[0]]
  assert np.mean(ours) < 0.8 * np.mean(mean)


def test_coefficients_stay_plausible(found):
  for f in found:
    assert np.abs(f.identity).max() <= 3
    assert f.expression.min() >= 0
    assert f.expression.max() <= 1


def test_vertices_belong_to_the_coefficients(found):
  model = open_head("embedded")
  again = model.vertices(found[1].identity, found[1].expression)
  np.testing.assert_allclose(found[1].vertices, again, atol=1e-5)


def test_landmarks_lie_where_the_posed_head_has_them(found):
  head = open_head("embedded").template
  points = head.landmark_positions(jnp.asarray(found[2].vertices))
  world = cameras.head_to_world(points, jnp.asarray(found[2].pose))
  px = np.asarray(cameras.world_to_px(world, Camera(), SIZE, SIZE))
  np.testing.assert_allclose(found[2].landmarks[17:], px[17:], atol=0.05)


def test_a_face_alone_is_found_as_in_company(people, found):
  alone = fit_faces(open_head("embedded"), [face(people[2][4])], [CROP], Camera())
  np.testing.assert_allclose(alone[0].vertices, found[4].vertices, atol=2e-3)


def test_one_wild_landmark_does_little(people, found):
  px = people[2][0].copy()
  px[30] += 60
  wild = fit_faces(open_head("embedded"), [face(px)], [CROP], Camera())[0]
  assert angle_deg(wild.pose, found[0].pose) < 2


def test_a_near_camera_is_found():
  """A selfie, 40 degrees from 3.5 dm away; part of it passes for an unusual shape."""
  model = open_head("embedded")
  points = model.template.landmark_positions(jnp.asarray(model.template.vertices))
  world = cameras.head_to_world(points, jnp.array([0, 0, 0, 0, 0, 6.5], jnp.float32))
  wide = Camera(fov_deg=40.0)
  px = np.asarray(cameras.world_to_px(world, wide, SIZE, SIZE))
  settings = solver.FitSettings(focal=2.0, steps=100)
  found = fit_faces(model, [face(px)], [CROP], Camera(), settings=settings)[0]
  told = fit_faces(model, [face(px)], [CROP], Camera())[0]
  assert told.fov_deg == pytest.approx(Camera().fov_deg, rel=1e-5)
  assert 2 * told.fov_deg < found.fov_deg < wide.fov_deg
  assert found.inner_error < 0.5 * told.inner_error


def test_derivatives_of_the_landmarks(people):
  """The Jacobian against differences, px, away from changes of the outline."""
  data, _ = model_points.model_points(open_head("embedded"))
  values = np.random.default_rng(0).uniform(0, 0.4, data.sigma.shape)
  state = solver.State(
    rotation.axis_angle_to_matrix(jnp.asarray(people[1][0, :3])),
    jnp.asarray(people[1][0, 3:]),
    jnp.float32(0.1),
    jnp.asarray(values, jnp.float32),
  )

  jacobian = SIZE / 2 * see(data, state).jacobian[:51]
  h, moved = 1e-3, jax.jit(solver.moved)
  for k in (0, 1, 2, 3, 5, 6, 7, 40, 100):
    step = h * jnp.eye(7 + len(values))[k]
    above, below = (see(data, moved(state, s)).ndc[:51] for s in (step, -step))
    slope = SIZE / 2 * np.asarray(above - below) / (2 * h)
    np.testing.assert_allclose(jacobian[:, :, k], slope, atol=0.3, rtol=2e-2)


def test_turned_away_jaws_slide_to_the_outline():
  """From the side, the far half of the jaw is not where its vertices are."""
  data, _ = model_points.model_points(open_head("embedded"))
  turn = rotation.euler_deg_to_axis_angle(jnp.array([45.0]), jnp.zeros(1), jnp.zeros(1))
  state = solver.State(
    rotation.axis_angle_to_matrix(turn[0]),
    jnp.zeros(3),
    jnp.float32(0),
    jnp.zeros(data.sigma.shape),
  )
  chosen = see(data, state).chosen[51:]
  facing = (data.normals @ state.turn.T)[..., 2]
  slid = np.take(np.asarray(facing).reshape(-1), np.asarray(chosen) - 51)
  hidden = np.asarray(facing[:, 0]) < -0.2
  assert hidden.sum() >= 5
  assert (slid[hidden] > -0.2).all()
  assert np.abs(slid[hidden]).mean() < 0.7 * np.abs(facing[hidden, 0]).mean()


def test_bad_input_is_named(people):
  model = open_head("embedded")
  with pytest.raises(ValueError, match="1 faces, 2 crops"):
    fit_faces(model, [face(people[2][0])], [CROP] * 2, Camera())
  with pytest.raises(ValueError, match="finite"):
    fit_faces(model, [face(people[2][0] * np.nan)], [CROP], Camera())
  assert fit_faces(model, [], [], Camera()) == []
  none = dataclasses.replace(
    model,
    template=dataclasses.replace(
      model.template,
      landmark_faces=np.zeros(0, np.int32),
      landmark_weights=np.zeros((0, 3), np.float32),
    ),
  )
  with pytest.raises(ValueError, match="68 standard landmarks"):
    fit_faces(none, [face(people[2][0])], [CROP], Camera())
  broken = dataclasses.replace(model, identity_basis=model.identity_basis * np.nan)
  with pytest.raises(ValueError, match="identity_basis"):
    fit_faces(broken, [face(people[2][0])], [CROP], Camera())


def test_coincident_landmarks_do_not_converge_to_nonsense():
  """A face without extent is no face; nothing raises, nothing is called good."""
  flat = fit_faces(
    open_head("embedded"), [face(np.full((68, 2), 90.0))], [CROP], Camera()
  )[0]
  assert np.isfinite(flat.vertices).all()
  assert flat.inner_error > 10 or not flat.converged
