"""Interpolate and texture: values, gradients, borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from tests.reference import rasterizer as reference
from tests.render import scenes

rasterize = jax.jit(render.rasterize, static_argnums=2, static_argnames="backend")


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  pos, tri = scenes.dyadic_grid(2)
  rast = rasterize(pos, tri, (8, 8))
  with pytest.raises(ValueError, match="attr"):
    render.interpolate(jnp.zeros((2, 4, 3)), rast, tri)
  with pytest.raises(ValueError, match="tri"):
    render.interpolate(jnp.zeros((1, 3, 3)), rast, tri)
  uv = jnp.zeros((1, 8, 8, 2))
  for tex, options, match in (
    (jnp.zeros((4, 4, 3)), {}, "tex"),
    (jnp.zeros((1, 4, 4, 3)), {"filter": "cubic"}, "linear"),
    (jnp.zeros((1, 4, 4, 3)), {"boundary": "mirror"}, "clamp"),
  ):
    with pytest.raises(ValueError, match=match):
      render.texture(tex, uv, **options)


def test_a_linear_attribute_is_reproduced_under_perspective():
  """Linear functions in space are exact: the weights are perspective-correct."""
  pos, tri = scenes.cube()
  rast = rasterize(pos, tri, (32, 32))
  clip = np.asarray(render.interpolate(jnp.asarray(pos), rast, tri))[0]
  hit = np.asarray(rast)[0, ..., 3] > 0
  w = np.where(hit, clip[..., 3], 1)
  x, y = clip[..., 0] / w, clip[..., 1] / w
  place = (2 * np.arange(32) + 1) / 32 - 1
  np.testing.assert_allclose(x[hit], np.broadcast_to(place, (32, 32))[hit], atol=1e-4)
  np.testing.assert_allclose(
    y[hit], np.broadcast_to(place[:, None], (32, 32))[hit], atol=1e-4
  )
  assert not clip[~hit].any()


def test_attribute_gradients_are_the_weights():
  pos, tri = scenes.cube()
  rast = rasterize(pos, tri, (16, 16))
  total = jax.grad(lambda a: jnp.sum(render.interpolate(a, rast, tri)))(
    jnp.zeros((1, 8, 1))
  )
  covered = float((np.asarray(rast)[..., 3] > 0).sum())
  np.testing.assert_allclose(float(total.sum()), covered, rtol=1e-5)


def test_shared_attributes_equal_repeated_ones():
  pos, tri = scenes.random_scene(1, batch=2)
  rast = rasterize(pos, tri, (12, 12))
  attr = jnp.asarray(np.random.default_rng(0).normal(size=(1, 24, 3)), jnp.float32)
  shared = render.interpolate(attr, rast, tri)
  repeated = render.interpolate(jnp.repeat(attr, 2, 0), rast, tri)
  np.testing.assert_allclose(shared, repeated, atol=1e-6)


def test_attribute_derivatives():
  pos, tri = scenes.cube(angle=0.3)
  rast, slopes = render.rasterize_with_derivatives(pos, tri, (32, 32))
  ndc_x = jnp.asarray(pos[..., :1])
  value, change = render.interpolate_with_derivatives(ndc_x, rast, tri, slopes)
  value, change, ids = np.asarray(value)[0], np.asarray(change)[0], np.asarray(rast)
  ids = ids[0, ..., 3]
  same = (ids[:, 2:] == ids[:, :-2]) & (ids[:, 2:] == ids[:, 1:-1]) & (ids[:, 2:] > 0)
  central = (value[:, 2:, 0] - value[:, :-2, 0]) / 2
  np.testing.assert_allclose(change[:, 1:-1, 0, 0][same], central[same], atol=4e-3)


@pytest.mark.parametrize("boundary", ["clamp", "wrap", "zero"])
@pytest.mark.parametrize("texel_centers", [False, True])
def test_texture_agrees_with_the_definition(boundary, texel_centers):
  rng = np.random.default_rng(2)
  tex = rng.uniform(size=(5, 7, 3))
  uv = rng.uniform(-0.4, 1.4, (6, 6, 2))
  if boundary == "wrap" and texel_centers:
    uv = np.clip(uv, 0.01, 0.99)  # 0 and 1 are one place but two texels there
  expected = reference.texture(tex, uv, boundary=boundary, texel_centers=texel_centers)
  found = render.texture(
    jnp.asarray(tex[None], jnp.float32),
    jnp.asarray(uv[None], jnp.float32),
    boundary=boundary,
    texel_centers=texel_centers,
  )
  np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_texture_is_upright():
  tex = jnp.asarray(np.array([[1.0, 2], [3, 4]])[None, ..., None], jnp.float32)
  corners = jnp.asarray([[[[0, 1.0], [1, 1]], [[0, 0], [1, 0]]]])
  np.testing.assert_allclose(
    render.texture(tex, corners)[0, ..., 0], [[1, 2], [3, 4]], atol=1e-6
  )
  nearest = render.texture(tex, corners * 0.98 + 0.01, filter="nearest")
  np.testing.assert_array_equal(nearest[0, ..., 0], [[1, 2], [3, 4]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_wild_uvs_read_no_memory_outside(value):
  tex = jnp.ones((1, 4, 4, 2))
  uv = jnp.full((1, 2, 2, 2), value, jnp.float32).at[0, 0, 0].set(0.5)
  for boundary in ("clamp", "wrap", "zero"):
    found = render.texture(tex, uv, boundary=boundary)
    np.testing.assert_allclose(found[0, 0, 0], 1, atol=1e-6)


def test_texture_gradients_against_finite_differences():
  with jax.enable_x64(True):
    rng = np.random.default_rng(3)
    tex = jnp.asarray(rng.uniform(size=(1, 6, 6, 2)))
    uv = jnp.asarray(rng.uniform(0.1, 0.9, (1, 4, 4, 2)))
    probe = jnp.asarray(rng.normal(size=(1, 4, 4, 2)))
    loss = lambda t, p: jnp.sum(render.texture(t, p) * probe)
    by_tex, by_uv = jax.grad(loss, (0, 1))(tex, uv)
    for gradient, step, moved in (
      (by_tex, rng.normal(size=tex.shape), lambda s: loss(tex + s, uv)),
      (by_uv, rng.normal(size=uv.shape), lambda s: loss(tex, uv + s)),
    ):
      step = 1e-7 * step
      change = (moved(step) - moved(-step)) / 2
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-5)
