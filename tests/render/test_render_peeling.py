"""Depth peeling: order, completeness, ties, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from affjax import render
from affjax.native import compilers
from affjax.render import _native
from tests.reference import rasterizer as reference
from tests.render import hostile, scenes

RESOLUTION = (12, 16)
rasterize = jax.jit(render.rasterize, static_argnums=2)
peel = jax.jit(render.peel, static_argnums=2, static_argnames=("layers", "backend"))


def _stack_of_plates(depths):
  """Full-screen plates of two triangles each at the given z/w, `w = 1`."""
  corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 1.5
  pos = [np.c_[corners, np.full(4, z), np.ones(4)] for z in depths]
  quad = np.array([[0, 1, 2], [0, 2, 3]])
  tri = np.concatenate([quad + 4 * k for k in range(len(depths))])
  return jnp.asarray(np.concatenate(pos)[None], jnp.float32), tri.astype(np.int32)


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  pos, tri = scenes.dyadic_grid(2)
  for bad, match in (
    ({"layers": 0}, "layers"),
    ({"layers": 1, "backend": "metal"}, "backend"),
    ({"layers": 1, "resolution": (0, 3)}, "resolution"),
  ):
    with pytest.raises(ValueError, match=match):
      render.peel(jnp.asarray(pos), tri, **{"resolution": (4, 4), **bad})


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_definition(seed):
  """Each layer is the definition's raster of the triangles that are still unseen."""
  pos, tri = scenes.random_scene(seed, triangles=8)
  found = np.asarray(peel(pos, tri, RESOLUTION, layers=6))[:, 0]
  layers, sure = _definition(pos[0], tri, 6)
  assert sure.mean() > 0.97
  np.testing.assert_array_equal(found[:, sure, 3], layers[:, sure, 3])
  np.testing.assert_allclose(found[:, sure, :3], layers[:, sure, :3], atol=2e-3)
  assert (layers[2, ..., 3] > 0).any()


def _definition(pos, tri, count):
  """Layers `[count, H, W, 4]` by sorting what single triangles show, and where sure."""
  height, width = RESOLUTION
  alone = [
    reference.rasterize(pos, tri[k : k + 1], RESOLUTION) for k in range(len(tri))
  ]
  depth = np.stack([np.where(r[..., 3] > 0, r[..., 2], np.inf) for r, _ in alone])
  margin = np.stack([m for _, m in alone]).min(0)
  order = np.argsort(depth, 0, kind="stable")
  depth = np.sort(depth, 0)
  gap = np.diff(
    np.where(np.isfinite(depth), depth, 1e9 + np.arange(len(tri))[:, None, None]),
    axis=0,
  )
  margin = np.minimum(margin, gap.min(0))
  layers = np.zeros((count, height, width, 4))
  rows, columns = np.indices(RESOLUTION)
  rasters = np.stack([r for r, _ in alone])
  for k in range(min(count, len(tri))):
    picked = rasters[order[k], rows, columns]
    picked[..., 3] = np.where(picked[..., 3] > 0, order[k] + 1, 0)
    layers[k] = picked
  return layers, margin > 1e-5


def test_the_first_layer_is_what_rasterize_gives():
  pos, tri = scenes.random_scene(11, batch=2)
  first = peel(pos, tri, RESOLUTION, layers=2)[0]
  np.testing.assert_array_equal(first, rasterize(pos, tri, RESOLUTION))


def test_equal_depths_come_in_order_of_ids():
  pos, tri = _stack_of_plates([0.5, -0.2, 0.5, -0.2, -0.2])
  found = np.asarray(peel(pos, tri, (3, 3), layers=7))[:, 0, ..., 3]
  plates = (found.astype(int) + 1) // 2 * (found > 0)
  for k, plate in enumerate((2, 4, 5, 1, 3, 0, 0)):
    np.testing.assert_array_equal(plates[k], plate)


def test_nothing_is_lost_and_nothing_seen_twice():
  """Coplanar overlapping triangles: every one that covers a pixel, once."""
  pos, tri = scenes.dyadic_grid(4)
  tri = np.concatenate([tri, tri[::-1], tri[::2]])
  found = np.asarray(peel(pos, tri, (16, 16), layers=4))[:, 0, ..., 3].astype(int)
  cover = [
    np.asarray(rasterize(pos, tri[k : k + 1], (16, 16)))[0, ..., 3]
    for k in range(len(tri))
  ]
  expected = np.array(cover).sum(0)
  np.testing.assert_array_equal((found > 0).sum(0), expected)
  assert expected.max() == 3
  for column in found.reshape(4, -1).T:
    seen = column[column > 0]
    assert len(set(seen)) == len(seen)
    assert (np.diff(seen) > 0).all()  # all at one depth


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty_scenes(shape):
  batch, triangles = shape
  pos, tri = jnp.zeros((batch, 4, 4)), np.zeros((triangles, 3), np.int32)
  found = render.peel(pos, tri, (3, 4), layers=2)
  assert found.shape == (2, batch, 3, 4, 4)
  assert not found.any()


def test_vmap_equals_a_loop():
  scene = [scenes.random_scene(seed) for seed in (1, 2)]
  pos = jnp.asarray(np.stack([s[0] for s in scene]))
  tri = jnp.asarray(np.stack([s[1] for s in scene]))
  one = functools.partial(render.peel, resolution=RESOLUTION, layers=3)
  mapped = jax.jit(jax.vmap(one))(pos, tri)
  for k in range(2):
    np.testing.assert_allclose(mapped[k], jax.jit(one)(pos[k], tri[k]), atol=1e-6)


