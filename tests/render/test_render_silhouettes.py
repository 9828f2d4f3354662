"""The search for silhouette edges in C++ against portable XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from affjax.geometry import mesh
from affjax.native import library
from affjax.render import antialias, rasterize
from tests.native import test_cuda_silhouettes

SIZE = (37, 45)

needs_kernel = pytest.mark.skipif(
  not library.status("rasterizer", "cpu").ready, reason="no C++ kernel here"
)


def _scene(kind: str, seed: int = 0):
  """Clip-space vertices of four images, triangles, their tables."""
  pos, tri = test_cuda_silhouettes.scene(kind, np.random.default_rng(seed))
  tables = {"opposite": mesh.opposite_vertices(tri), "neighbors": mesh.neighbors(tri)}
  return jnp.asarray(pos, jnp.float32), tri.astype(np.int32), tables


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradients(backend, color, pos, tri, tables):
  def loss(color, pos):
    rast = rasterize(pos, tri, SIZE)
    picture = antialias(color, rast, pos, tri, backend=backend, **tables)
    return jnp.sum(picture**2), picture

  return jax.grad(loss, (0, 1), has_aux=True)(color, pos)


@needs_kernel
@pytest.mark.parametrize("kind", ["soup", "fine"])
def test_backends_agree_in_values_and_gradients(kind):
  for seed in range(5):
    pos, tri, tables = _scene(kind, seed)
    color = jax.random.uniform(jax.random.key(seed), (4, *SIZE, 3))
    gradients, picture = _value_and_gradients("cpp", color, pos, tri, tables)
    expected, portable = _value_and_gradients("xla", color, pos, tri, tables)
    assert np.sum(portable != color) > 200
    np.testing.assert_allclose(picture, portable, atol=1e-5)
    for got, want in zip(gradients, expected, strict=True):
      np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


@pytest.mark.slow
@needs_kernel
def test_images_divide_among_devices():
  pos, tri, tables = _scene("coarse")
  color = jax.random.uniform(jax.random.key(0), (4, *SIZE, 3))
  devices = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
  rows = NamedSharding(devices, PartitionSpec("data"))
  whole = _value_and_gradients("cpp", color, pos, tri, tables)
  arrays = (jax.device_put(v, rows) for v in (color, pos))
  shared = _value_and_gradients("cpp", *arrays, tri, tables)
  for got, want in zip(jax.tree.leaves(shared), jax.tree.leaves(whole), strict=True):
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_vmap_and_forward_mode():
  pos, tri, tables = _scene("coarse")
  rast = jax.jit(lambda pos: rasterize(pos, tri, SIZE))(pos)
  color = jax.random.uniform(jax.random.key(0), (4, *SIZE, 3))

  def one(color, rast, pos):
    return antialias(color[None], rast[None], pos[None], tri, **tables)[0]

  @jax.jit
  def all_at_once(color, rast, pos):
    blend = lambda pos: antialias(color, rast, pos, tri, **tables)
    return jax.jvp(blend, (pos,), (pos * 0.1,))

  whole, slope = all_at_once(color, rast, pos)
  one_by_one = jax.jit(jax.vmap(one))(color, rast, pos)
  np.testing.assert_allclose(one_by_one, whole, atol=1e-4)
  assert np.all(np.isfinite(slope))


def test_unknown_backend_is_an_error():
  pos, tri, tables = _scene("coarse")
  rast = jnp.zeros((4, *SIZE, 4))
  with pytest.raises(ValueError, match="backend must be one of"):
    antialias(rast, rast, pos, tri, backend="opengl", **tables)


@pytest.mark.parametrize("size", [(1, 5), (5, 1)])
def test_pictures_of_one_row_or_column(size):
  pos, tri, tables = _scene("coarse")

  @jax.jit
  def pictures(pos):
    rast = rasterize(pos, tri, size)
    blend = lambda backend: antialias(rast, rast, pos, tri, backend=backend, **tables)
    return blend("auto"), blend("xla")

  picture, expected = pictures(pos)
  np.testing.assert_allclose(picture, expected, atol=1e-5)
