"""Light maps of guided networks: smooth over normals, shadows where skin is seen."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry.camera import head_to_world
from affjax.heads import open_head
from affjax.models import _alignment, _light
from affjax.types import Camera

SIZE, CELLS = 64, 8


@pytest.fixture(scope="module")
def alignment():
  template = open_head("embedded").template
  pose = np.array([[0.1, 0.2, 0, 0, 0, 0]], np.float32)
  world = head_to_world(jnp.asarray(template.vertices)[None], jnp.asarray(pose))
  depth = _alignment.picture_of(world, template, Camera(), (SIZE, SIZE))[1]
  deviation = jnp.zeros((1, SIZE, SIZE, 3))
  known = jnp.ones(1)
  return _alignment.align(
    world, depth, template, Camera(), deviation=deviation, known=known
  )


def _cells(values):
  shape = (1, CELLS, SIZE // CELLS, CELLS, SIZE // CELLS, -1)
  return np.asarray(values).reshape(shape).mean((2, 4))


def _of_normals(alignment):
  """Light from above and the left, with a term of second order."""
  normal = _cells(alignment.normals)
  normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-3)
  x, y, z = np.moveaxis(normal, -1, 0)
  light = (0.8 + 0.1 * y - 0.1 * x + 0.05 * x * y + 0.1 * z)[..., None]
  return jnp.asarray(light)


def test_light_of_the_normals_is_kept(alignment):
  light = _of_normals(alignment)
  got = np.asarray(_light.settled(light, alignment))
  seen = _cells(alignment.visible) > 0.25
  assert seen.sum() > 10
  np.testing.assert_allclose(got[seen], light[seen], atol=0.02)
  assert np.ptp(light[seen]) > 0.1


def test_a_blotch_where_nothing_is_seen_disappears(alignment):
  light = _of_normals(alignment)
  hidden = _cells(alignment.visible) == 0
  assert hidden.sum() > 10
  blotched = jnp.where(hidden, 0.1, light)
  want, got = (_light.settled(x, alignment) for x in (light, blotched))
  np.testing.assert_allclose(got, want, atol=0.01)


def test_half_of_a_shadow_on_seen_skin_is_kept(alignment):
  light = _of_normals(alignment)
  visible = _cells(alignment.visible)
  shadow = np.zeros_like(light)
  shadow.ravel()[np.argmax(visible)] = -0.4
  lit, shaded = (
    _light.settled(x, alignment) for x in (light, light + jnp.asarray(shadow))
  )
  change = np.asarray(shaded - lit).ravel()[np.argmax(visible)]
  # The harmonics take a little of it.
  assert -0.3 < change < -0.2


def test_light_stays_positive_and_finite_where_no_normal_is_known(alignment):
  unknown = dataclasses.replace(
    alignment,
    visible=jnp.zeros_like(alignment.visible),
    cues=jnp.zeros_like(alignment.cues),
  )
  light = np.random.default_rng(0).random((1, CELLS, CELLS, 1), np.float32)
  got = np.asarray(_light.settled(jnp.asarray(light), unknown))
  np.testing.assert_allclose(got, light.mean(), rtol=1e-3)


def test_even_light_stays_as_it_is(alignment):
  light = jnp.full((1, CELLS, CELLS, 1), 0.7)
  np.testing.assert_allclose(_light.settled(light, alignment), light, rtol=1e-3)
