"""The fit to what pixels show: its parts against known answers, and bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import Crop, Face, fit_surface
from affjax.faces._surface import chart as charts
from affjax.faces._surface import network, read
from affjax.faces._surface import view as views
from affjax.faces._surface.fit import Shape
from affjax.faces._surface.people import shared
from affjax.faces._surface.read import Errors, Reading
from affjax.faces._surface.view import View
from affjax.geometry import rotation
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head
from affjax.types import Camera

MODEL = open_head("embedded")
POSE = np.array([0.1, 0.4, 0.05, 0.05, -0.03, 0.2], np.float32)
VIEW = View(
  rotation.axis_angle_to_matrix(jnp.asarray(POSE[:3])),
  jnp.asarray(POSE[3:]),
  jnp.log(Camera().distance),
)
SOME = jax.random.normal(jax.random.key(0), (50, 3))


@pytest.fixture(scope="module")
def loaded():
  return charts.load(MODEL)


def one(view: View) -> View:
  return View(*(jnp.asarray(x)[None] for x in view))


def test_slopes_are_finite_differences():
  slopes = views._slopes(SOME, VIEW)
  step = 1e-3
  at = lambda k, t: views.places(SOME, views.moved(VIEW, t * jnp.eye(7)[k]))
  numeric = [(at(k, step) - at(k, -step)) / (2 * step) for k in range(7)]
  np.testing.assert_allclose(slopes, jnp.stack(numeric, -1), atol=3e-3)


def test_places_are_those_of_the_camera():
  """Before the usual camera, places are what `world_to_px` says."""
  world = head_to_world(SOME[None], jnp.asarray(POSE)[None])
  expected = world_to_px(world, Camera(), 192, 192)[0]
  px = views.places_px(views.places(SOME, VIEW), Camera(), 192)
  np.testing.assert_allclose(px, expected, atol=1e-3)


def test_points_that_lie_right_give_the_view():
  start = View(jnp.eye(3), jnp.zeros(3), jnp.asarray(views.DISTANCE))
  target = views.places(SOME, VIEW)
  found = views.settled(SOME, target, jnp.ones(len(SOME)), start, steps=10)
  np.testing.assert_allclose(found.turn, VIEW.turn, atol=5e-3)
  np.testing.assert_allclose(found.shift, VIEW.shift, atol=2e-2)
  held = views.settled(SOME, target, jnp.ones(len(SOME)), start, fixed=True)
  np.testing.assert_array_equal(held.distance, start.distance)


def test_points_that_are_worth_nothing_leave_the_view_as_it_is():
  far = views.places(SOME, VIEW) + 9.0
  found = views.settled(SOME, far, jnp.zeros(len(SOME)), VIEW, fixed=True)
  np.testing.assert_allclose(found.turn, VIEW.turn, atol=1e-5)
  np.testing.assert_allclose(found.shift, VIEW.shift, atol=1e-5)


def test_cells_lie_on_the_head_where_the_chart_says(loaded):
  """A cell's point is at the angle and the height of the cell."""
  corners, weights = charts.triangles(MODEL.template)
  points = np.einsum("ckx,ck->cx", MODEL.template.vertices[corners], weights)
  line = (np.arange(charts.CELLS) + 0.5) * 2 / charts.CELLS - 1
  column, row = np.meshgrid(line, line)
  expected = np.stack([column.ravel(), row.ravel()], 1)
  np.testing.assert_allclose(charts.place_on_chart(points), expected, atol=0.02)
  assert (weights > -1e-3).all()


def test_components_and_coefficients(loaded):
  _, components = loaded
  rng = np.random.default_rng(1)
  face = 0.2 * rng.normal(size=(4, components.identity + 20)).astype(np.float32)
  identity, expression = components.coefficients(face)
  kept = (expression > 0) & (expression < 1)
  again = components.of(identity, expression)
  np.testing.assert_allclose(again[:, : components.identity], identity)
  change = again[:, components.identity :] @ components.expression_root.T
  back = np.clip(components.expression_mean + change, 0, 1)
  assert np.abs(back - expression)[kept].mean() < 0.05


