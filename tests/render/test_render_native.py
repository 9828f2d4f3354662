"""The backends of the rasterizer against the definition in C++, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from affjax import render
from affjax.native import compilers, library
from affjax.render import _native, _xla
from tests.render import definition, hostile, scenes

try:
  compilers.find("cpu")
except compilers.CompileError as error:
  pytest.skip(f"needs a C++ compiler: {error}", allow_module_level=True)

nearest = jax.jit(_xla.nearest, static_argnums=2)
kernel = jax.jit(
  lambda pos, tri, size: _native.triangle_ids(pos, tri, size, backend="cpp"),
  static_argnums=2,
)


@pytest.mark.parametrize("resolution", [(16, 20), (37, 33)])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_portable_search_equals_the_definition(kind, resolution):
  """In all, 1,280 scenes: ids and depths have the same bits."""
  for seed in range(2):
    pos, tri = hostile.scenes(kind, seed, batch=40, resolution=resolution)
    ids, depth = definition.rasterize(pos, tri, resolution)
    found_depth, found = nearest(pos, tri, resolution)
    np.testing.assert_array_equal(np.asarray(found), ids)
    np.testing.assert_array_equal(np.asarray(found_depth), depth)
    assert (ids > 0).any()


@pytest.mark.parametrize("resolution", [(16, 20), (37, 33), (70, 130)])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_kernel_equals_the_definition(kind, resolution):
  for seed in range(2, 4):
    pos, tri = hostile.scenes(kind, seed, batch=20, resolution=resolution)
    ids, _ = definition.rasterize(pos, tri, resolution)
    np.testing.assert_array_equal(np.asarray(kernel(pos, tri, resolution)), ids)


def test_large_mesh_large_picture_and_batch():
  """Many chunks of triangles, many tiles, tiles at the border, images in groups."""
  pos, tri = scenes.bumpy_ball(1, rings=60)
  pos = np.concatenate([pos, pos * np.array([1.7, 0.6, 1, 1], np.float32)])
  found = kernel(pos, tri, (200, 330))
  np.testing.assert_array_equal(found, nearest(pos, tri, (200, 330))[1])
  pos, tri = scenes.random_scene(5, batch=70, triangles=6)
  np.testing.assert_array_equal(
    kernel(pos, tri, (9, 65)), nearest(pos, tri, (9, 65))[1]
  )


def test_hidden_triangles_that_fill_the_picture():
  """Triangles behind a whole tile are skipped; they must not show, even at ties."""
  rng = np.random.default_rng(0)
  depth = np.repeat(np.round(rng.uniform(-1, 1, 300), 1), 3)[:, None]
  xy = np.tile([[-5.0, -5], [9, -5], [-5, 9]], (300, 1))
  xy += 0.1 * rng.normal(size=xy.shape)
  pos = np.concatenate([xy, depth, np.ones_like(depth)], 1)[None].astype(np.float32)
  tri = np.arange(900, dtype=np.int32).reshape(-1, 3)
  np.testing.assert_array_equal(
    kernel(pos, tri, (100, 90)), nearest(pos, tri, (100, 90))[1]
  )


@pytest.mark.parametrize("vertices", [0, 3])
def test_kernel_on_empty_meshes(vertices):
  tri = jnp.zeros((0, 3), jnp.int32)
  assert not np.asarray(kernel(jnp.ones((2, vertices, 4)), tri, (4, 5))).any()
  tri = jnp.array([[7, 8, 9]])
  assert not np.asarray(kernel(jnp.ones((2, vertices, 4)), tri, (4, 5))).any()


def test_twice_the_same():
  pos, tri = scenes.bumpy_ball(2, rings=40)
  first = np.asarray(kernel(pos, tri, (128, 128)))
  for _ in range(5):
    np.testing.assert_array_equal(kernel(pos, tri, (128, 128)), first)


@pytest.mark.parametrize("backend", ["auto", "cpp"])
def test_batch_on_four_devices_needs_no_communication(backend):
  pos, tri = scenes.random_scene(3, batch=4, triangles=6)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  placed = jax.device_put(pos, NamedSharding(mesh, PartitionSpec("data")))
  raster = lambda p: render.rasterize(p, tri, (8, 8), backend=backend)
  for run in (raster, jax.grad(lambda p: raster(p)[..., :2].sum())):
    run = jax.jit(run)
    program = run.lower(placed).compile().as_text()
    assert "all-" not in program
    assert "collective" not in program
    np.testing.assert_allclose(run(placed), run(pos), atol=1e-6)


def test_forward_mode_passes_the_kernel():
  pos, tri = scenes.cube()
  along = np.random.default_rng(0).normal(size=pos.shape).astype(np.float32)

  def tangent(backend):
    raster = lambda p: render.rasterize(p, tri, (16, 16), backend=backend)
    return jax.jit(lambda p, t: jax.jvp(raster, (p,), (t,))[1])(pos, along)

  np.testing.assert_allclose(tangent("cpp"), tangent("xla"), atol=1e-5)


@pytest.mark.slow
def test_a_kernel_that_cannot_be_had_says_why(monkeypatch):
  pos, tri = scenes.cube()
  missing = library.Status(False, "the reason")
  monkeypatch.setattr(library, "status", lambda name, platform: missing)
  with pytest.raises(RuntimeError, match="the reason"):
    render.rasterize(jnp.asarray(pos), tri, (4, 4), backend="cpp")
  _native._search.cache_clear()
  found = render.rasterize(jnp.asarray(pos), tri, (4, 4))
  _native._search.cache_clear()
  np.testing.assert_array_equal(
    found[..., 3],
    render.rasterize(jnp.asarray(pos), tri, (4, 4), backend="xla")[..., 3],
  )
