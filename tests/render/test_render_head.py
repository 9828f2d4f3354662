"""Painting a textured head: placement, layers, buffers, what is kept of the photo."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.geometry.camera import world_to_px
from affjax.render import composite, keep_original
from affjax.types import Camera
from tests.render import scenes

pytestmark = pytest.mark.smoke  # on a newer jax as well, see `make smoke`

PLATE = scenes.square_template()


@functools.partial(jax.jit, static_argnames=("size", "antialias"))
def render_head(vertices, texture, *, size=24, antialias=True):
  return render.render_head(
    vertices, texture, PLATE, Camera(), (size, size), antialias=antialias
  )


@jax.jit
def head_buffers(vertices):
  return render.head_buffers(vertices, PLATE, Camera(), (32, 32))


TEXTURE = jnp.asarray(
  np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])[None].repeat(8, 1), float
).repeat(8, 2)


def _vertices(z=0.0):
  return jnp.asarray(PLATE.vertices)[None] + jnp.array([0, 0, z])[None, None]


def test_the_texture_lies_upright_where_the_camera_puts_it():
  render, alpha = render_head(_vertices(), TEXTURE, size=40)
  corners = np.asarray(world_to_px(_vertices()[0], Camera(), 40, 40))
  (left, top), (right, bottom) = corners.min(0), corners.max(0)
  seen = np.argwhere(np.asarray(alpha)[0, ..., 0] > 0.5)
  np.testing.assert_allclose(seen.min(0), [top, left], atol=1)
  np.testing.assert_allclose(seen.max(0), [bottom, right], atol=1)
  picture = np.asarray(render)[0]
  inner = lambda r, c: picture[int(r), int(c)]
  near, far = 0.75, 0.25
  rows = [top * near + bottom * far, top * far + bottom * near]
  columns = [left * near + right * far, left * far + right * near]
  np.testing.assert_allclose(inner(rows[0], columns[0]), [1, 0, 0], atol=1e-5)
  np.testing.assert_allclose(inner(rows[0], columns[1]), [0, 1, 0], atol=1e-5)
  np.testing.assert_allclose(inner(rows[1], columns[0]), [0, 0, 1], atol=1e-5)


def test_render_is_premultiplied_and_composites():
  white = jnp.ones((1, 8, 8, 3))
  render, alpha = render_head(_vertices(), white, size=40)
  np.testing.assert_allclose(render, jnp.repeat(alpha, 3, -1), atol=1e-6)
  image = jnp.full((1, 40, 40, 3), 0.25)
  over = composite(image, render, alpha)
  np.testing.assert_allclose(over, 0.25 + 0.75 * jnp.repeat(alpha, 3, -1), atol=1e-6)
  partly = (np.asarray(alpha) > 0.01) & (np.asarray(alpha) < 0.99)
  assert partly.any()


def test_without_antialiasing_coverage_is_zero_or_one_and_has_no_gradient():
  def coverage(z, antialias):
    _, alpha = render_head(_vertices(z), TEXTURE, antialias=antialias)
    return jnp.sum(alpha)

  _, hard = render_head(_vertices(), TEXTURE, antialias=False)
  assert set(np.unique(np.asarray(hard))) <= {0.0, 1.0}
  slope = jax.jit(jax.grad(coverage), static_argnums=1)
  assert float(slope(0.1, False)) == 0
  assert float(slope(0.1, True)) > 1  # nearer is larger


def test_buffers_hold_exact_depth_normals_and_groups():
  buffers = head_buffers(_vertices(0.5))
  mask = np.asarray(buffers.mask)[0, ..., 0]
  np.testing.assert_allclose(np.asarray(buffers.depth)[0][mask], 9.5, atol=1e-5)
  normal = np.broadcast_to([0, 0, 1], (mask.sum(), 3))
  np.testing.assert_allclose(np.asarray(buffers.normal)[0][mask], normal, atol=1e-6)
  group = np.asarray(buffers.group)[0]
  assert set(np.unique(group)) == {-1, 0, 1}
  assert (group[~mask] == -1).all()
  fields = {f.name for f in dataclasses.fields(buffers)}
  assert {"rast", "uv", "depth", "normal", "group", "mask"} <= fields


def test_original_eyes_are_kept():
  buffers = head_buffers(_vertices())
  image, overlay = jnp.zeros((1, 32, 32, 3)), jnp.ones((1, 32, 32, 3))
  mixed = keep_original(image, overlay, buffers, PLATE, groups=("eyes",))
  eyes = np.asarray(buffers.group)[0] == 1
  assert not np.asarray(mixed)[0][eyes].any()
  assert np.asarray(mixed)[0][~eyes].all()
  with pytest.raises(ValueError, match="skin"):
    keep_original(image, overlay, buffers, PLATE, groups=("hair",))


def test_gradients_reach_vertices_and_texture():
  loss = lambda v, t: jnp.sum(render_head(v, t)[0] ** 2)
  by_vertices, by_texture = jax.grad(loss, (0, 1))(_vertices(), TEXTURE)
  for gradient in (by_vertices, by_texture):
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3