def test_chart_of_a_face_is_that_of_its_head(loaded):
  chart, components = loaded
  face = np.zeros((1, len(chart.modes)), np.float32)
  face[0, [0, 3, 40]] = 1.0, -2.0, 1.5
  identity = face[:, : components.identity]
  head = np.asarray(MODEL.vertices(identity, components.expression_mean[None]))[0]
  corners, weights = charts.triangles(MODEL.template)
  expected = np.einsum("ckx,ck->cx", head[corners], weights)
  np.testing.assert_allclose(chart.cells(jnp.asarray(face))[0], expected, atol=1e-5)


def test_normals_of_a_sphere_point_outward():
  angle = np.linspace(-1, 1, 32)
  column, row = np.meshgrid(angle, -angle)
  sphere = np.stack(
    [np.sin(column) * np.cos(row), np.sin(row), np.cos(column) * np.cos(row)], -1
  )
  found = charts.normals(jnp.asarray(sphere, jnp.float32)[None])[0]
  np.testing.assert_allclose(found[1:-1, 1:-1], sphere[1:-1, 1:-1], atol=1e-3)


def test_the_photo_is_drawn_where_the_head_lies(loaded):
  """The colors of a ramp tell at which px each sample was read."""
  chart, _ = loaded
  side = network.SIZE
  row, column = np.mgrid[:side, :side] / side
  photo = np.stack([column, row, 0 * row], -1).astype(np.float32)[None]
  drawn = network.drawn(chart, jnp.asarray(photo), one(VIEW))
  middle = (np.asarray(drawn[0, ..., 12:14]) + 1) / 2 * side
  place = views.places(chart.mean, VIEW)
  px = np.asarray(views.places_px(place, Camera(), side)).reshape(64, 64, 2)
  inside = ((px > 1) & (px < side - 2)).all(-1)
  inside[[0, -1]] = inside[:, [0, -1]] = False
  np.testing.assert_allclose(middle[inside], px[inside], atol=0.05)
  np.testing.assert_allclose(drawn[0, ..., 30:32].reshape(-1, 2), place, atol=1e-6)


def test_a_network_that_answers_nothing_leaves_the_mean_head(loaded):
  chart, _ = loaded
  weights = {name: np.zeros_like(w) for name, w in read.load_weights().items()}
  image = np.zeros((1, 48, 48, 3), np.uint8)
  usual = VIEW._replace(distance=jnp.asarray(views.DISTANCE))
  found = read.read(chart, weights, image, one(usual), 2)
  np.testing.assert_array_equal(found.face, 0)
  np.testing.assert_allclose(found.view.turn[0], VIEW.turn, atol=2e-3)
  np.testing.assert_allclose(found.seen, 0.5)


def test_readings_do_not_depend_on_the_batch(loaded):
  chart, _ = loaded
  weights = read.load_weights()
  images = np.random.default_rng(0).integers(0, 255, (3, 96, 96, 3), np.uint8)
  view = View(*(jnp.stack([x] * 3) for x in VIEW))
  together = read.read(chart, weights, images, view, 1)
  alone = read.read(chart, weights, images[2:], one(VIEW), 1)
  np.testing.assert_allclose(together.face[2:], alone.face, atol=1e-3)
  np.testing.assert_allclose(together.places[2:], alone.places, atol=1e-3)


def reading(face, deviations) -> Reading:
  n = len(face)
  grid = np.ones((n, 32, 32, 1), np.float32) * np.reshape(deviations, (n, 1, 1, 1))
  view = View(*(np.stack([x] * n) for x in VIEW))
  ones = np.ones(n)
  return Reading(face, view, grid.repeat(2, 3), grid, grid, ones, ones)


def test_photos_of_a_person_count_together():
  """The same as one linear problem: three measurements and the prior."""
  rng = np.random.default_rng(1)
  root = np.linalg.qr(rng.normal(size=(3, 3)))[0]
  covariance = root @ np.diag([0.2, 0.5, 0.9]) @ root.T
  whole = np.zeros((4, 4))
  whole[:3, :3], whole[3, 3] = covariance, 0.3
  face = rng.normal(size=(3, 4)).astype(np.float32)
  deviations = np.array([0.01, 0.009, 0.008], np.float32)
  errors = Errors(np.ones(4), whole, 0.01, 1.0, 1.0)
  found = shared(reading(face, deviations), errors, [7, 7, 7], 3)
  precision = [np.linalg.inv(covariance * (d / 0.01) ** 2) for d in deviations]
  right = sum(p @ f[:3] for p, f in zip(precision, face, strict=True))
  expected = np.linalg.solve(sum(precision) - 2 * np.eye(3), right)
  np.testing.assert_allclose(found.face[:, :3], [expected] * 3, rtol=1e-4)
  np.testing.assert_array_equal(found.face[:, 3], face[:, 3])
  assert (found.left < 1).all()
  apart = shared(reading(face, deviations), errors, [1, 2, 3], 3)
  np.testing.assert_array_equal(apart.face, face)
  np.testing.assert_array_equal(apart.left, 1)