def test_gradients_of_every_layer_against_finite_differences():
  with jax.enable_x64(True):
    pos, tri = scenes.random_scene(3, triangles=14)
    pos, rng = jnp.asarray(pos, jnp.float64), np.random.default_rng(0)
    probe = jnp.asarray(rng.normal(size=(3, 1, *RESOLUTION, 6)))

    @jax.jit
    def loss(pos):
      rast, slopes = render.peel_with_derivatives(pos, tri, RESOLUTION, layers=3)
      value = jnp.concatenate([rast[..., :2], 0.1 * slopes], -1)
      return jnp.sum(jnp.tanh(value) * probe, (1, 2, 3, 4))

    by_layer = jax.jacrev(loss)(pos)
    for _ in range(2):
      step = 1e-7 * rng.normal(size=pos.shape)
      change = (loss(pos + step) - loss(pos - step)) / 2
      found = (by_layer * step[None]).sum((1, 2, 3))
      assert (np.abs(change) > 0).all()
      np.testing.assert_allclose(found, change, rtol=1e-4)


def test_over_is_the_painters_order():
  rng = np.random.default_rng(0)
  alpha = rng.uniform(size=(3, 1, 4, 4, 1))
  color = rng.uniform(size=(3, 1, 4, 4, 3)) * alpha
  painted, covered = np.zeros(color.shape[1:]), np.zeros(alpha.shape[1:])
  for k in (2, 1, 0):
    painted = color[k] + (1 - alpha[k]) * painted
    covered = alpha[k] + (1 - alpha[k]) * covered
  found = render.over(jnp.asarray(color, jnp.float32), jnp.asarray(alpha, jnp.float32))
  np.testing.assert_allclose(found[0], painted, atol=1e-6)
  np.testing.assert_allclose(found[1], covered, atol=1e-6)
  opaque = jnp.ones((2, 1, 2, 2, 1))
  gradient = jax.grad(lambda a: jnp.sum(render.over(a, a)[0]))(opaque)
  assert np.isfinite(gradient).all()  # where cumulative products meet a zero


def test_transparent_plates_do_not_depend_on_the_order_of_triangles():
  pos, tri = _stack_of_plates([0.6, -0.5, 0.1])
  color = jnp.asarray(np.repeat(np.eye(3), 2, 0), jnp.float32)

  def picture(pos, tri, color):
    rast = peel(pos, tri, (4, 4), layers=3)
    hit = rast[..., 3:] > 0
    shown = color[jnp.maximum(rast[..., 3].astype(jnp.int32) - 1, 0)]
    return render.over(0.5 * hit * shown, 0.5 * hit)[0]

  expected = picture(pos, tri, color)
  np.testing.assert_allclose(expected[0, 0, 0], [0.125, 0.5, 0.25], atol=1e-6)
  order = np.array([4, 1, 0, 5, 3, 2])
  np.testing.assert_allclose(
    picture(pos, tri[order], color[order]), expected, atol=1e-6
  )


def _compiler() -> bool:
  try:
    compilers.find("cpu")
  except compilers.CompileError:
    return False
  return True


needs_compiler = pytest.mark.skipif(not _compiler(), reason="needs a C++ compiler")


def _layers_by(backend, pos, tri, size, layers=5):
  return np.asarray(peel(pos, tri, size, layers=layers, backend=backend))[..., 3]


@needs_compiler
@pytest.mark.parametrize("backend", ["cpp", "auto"])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_kernel_equals_the_portable_search(kind, backend):
  size = (37, 33)
  pos, tri = hostile.scenes(kind, 3, batch=20, resolution=size)
  want = _layers_by("xla", pos, tri, size)
  np.testing.assert_array_equal(_layers_by(backend, pos, tri, size), want)
  assert (want[0] > 0).any()
  assert (want[1] > 0).any() == (kind != "grid")  # a plane


@needs_compiler
def test_kernel_on_many_tiles_and_images():
  pos, tri = scenes.bumpy_ball(1, rings=40)
  pos = np.concatenate([pos, pos * np.array([1.7, 0.6, 1, 1], np.float32)])
  found = _layers_by("cpp", pos, tri, (150, 330), 3)
  np.testing.assert_array_equal(found, _layers_by("xla", pos, tri, (150, 330), 3))
  assert (found[1] > 0).mean() > 0.1


@pytest.mark.slow
@needs_compiler
def test_depths_of_the_kernel():
  pos, tri = map(jnp.asarray, scenes.random_scene(1, batch=2))
  shape = (2, *RESOLUTION)
  behind = (jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
  for _ in range(3):
    found, want = (
      _native.nearest(pos, tri, RESOLUTION, behind=behind, backend=backend)
      for backend in ("cpp", "xla")
    )
    for f, w in zip(found, want, strict=True):
      np.testing.assert_array_equal(f, w)
    behind = want


@needs_compiler
@pytest.mark.parametrize("backend", ["cpp", "auto"])
def test_layers_under_vmap_gradients_and_four_devices(backend):
  pos, tri = scenes.random_scene(3, batch=4, triangles=8)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  rows = PartitionSpec("data")

  def loss(pos, backend=backend):
    layers = render.peel(pos, tri, RESOLUTION, layers=3, backend=backend)
    return jnp.sum(layers[..., :2] ** 2)

  want = jax.jit(jax.grad(lambda p: loss(p, "xla")))(pos)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
  close(jax.jit(jax.grad(loss))(pos), want)
  each = jax.jit(jax.vmap(jax.grad(lambda p: loss(p[None]))))(pos)
  close(each, want)
  mapped = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=rows, out_specs=rows)
  close(jax.jit(mapped)(pos), want)
  placed = jax.device_put(pos, NamedSharding(mesh, rows))
  run = jax.jit(jax.grad(loss))
  assert "all-" not in str(run.lower(placed).compile().as_text())
  close(run(placed), want)
