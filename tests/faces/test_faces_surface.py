"""The fit to what pixels show: its parts against dense algebra, and bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.faces import Crop, Face, fit_surface, read_surface
from affjax.faces._surface import anchors as anchoring
from affjax.faces._surface import head_model, votes
from affjax.faces._surface.estimate import (
  Estimate,
  EstimateSettings,
  estimate,
  normal_equations,
)
from affjax.faces._surface.fit import deviations
from affjax.faces._surface.head_model import View
from affjax.faces._surface.people import shared
from affjax.faces._surface.votes import Maps, Observed
from affjax.geometry import rotation
from affjax.geometry.camera import head_to_world, world_to_clip
from affjax.heads import open_head
from affjax.render import interpolate, rasterize
from affjax.types import Camera

MODEL = open_head("embedded")
VIEW = View(
  rotation.axis_angle_to_matrix(jnp.array([0.1, 0.4, 0.05])),
  jnp.array([0.05, -0.03, 0.2]),
  jnp.asarray(EstimateSettings.distance[0]),
)


@pytest.fixture(scope="module")
def surface():
  return anchoring.load(MODEL)


def exact(anchors, face, view) -> Observed:
  """Returns what a perfect network and a perfect FaceMesh would say."""
  values, _ = head_model.numbers(anchors, face, view)
  a = len(anchors.points)
  pairs = values.reshape(-1, 2)
  normals = jnp.concatenate([pairs[a : 2 * a], jnp.zeros((a, 1))], 1)
  spread = jnp.broadcast_to(jnp.array([0.01, 0.1]), (a, 2))
  return Observed(pairs[:a], normals, spread, jnp.ones(a), pairs[2 * a :], jnp.ones(()))


def sure(surface):
  """Returns errors that are small and independent."""
  old = surface.errors
  return dataclasses.replace(
    old,
    bias=jnp.zeros_like(old.bias),
    factors=jnp.zeros_like(old.factors),
    variance=jnp.full_like(old.variance, 1e-2),
    gain=jnp.ones_like(old.gain),
  )


def nothing(surface) -> Observed:
  seen = exact(surface.anchors, jnp.zeros(surface.anchors.modes.shape[-1]), VIEW)
  return seen._replace(seen=0 * seen.seen, mesh_seen=0 * seen.mesh_seen)


def test_slopes_are_finite_differences(surface):
  face = 0.3 * jax.random.normal(jax.random.key(1), surface.errors.gain.shape)
  _, slopes = head_model.numbers(surface.anchors, face, VIEW)
  direction = jax.random.normal(jax.random.key(2), slopes.shape[1:])

  def at(t):
    view = head_model.moved(VIEW, t * direction[:7])
    return head_model.numbers(surface.anchors, face + t * direction[7:], view)[0]

  step = 5e-3
  numeric = (at(step) - at(-step)) / (2 * step)
  np.testing.assert_allclose(slopes @ direction, numeric, atol=5e-3, rtol=0.02)


def test_exact_numbers_give_the_face(surface):
  rng = np.random.default_rng(3)
  face = jnp.asarray(rng.normal(size=surface.errors.gain.shape), jnp.float32)
  seen = exact(surface.anchors, face, VIEW)
  start = View(jnp.eye(3), jnp.zeros(3), VIEW.distance)
  found = jax.jit(estimate)(surface.anchors, sure(surface), seen, start)
  away = lambda x: float(jnp.abs(surface.anchors.modes @ x).mean())
  assert away(found.face - face) < 0.25 * away(face)
  assert float(found.seen) == 1


def test_without_anything_seen_the_head_is_the_mean_one(surface):
  found = estimate(surface.anchors, surface.errors, nothing(surface), VIEW)
  np.testing.assert_allclose(found.face, 0, atol=1e-4)
  identity = np.eye(len(found.face))
  np.testing.assert_allclose(found.precision, identity, atol=1e-3)


def test_more_that_is_seen_means_smaller_deviations(surface):
  face = jnp.zeros_like(surface.errors.gain)
  all_seen = exact(surface.anchors, face, VIEW)
  half = all_seen._replace(seen=all_seen.seen.at[::2].set(0.0))
  stated = [
    deviations(
      MODEL,
      surface,
      jax.tree.map(
        np.asarray, estimate(surface.anchors, surface.errors, observed, VIEW)
      ),
    ).mean()
    for observed in (all_seen, half, nothing(surface))
  ]
  assert stated == sorted(stated)
  assert stated[0] < 0.99 * stated[2]


def test_normal_equations_are_those_of_the_dense_covariance():
  rng = np.random.default_rng(0)
  q, n, r = 30, 4, 5
  slopes, error = rng.normal(size=(q, n)), rng.normal(size=q)
  factors, variance = rng.normal(size=(r, q)), rng.uniform(0.5, 2, q)
  errors = anchoring.Errors(
    bias=jnp.zeros((anchoring.FEATURES, q)),
    factors=jnp.asarray(factors),
    variance=jnp.asarray(variance),
    gain=jnp.ones(n),
    misfit=jnp.ones(()),
    calibration=jnp.ones(()),
  )
  known = rng.random(q) > 0.3
  gradient, hessian = normal_equations(
    errors, jnp.asarray(error), jnp.asarray(slopes), jnp.asarray(known * 1.0)
  )
  covariance = (factors.T @ factors + np.diag(variance))[np.ix_(known, known)]
  inverse = np.linalg.inv(covariance)
  kept = slopes[known]
  np.testing.assert_allclose(hessian, kept.T @ inverse @ kept, rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(
    gradient, kept.T @ inverse @ error[known], rtol=1e-3, atol=1e-3
  )


def test_photos_of_a_person_count_together():
  """The same as one linear problem with a shared identity."""
  rng = np.random.default_rng(1)
  count, more, photos = 3, 2, 3
  total = count + photos * more
  joint, right = np.eye(total), np.zeros(total)
  alone, faces = [], []
  for k in range(photos):
    rows, said = rng.normal(size=(6, count + more)), rng.normal(size=6)
    own = np.eye(count + more) + rows.T @ rows
    alone.append(own)
    faces.append(np.linalg.solve(own, rows.T @ said))
    at = np.r_[:count, count + k * more : count + (k + 1) * more]
    joint[np.ix_(at, at)] += rows.T @ rows
    right[at] += rows.T @ said
  zero = np.zeros(photos)
  found = Estimate(np.array(faces), np.array(alone), View(zero, zero, zero), zero, zero)
  together = shared(found, [7] * photos, count)
  expected = np.linalg.solve(joint, right)
  np.testing.assert_allclose(together.face[0, :count], expected[:count], atol=1e-5)
  np.testing.assert_allclose(
    together.face[:, count:].ravel(), expected[count:], atol=1e-5
  )
  apart = shared(found, [1, 2, 3], count)
  np.testing.assert_allclose(apart.face, found.face, atol=1e-5)


def test_an_unreadable_photo_does_not_spoil_the_others_of_its_person(surface):
  """The other photos share the identity that they have without it."""
  count, n = surface.identity, surface.anchors.modes.shape[-1]
  face = np.random.default_rng(3).normal(size=(3, n)).astype(np.float32)
  precision = np.tile(3 * np.eye(n, dtype=np.float32), (3, 1, 1))
  view = View(*(jnp.broadcast_to(x, (3, *x.shape)) for x in VIEW))
  of = lambda rows, values: Estimate(
    jnp.asarray(values), jnp.asarray(precision[rows]),
    View(*(x[rows] for x in view)), jnp.ones(len(rows)), jnp.ones(len(rows)),
  )  # fmt: skip
  without = shared(of(np.arange(2), face[:2]), [0, 0], count)
  broken = face.copy()
  broken[2] = np.nan
  found = shared(of(np.arange(3), broken), [0, 0, 0], count)
  np.testing.assert_array_equal(found.face[:2], without.face)
  assert np.isnan(found.face[2]).all()


def rendered(pose) -> Maps:
  """Returns exact maps of the mean head."""
  template, side = MODEL.template, 48
  world = head_to_world(jnp.asarray(template.vertices)[None], jnp.asarray(pose)[None])
  raster = rasterize(world_to_clip(world, Camera()), template.faces, (side, side))
  points = jnp.asarray(template.vertices)[None]
  seen = np.asarray(interpolate(points, raster, template.faces))[0]
  covered = np.asarray(raster)[0, ..., 3:] > 0
  ones = np.ones((side, side, 1), np.float32)
  return Maps(seen, ones * [0, 0, 1], ones * [0.005, 0.1], covered * ones)


def test_votes_find_the_anchors_and_broken_pixels_do_not_vote(surface):
  pose = np.array([0.05, 0.3, 0.0, 0.02, 0.01, 0.1], np.float32)
  maps = rendered(pose)
  mesh = jnp.full((len(surface.anchors.mesh), 2), jnp.nan)
  points = jnp.asarray(MODEL.template.vertices)[::37]
  none = jnp.zeros((len(points), 3, 0))
  old = surface.anchors
  still = old.mesh_modes[..., :0]
  anchors = anchoring.Anchors(points, none, points, none, old.mesh, still)
  view = View(rotation.axis_angle_to_matrix(pose[:3]), pose[3:], jnp.log(10.0))
  truth, _ = head_model.seen(points, none, jnp.zeros(0), view)
  told = votes.observe(anchors, maps, mesh, Camera())
  seen = np.asarray(told.seen) > 0
  away = np.linalg.norm(np.asarray(told.places - truth), axis=1)[seen]
  assert seen.sum() > 20
  assert np.median(away) < 0.01
  assert float(told.mesh_seen) == 0
  broken = np.array(maps.points)
  broken[:, :20] = np.nan
  part = votes.observe(anchors, maps._replace(points=broken), mesh, Camera())
  assert np.isfinite(part.places).all()
  assert 0 < part.seen.sum() < told.seen.sum()
  blind = votes.observe(anchors, maps._replace(points=broken * np.nan), mesh, Camera())
  assert float(blind.seen.sum()) == 0


def face() -> tuple[Face, Crop]:
  """Returns a face whose landmarks are those of the mean head in a crop."""
  marks = np.random.default_rng(0).uniform(60, 140, (468, 3))
  px = MODEL.template.landmark_positions(MODEL.template.vertices)[:, :2]
  px = 96 + px * [96 / 1.1, -96 / 1.1]
  box = np.concatenate([px.min(0), px.max(0)])
  return Face(box, 1.0, marks, px), Crop(np.eye(3)[:2], 192)


def test_useless_maps_give_a_head_on_the_face_that_says_so():
  found, crop = face()
  image = np.zeros((1, 192, 192, 3), np.uint8)
  maps = read_surface(image)
  broken = Maps(*(x * np.nan for x in maps))
  (fit,) = fit_surface(MODEL, [found], [crop], image, Camera(), maps=broken)
  assert np.isfinite(fit.vertices).all()
  assert np.isfinite(fit.pose).all()
  assert any("0 % of the face's surface" in doubt for doubt in fit.doubts)
  assert fit.deviations is not None
  assert np.isfinite(fit.deviations).all()


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
    read_surface(image.astype(np.float32))
  with pytest.raises(ValueError, match=r"images must be \[N, S, S, 3\]"):
    read_surface(image[0])


def test_maps_do_not_depend_on_the_batch():
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (3, 96, 96, 3), np.uint8)
  together, alone = read_surface(images), read_surface(images[2:])
  for a, b in zip(together, alone, strict=True):
    np.testing.assert_allclose(a[2:], b, atol=1e-4)
  assert read_surface(images[:0]).points.shape == (0, 48, 48, 3)
