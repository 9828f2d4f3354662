"""Parts of the script that locates FaceMesh's points on a template."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import camera as cameras
from affjax.heads import facemesh, landmarks, open_head, random_vertices
from affjax.types import Camera

MODEL = open_head("embedded")
HEAD = MODEL.template


@pytest.fixture(scope="module")
def script():
  from experiments.assets import facemesh_correspondence

  return facemesh_correspondence


def test_the_surface_under_a_pixel(script):
  """Projected points of a posed random head are found on the mean head."""
  rng = np.random.default_rng(0)
  vertices = np.asarray(random_vertices(rng, MODEL, 1)[0])
  pose = np.array([0.15, -0.3, 0.1, 0.05, -0.04, 0.2], np.float32)
  points = facemesh.points(HEAD)
  at = facemesh.positions(jnp.asarray(vertices), HEAD, points)
  world = cameras.head_to_world(at, jnp.asarray(pose))
  px = np.asarray(cameras.world_to_px(world, Camera(), script.SIZE, script.SIZE))
  found = script.under(px, vertices, pose, HEAD)
  expected = np.asarray(facemesh.positions(jnp.asarray(HEAD.vertices), HEAD, points))
  seen = np.isfinite(found[:, 0])
  # The far cheek is grazed, lips and wings of the nose hide a few.
  assert 0.7 < seen.mean() < 1
  gap = np.linalg.norm(found - expected, axis=1)[seen]
  assert np.median(gap) < 1e-3
  assert np.mean(gap < 1e-3) > 0.9
  beside = script.under(np.array([[1.0, 1.0]]), vertices, pose, HEAD)
  assert np.isnan(beside).all()


def test_places_are_medians_over_both_sides(script):
  """Known points are recovered from noise, with gaps, unequal on both sides."""
  rng, marks = np.random.default_rng(1), HEAD.landmark_positions(HEAD.vertices)
  marks = np.asarray(marks)[36:48]
  mirror = landmarks.MIRRORED[36:48] - 36
  seen = marks + 0.01 * rng.standard_normal((200, 12, 3))
  seen[rng.random((200, 12)) < 0.3] = np.nan
  seen[:10, 3] += 1.0  # plainly wrong
  whole = script.placed(seen, mirror, HEAD)
  corners = HEAD.vertices[HEAD.faces[whole["faces"]]]
  places = np.einsum("kc,kcx->kx", whole["weights"], corners)
  np.testing.assert_allclose(places, marks, atol=0.01)
  np.testing.assert_allclose(places[mirror] * [-1, 1, 1], places, atol=2e-3)
  assert (whole["sigma"] > 0.008).all()
  seen[:, [0, 9]] = np.nan
  with pytest.raises(SystemExit, match=r"\[0, 9\]"):
    script.placed(seen, mirror, HEAD)
