"""The kernels for places in triangles and their gradients, against plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from affjax import render
from affjax.native import compilers
from affjax.render import _locating, _location, _native
from tests.render import definition, hostile, scenes

try:
  compilers.find("cpu")
except compilers.CompileError as error:
  pytest.skip(f"needs a C++ compiler: {error}", allow_module_level=True)

SIZE = (19, 37)
BACKENDS = ("auto", "cpp")


def _raster(backend, *, derivatives=True, size=SIZE):
  """The raster and its slopes as one picture of eight channels."""

  def run(pos, tri):
    if not derivatives:
      return render.rasterize(pos, tri, size, backend=backend)
    found = render.rasterize_with_derivatives(pos, tri, size, backend=backend)
    return jnp.concatenate(found, -1)

  return run


def _loss(backend, tri, *, derivatives=True):

  def run(pos):
    rng = np.random.default_rng(3)
    found = _raster(backend, derivatives=derivatives)(pos, tri)
    probe = rng.normal(size=(1, *found.shape[1:])).astype(np.float32)
    probe[..., 2:4] = 0  # z/w and ids, which have no gradient
    # Squashed: where a triangle is seen edge-on its weights turn very fast.
    return jnp.sum(jnp.tanh(0.1 * found) * probe)

  return run


def _close(got, want, share=1e-4):
  """To rounding of the largest, which the smaller ones are differences of."""
  got, want = np.asarray(got), np.asarray(want)
  np.testing.assert_allclose(got, want, rtol=2e-3, atol=share * np.abs(want).max())


@pytest.mark.parametrize("derivatives", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seed", range(2))
def test_values_equal_plain_jax(backend, derivatives, seed):
  pos, tri = scenes.random_scene(seed, batch=3)
  run = lambda backend: jax.jit(_raster(backend, derivatives=derivatives))(pos, tri)
  got, want = np.asarray(run(backend)), np.asarray(run("xla"))
  np.testing.assert_array_equal(got[..., 3], want[..., 3])
  np.testing.assert_allclose(got[..., :3], want[..., :3], atol=1e-4)
  if derivatives:
    _close(got[..., 4:], want[..., 4:])
  assert (want[..., 3] > 0).mean() > 0.2


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_hostile_scenes_give_the_same_numbers(kind):
  """Those within range; what float32 cannot hold need not be the same nonsense."""
  pos, tri = hostile.scenes(kind, 7, batch=20, resolution=SIZE)
  ids, depth = definition.rasterize(pos, tri, SIZE)
  args = (jnp.asarray(pos), jnp.asarray(tri), jnp.asarray(ids))
  got = np.asarray(_native.locate(*args, derivatives=True, backend="cpp")[0])
  # Compiled as one program, its rounding is another.
  want = np.asarray(_location.located(*args, derivatives=True)[0])
  np.testing.assert_array_equal(got[..., 3], ids)
  assert not got[ids == 0].any()
  # If both agree on the depth, they agree on the weights.
  sure = (ids > 0) & (np.abs(want[..., 2] - depth) < 1e-4)
  sure &= np.abs(got[..., 2] - depth) < 1e-4
  assert sure.mean() > 0.3 * (ids > 0).mean() > 0
  off = np.abs(got - want)[sure][:, :2].max(1)
  assert np.mean(off < 1e-3) > 0.99


@pytest.mark.parametrize("derivatives", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_gradients_equal_plain_jax(derivatives, seed):
  pos, tri = scenes.random_scene(seed, batch=2)
  gradient = lambda backend: jax.jit(
    jax.grad(_loss(backend, tri, derivatives=derivatives))
  )
  _close(gradient("cpp")(pos), gradient("xla")(pos))


@pytest.mark.parametrize("angle", [0.5, 1.0])
def test_gradients_equal_finite_differences(angle):
  """Those of plain JAX in float64, along random directions."""
  pos, tri = scenes.cube(angle)
  gradient = np.asarray(jax.jit(jax.grad(_loss("cpp", tri)))(pos), np.float64)
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    loss = jax.jit(_loss("xla", tri))
    at = pos.astype(np.float64)
    for _ in range(4):
      step = rng.normal(size=pos.shape)
      change = (loss(at + 1e-7 * step) - loss(at - 1e-7 * step)) / 2e-7
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=2e-3)


def test_both_modes_and_their_mixtures():
  pos, tri = scenes.cube()
  pos = jnp.asarray(pos)
  rng = np.random.default_rng(0)
  along, second = rng.normal(size=(2, *pos.shape)).astype(np.float32)

  def all_of(backend):
    loss = _loss(backend, tri, derivatives=False)
    forward = lambda p: jax.jvp(loss, (p,), (along,))[1]
    backward = lambda p: jnp.vdot(jax.grad(loss)(p), second)
    push = lambda p: jax.vmap(jax.linearize(loss, p)[1])(jnp.stack([along, second]))
    return jax.jit(
      lambda p: (
        forward(p),
        push(p),
        jax.jvp(backward, (p,), (along,))[1],
        jax.grad(backward)(p),
      )
    )(pos)

  for got, want in zip(all_of("cpp"), all_of("xla"), strict=True):
    _close(got, want, share=1e-3)


def test_vmap_and_gradients_in_either_order():
  pos, tri = scenes.random_scene(2, batch=6)
  apart = pos.reshape(3, 2, *pos.shape[1:])
  loss = _loss("cpp", tri)
  each = jax.jit(jax.vmap(jax.grad(loss)))(apart)
  total = jax.jit(jax.grad(lambda p: jax.vmap(loss)(p).sum()))(apart)
  alone = jax.jit(jax.grad(_loss("xla", tri)))
  want = np.stack([alone(p) for p in apart])
  _close(each, want)
  _close(total, want)


def test_a_gradient_for_each_topology():
  """The triangles alone are mapped: nothing joins the batch."""
  pos, tri = scenes.random_scene(4)
  ids = jnp.ones((1, *SIZE), jnp.int32)
  place = lambda t: lambda p: _locating.located(p, t, ids, False, "cpp")[0].sum()
  grads = lambda t: jax.grad(place(t))(jnp.asarray(pos))
  both = jnp.stack([jnp.asarray(tri), jnp.asarray(tri)[:, ::-1]])
  _close(jax.jit(jax.vmap(grads))(both), np.stack([jax.jit(grads)(t) for t in both]))


@pytest.mark.parametrize("check", [True, False])
def test_shard_map(check):
  pos, tri = scenes.random_scene(3, batch=4, triangles=6)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  rows = PartitionSpec("data")
  gradient = jax.grad(_loss("auto", tri))
  run = jax.shard_map(
    gradient, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=check
  )
  _close(jax.jit(run)(pos), jax.jit(gradient)(pos))


def test_sharded_batch_is_not_gathered():
  pos, tri = scenes.random_scene(3, batch=4, triangles=6)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  placed = jax.device_put(pos, NamedSharding(mesh, PartitionSpec("data")))
  run = jax.jit(jax.grad(_loss("cpp", tri)))
  program = str(run.lower(placed).compile().as_text())
  assert "all-" not in program
  assert "affjax_rasterize_pull" in program
  _close(run(placed), run(pos))


def test_gradients_twice_the_same_and_not_by_the_batch():
  """Bands of rows, sums of many pixels a vertex."""
  pos, tri = scenes.bumpy_ball(0)
  size = (130, 70)
  probe = np.random.default_rng(0).normal(size=(1, *size, 8)).astype(np.float32)
  loss = lambda p: jnp.sum(_raster("cpp", size=size)(p, tri) * probe)
  run = jax.jit(jax.grad(loss))
  first = np.asarray(run(pos))
  for _ in range(5):
    np.testing.assert_array_equal(run(pos), first)
  many = np.asarray(run(np.repeat(pos, 5, 0)))
  np.testing.assert_array_equal(many, np.repeat(first, 5, 0))


def test_ids_without_a_triangle_are_empty():
  pos, tri = scenes.random_scene(0)
  tri[3] = 10_000  # the triangle of id 4
  bad = [-1, len(tri) + 1, 2**31 - 1, -(2**31), 4]
  ids = jnp.asarray(bad, jnp.int32).reshape(1, 1, 5)
  pos, tri = jnp.asarray(pos), jnp.asarray(tri)
  rast, slopes = _native.locate(pos, tri, ids, derivatives=True, backend="cpp")
  assert not np.asarray(rast).any()
  assert not np.asarray(slopes).any()
  ones = jnp.ones_like(rast)
  assert not np.asarray(_native.pull(pos, tri, ids, ones, ones, backend="cpp")).any()


def test_float64_stays_float64():
  pos, tri = scenes.cube()
  with jax.enable_x64(True):
    at = jnp.asarray(pos, jnp.float64)
    raster = jax.jit(render.rasterize, static_argnums=2, static_argnames="backend")
    rast = raster(at, tri, SIZE, backend="cpp")
    assert rast.dtype == jnp.float64
    want = raster(at, tri, SIZE, backend="xla")
    np.testing.assert_allclose(rast, want, atol=1e-12)
