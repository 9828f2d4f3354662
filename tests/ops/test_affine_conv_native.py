"""The kernels of affine convolution: every form and size, against portable XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from affjax import ops
from affjax.native import library
from affjax.ops import affine_conv, deformable_conv

_STATUS = library.status("affine_conv", "cpu")
pytestmark = pytest.mark.skipif(not _STATUS.ready, reason=_STATUS.reason)

FORMS = ("affine", "prior", "offsets")
# N, H, W, C, O, K, stride: tails of every kind, more channels than one group has, fewer
# images than threads, a picture larger than a tile.
SHAPES = (
  (1, 1, 1, 1, 1, 1, 1),
  (2, 7, 5, 3, 5, 3, 2),
  (1, 19, 13, 40, 24, 4, 1),
  (3, 9, 8, 70, 33, 2, 3),
  (1, 30, 31, 17, 64, 3, 2),
  (4, 8, 8, 32, 16, 5, 1),
  (1, 12, 12, 160, 40, 3, 1),
)


def _arguments(form, shape, seed=0, dtype=jnp.float32):
  n, h, w, c, o, k, stride = shape
  rng = np.random.default_rng(seed)
  place = (n, -(-h // stride), -(-w // stride))
  identity = np.array(ops.theta.identity(place))
  near = lambda s: identity + s * rng.normal(size=identity.shape).astype(np.float32)
  x = jnp.asarray(rng.normal(size=(n, h, w, c)), dtype)
  kernel = jnp.asarray(rng.normal(size=(k, k, c, o)) / (k * c**0.5), dtype)
  if form == "offsets":
    return x, rng.normal(size=(*place, k * k, 2)).astype(np.float32), kernel
  if form == "prior":
    return x, near(0.6), kernel, near(0.4)
  return x, near(0.8), kernel


def _function(form, stride, backend):
  if form == "offsets":
    return lambda *a: deformable_conv(*a, stride=stride, backend=backend)
  if form == "prior":
    return lambda x, theta, kernel, prior: affine_conv(
      x, theta, kernel, prior=prior, stride=stride, backend=backend
    )
  return lambda *a: affine_conv(*a, stride=stride, backend=backend)


def _value_and_gradients(form, shape, backend, **options):
  return _pulled(
    _function(form, shape[-1], backend), _arguments(form, shape, **options)
  )


def _pulled(function, args, dtype=None):
  """The value, and the gradients of its product with random numbers of some dtype."""
  value = jax.eval_shape(function, *args)
  weight = np.random.default_rng(9).normal(size=value.shape)
  weight = jnp.asarray(jnp.asarray(weight, dtype or value.dtype), value.dtype)

  @jax.jit  # one program compiles sooner than its operations one by one
  def run(args, weight):
    value, pull = jax.vjp(function, *args)
    return value, *pull(weight)

  return run(args, weight)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_equal_portable_xla(form, shape):
  got = _value_and_gradients(form, shape, "cpp")
  want = _value_and_gradients(form, shape, "xla")
  for a, b in zip(got, want, strict=True):
    scale = float(jnp.abs(b).max()) + 1e-6
    np.testing.assert_allclose(a, b, atol=1e-5 * scale)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_keeps_more_digits_than_its_inputs(form):
  """Against float32 arithmetic on the same rounded numbers."""
  shape = (2, 9, 10, 24, 20, 3, 2)
  got = _value_and_gradients(form, shape, "cpp", dtype=jnp.bfloat16)
  args = _arguments(form, shape, dtype=jnp.bfloat16)
  wide = [jnp.asarray(a, jnp.float32) for a in args]
  want = _pulled(_function(form, 2, "xla"), wide, jnp.bfloat16)
  for a, b, like in zip(got, want, (args[0], *args), strict=True):
    assert a.dtype == like.dtype
    scale = float(jnp.abs(b).max())
    # Half a unit in the last of bfloat16's eight digits.
    np.testing.assert_allclose(
      np.asarray(a, np.float32), b, rtol=2**-8, atol=1e-5 * scale
    )


@pytest.mark.parametrize("shape", [(1, 40, 41, 20, 24, 3, 2), (3, 20, 21, 70, 8, 3, 1)])
def test_the_same_bits_every_time(shape):
  run = jax.jit(lambda *a: jax.vjp(_function("affine", shape[-1], "cpp"), *a)[1](out))
  out = jnp.ones(
    (shape[0], -(-shape[1] // shape[-1]), -(-shape[2] // shape[-1]), shape[4])
  )
  args = _arguments("affine", shape)
  first = run(*args)
  for _ in range(5):
    for a, b in zip(first, run(*args), strict=True):
      np.testing.assert_array_equal(a, b)


def test_second_derivatives_are_those_of_portable_xla():
  args = _arguments("affine", (1, 4, 5, 2, 3, 3, 1))

  def slope(backend):
    run = _function("affine", 1, backend)
    energy = lambda *a: jnp.sum(jnp.sin(run(*a)))
    inner = lambda *a: sum(jnp.sum(g**2) for g in jax.grad(energy, (0, 1, 2))(*a))
    return jax.jit(jax.grad(inner, (0, 1, 2)))(*args)

  for a, b in zip(slope("cpp"), slope("xla"), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_no_device_gathers_the_batch():
  """Under jit with a divided batch each device convolves its own share."""
  shape = (4, 8, 8, 3, 4, 3, 2)
  mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
  rows = NamedSharding(mesh, PartitionSpec("data"))
  x, theta, kernel = _arguments("affine", shape)
  run = lambda *a: jnp.sum(affine_conv(*a, stride=2) ** 2)
  placed = jax.device_put(x, rows), jax.device_put(theta, rows), kernel
  program = jax.jit(jax.grad(run, (0, 1, 2))).lower(*placed).compile()
  assert "all-gather" not in program.as_text()
  want = jax.grad(run, (0, 1, 2))(x, theta, kernel)
  for a, b in zip(program(*placed), want, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_checkpointing_and_shard_map_with_gradients():
  args = _arguments("affine", (4, 6, 6, 3, 4, 3, 1))
  mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
  run = jax.checkpoint(_function("affine", 1, "cpp"))
  spec = PartitionSpec("data")
  mapped = jax.shard_map(
    run, mesh=mesh, in_specs=(spec, spec, PartitionSpec()), out_specs=spec
  )
  grads = [
    jax.jit(jax.grad(lambda *a, f=f: jnp.sum(f(*a) ** 2), (0, 1, 2)))(*args)
    for f in (mapped, _function("affine", 1, "xla"))
  ]
  for a, b in zip(*grads, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_auto_takes_the_kernel_and_a_name_insists_on_it(monkeypatch):
  x, theta, kernel = _arguments("affine", SHAPES[1])
  lowered = jax.jit(lambda *a: affine_conv(*a, stride=2)).lower(x, theta, kernel)
  assert "affjax_affine_conv_forward" in lowered.as_text()
  absent = library.Status(False, "no nvcc here")
  monkeypatch.setattr(library, "status", lambda name, platform: absent)
  with pytest.raises(RuntimeError, match="no cuda kernel here: no nvcc"):
    affine_conv(x, theta, kernel, stride=2, backend="cuda")