def test_an_unreadable_photo_does_not_spoil_the_others_of_its_person():
  """The other photos share the identity that they have without it."""
  face = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
  errors = Errors(np.ones(4), 0.4 * np.eye(4), 0.01, 1.0, 1.0)
  deviations = np.full(3, 0.01, np.float32)
  without = shared(reading(face[:2], deviations[:2]), errors, [0, 0], 3)
  broken = face.copy()
  broken[2] = np.nan
  found = shared(reading(broken, deviations), errors, [0, 0, 0], 3)
  np.testing.assert_array_equal(found.face[:2], without.face)
  assert np.isnan(found.face[2]).all()


def test_deviations_grow_with_what_the_network_expects(loaded):
  _, components = loaded
  shape = Shape(MODEL, components, read.load_errors())
  grid = np.full((32, 32, 1), 0.005, np.float32)
  little, much = shape.deviations(grid), shape.deviations(4 * grid)
  nose = np.argmax(MODEL.template.vertices[:, 2])
  back = np.argmin(MODEL.template.vertices[:, 2])
  assert little[nose] < much[nose]
  assert little[back] == much[back]
  prior = shape.deviations(np.nan * grid)
  assert np.isfinite(prior).all()
  assert (much <= prior + 1e-6).all()
  assert shape.deviations(grid, 0.5)[nose] == pytest.approx(little[nose] / 2)


def face() -> tuple[Face, Crop]:
  """Returns a face whose landmarks are those of the mean head in a crop."""
  marks = np.random.default_rng(0).uniform(60, 140, (468, 3))
  px = MODEL.template.landmark_positions(MODEL.template.vertices)[:, :2]
  px = 96 + px * [96 / 1.1, -96 / 1.1]
  box = np.concatenate([px.min(0), px.max(0)])
  return Face(box, 1.0, marks, px), Crop(np.eye(3)[:2], 192)


def test_a_photo_that_shows_nothing_gives_a_head_that_says_so():
  found, crop = face()
  image = np.zeros((1, 192, 192, 3), np.uint8)
  (fit,) = fit_surface(MODEL, [found], [crop], image, Camera())
  assert np.isfinite(fit.vertices).all()
  assert np.isfinite(fit.pose).all()
  assert fit.deviations is not None
  assert np.isfinite(fit.deviations).all()
  assert fit.doubts


def test_an_answer_that_is_not_finite_gives_the_mean_head(monkeypatch):
  found, crop = face()
  image = np.zeros((1, 192, 192, 3), np.uint8)
  weights = read.load_weights()
  broken = {**weights, "face/bias": weights["face/bias"] * np.nan}
  monkeypatch.setattr(read, "load_weights", lambda: broken)
  (fit,) = fit_surface(MODEL, [found], [crop], image, Camera())
  np.testing.assert_array_equal(fit.identity, 0)
  assert np.isfinite(fit.pose).all()
  assert not fit.converged
  assert "the photo cannot be read: this is the mean head" in fit.doubts


def test_bad_input_is_refused_in_one_line():
  found, crop = face()
  image = np.zeros((1, 192, 192, 3), np.uint8)
  with pytest.raises(ValueError, match="must be as many, got 1, 2, 1, 1"):
    fit_surface(MODEL, [found], [crop] * 2, image, Camera())
  lost = dataclasses.replace(found, landmarks68=found.landmarks68 * np.nan)
  with pytest.raises(ValueError, match="landmarks of faces must be finite"):
    fit_surface(MODEL, [lost], [crop], image, Camera())
  assert fit_surface(MODEL, [], [], image[:0], Camera()) == []
  with pytest.raises(ValueError, match="images must be uint8"):
    fit_surface(MODEL, [found], [crop], image.astype(np.float32), Camera())
  with pytest.raises(ValueError, match=r"images must be \[N, S, S, 3\]"):
    fit_surface(MODEL, [found], [crop], image[:, :9], Camera())
