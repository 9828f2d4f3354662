"""Gradients of the primitives against finite differences, float64, both modes.

Those of `texture` are in the files on shading and mip maps, those of `antialias`,
`peel` and PyTorch3D's form in theirs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from tests.render import scenes

SIZE = (10, 12)


def _check(loss, at, rng, *, scale=1e-7, rtol=1e-4):
  """Reverse mode, forward mode and central differences along random directions."""
  gradient = jax.grad(loss)(at)
  assert np.abs(gradient).max() > 0
  for _ in range(3):
    step = jnp.asarray(scale * rng.normal(size=at.shape))
    change = (loss(at + step) - loss(at - step)) / 2
    np.testing.assert_allclose((gradient * step).sum(), change, rtol=rtol, atol=1e-12)
    forward = jax.jvp(loss, (at,), (step,))[1]
    np.testing.assert_allclose(forward, (gradient * step).sum(), rtol=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_weights_and_their_derivatives_by_vertices(seed):
  """Scenes in perspective, with triangles beyond the border."""
  with jax.enable_x64(True):
    pos, tri = scenes.random_scene(seed, triangles=8)
    rng = np.random.default_rng(seed)
    probe = jnp.asarray(rng.normal(size=(1, *SIZE, 6)))

    @jax.jit
    def loss(pos):
      rast, slopes = render.rasterize_with_derivatives(pos, tri, SIZE, backend="xla")
      # Squashed: where a triangle is seen edge-on its weights turn very fast.
      return jnp.sum(jnp.tanh(jnp.concatenate([rast[..., :2], slopes], -1)) * probe)

    _check(loss, jnp.asarray(pos, jnp.float64), rng)


def test_depth_and_ids_have_no_gradient():
  pos, tri = scenes.cube()
  loss = lambda p: jnp.sum(render.rasterize(p, tri, SIZE, backend="xla")[..., 2:] ** 2)
  assert not np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(pos))).any()


@pytest.mark.parametrize("channels", [3, 20])
def test_attributes_by_everything(channels):
  """Few channels and many are summed in two ways; empty pixels pass nothing on."""
  with jax.enable_x64(True):
    pos, tri = scenes.cube(0.5)
    rng = np.random.default_rng(1)
    raster = functools.partial(render.rasterize_with_derivatives, backend="xla")
    rast, slopes = jax.jit(raster, static_argnums=2)(
      jnp.asarray(pos, jnp.float64), tri, SIZE
    )
    attr = jnp.asarray(rng.normal(size=(1, 8, channels)))
    probe = jnp.asarray(rng.normal(size=(1, *SIZE, channels, 3)))

    @jax.jit
    def loss(attr, weights, slopes):
      shown = jnp.concatenate([weights, rast[..., 2:]], -1)
      value, change = render.interpolate_with_derivatives(attr, shown, tri, slopes)
      both = jnp.concatenate([value[..., None], change], -1)
      return jnp.sum(jnp.sin(both) * probe)

    weights = rast[..., :2]
    _check(lambda a: loss(a, weights, slopes), attr, rng, scale=1e-6)
    _check(lambda w: loss(attr, w, slopes), weights, rng, scale=1e-6)
    _check(lambda s: loss(attr, weights, s), slopes, rng, scale=1e-6)
    by_weights = jax.grad(loss, 1)(attr, weights, slopes)
    assert not np.asarray(by_weights)[np.asarray(rast[..., 3]) == 0].any()


@pytest.mark.slow
def test_a_whole_picture_by_its_vertices():
  """rasterize, interpolate, mip-mapped texture and antialias in one."""
  with jax.enable_x64(True):
    pos, tri = scenes.cube(0.5)
    rng = np.random.default_rng(2)
    uvs = jnp.asarray(rng.uniform(0.1, 0.9, (1, 8, 2)))
    tex = jnp.asarray(rng.uniform(size=(1, 16, 16, 2)))
    probe = jnp.asarray(rng.normal(size=(1, *SIZE, 2)))

    @jax.jit
    def loss(pos):
      rast, slopes = render.rasterize_with_derivatives(pos, tri, SIZE, backend="xla")
      uv, change = render.interpolate_with_derivatives(uvs, rast, tri, slopes)
      color = render.texture(
        tex, uv, filter="linear-mipmap-linear", uv_derivatives=change
      )
      color = render.antialias(
        color * (rast[..., 3:] > 0), rast, pos, tri, backend="xla"
      )
      return jnp.sum(color * probe)

    _check(loss, jnp.asarray(pos, jnp.float64), rng)
