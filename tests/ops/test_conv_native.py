"""The kernel of plain convolution, against sums in double precision and XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from affjax.native import library
from affjax.ops import conv
from tests.reference import conv as reference

_STATUS = library.status("conv", "cpu")
pytestmark = pytest.mark.skipif(not _STATUS.ready, reason=_STATUS.reason)

# Sizes N, H, W, C, O, K, stride. The first are Winograd's: tiles that are cut at both
# ends, more than one block of tiles, of channels and of parts, no tails, images that
# are smaller than a tile. The others are sums over windows: even kernels, kernels
# smaller than the stride, rows divided among threads, tails of every kind.
SHAPES = (
  (1, 5, 7, 8, 3, 3, 1),
  (3, 9, 18, 70, 33, 3, 1),
  (9, 16, 17, 32, 64, 3, 1),
  (16, 4, 4, 40, 24, 3, 1),
  (2, 2, 3, 16, 8, 3, 1),
  (2, 7, 5, 3, 5, 3, 1),
  (1, 1, 1, 1, 1, 1, 1),
  (2, 9, 8, 7, 33, 2, 3),
  (1, 19, 13, 20, 24, 4, 2),
  (2, 6, 5, 9, 17, 1, 3),
  (1, 40, 31, 17, 6, 3, 2),
  (2, 8, 9, 24, 16, 5, 1),
  (1, 3, 4, 8, 8, 6, 2),
)


def _arguments(shape, seed=0):
  n, h, w, c, o, k, stride = shape
  rng = np.random.default_rng(seed)
  kernel = rng.standard_normal((k, k, c, o), np.float32) / np.float32(k * c**0.5)
  grad = rng.standard_normal((n, -(-h // stride), -(-w // stride), o), np.float32)
  return rng.standard_normal((n, h, w, c), np.float32), kernel, grad


def _passes(x, kernel, grad, stride, backend="cpp"):
  run = functools.partial(conv, stride=stride, backend=backend)
  y, pull = jax.vjp(run, jnp.asarray(x), jnp.asarray(kernel))
  return y, *pull(jnp.asarray(grad, y.dtype))


def _compare(shape, seed=0, tolerance=5e-6):
  args = _arguments(shape, seed)
  got = _passes(*args, shape[-1])
  for a, b in zip(got, reference.passes(*args, shape[-1]), strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_passes_equal_the_sums_over_windows(shape):
  _compare(shape)


@settings(deadline=None, max_examples=40)
@given(
  *(st.integers(1, most) for most in (3, 19, 19)),
  *(st.sampled_from((1, 2, 3, 7, 8, 9, 16, 17, 33, 66)) for _ in range(2)),
  st.sampled_from(((3, 1), (3, 1), (3, 2), (1, 1), (4, 2), (2, 1), (5, 3), (1, 2))),
)
def test_passes_of_any_size(n, h, w, c, o, kernel_and_stride):
  _compare((n, h, w, c, o, *kernel_and_stride), seed=n + h + w + c + o)


def test_an_empty_batch():
  y, of_x, of_kernel = _passes(*_arguments((0, 4, 5, 8, 3, 3, 1)), 1)
  assert y.shape == (0, 4, 5, 3)
  assert of_x.shape == (0, 4, 5, 8)
  assert not np.any(of_kernel)


@pytest.mark.parametrize("shape", SHAPES[1:4] + SHAPES[-3:], ids=str)
def test_the_same_bits_every_time(shape):
  """However the threads divide the work."""
  run = jax.jit(functools.partial(_passes, stride=shape[-1]))
  args = _arguments(shape)
  first = run(*args)
  for _ in range(5):
    for a, b in zip(first, run(*args), strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[7]], ids=str)
def test_bfloat16_rounds_once(shape):
  x, kernel, grad = (jnp.asarray(a, jnp.bfloat16) for a in _arguments(shape))
  got = _passes(x, kernel, grad, shape[-1])
  for a, b in zip(got, reference.passes(x, kernel, grad, shape[-1]), strict=True):
    assert a.dtype == jnp.bfloat16
    # Half a unit in the last of bfloat16's eight digits.
    np.testing.assert_allclose(
      np.asarray(a, np.float32), b, rtol=2**-8, atol=1e-5 * np.abs(b).max()
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_third_derivatives_are_those_of_xla(stride):
  """They pass through every pair of the three passes."""
  x, kernel, _ = _arguments((1, 5, 4, 8, 3, 3, stride))

  def third(backend):
    energy = lambda *a: jnp.sum(jnp.sin(conv(*a, stride=stride, backend=backend)))
    squared = lambda f: lambda *a: sum(jnp.sum(g**2) for g in jax.grad(f, (0, 1))(*a))
    return jax.jit(jax.grad(squared(squared(energy)), (0, 1)))(x, kernel)

  for a, b in zip(third("cpp"), third("xla"), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)], ids=str)
def test_vmap_equals_a_loop(axes):
  x, kernel, _ = _arguments((6, 5, 6, 8, 4, 3, 1))
  many = (
    jnp.asarray(x).reshape(3, 2, *x.shape[1:]),
    jnp.stack([kernel, -kernel, kernel]),
  )
  args = [a if axis == 0 else a[0] for a, axis in zip(many, axes, strict=True)]
  loss = lambda *a: jnp.sum(jnp.sin(conv(*a, backend="cpp")))
  run = jax.value_and_grad(loss, (0, 1))
  got = jax.jit(jax.vmap(run, axes))(*args)
  each = [
    run(*(a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)))
    for i in range(3)
  ]
  want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def _mesh():
  return Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))


def test_no_device_gathers_the_batch():
  x, kernel, _ = _arguments((4, 8, 8, 8, 4, 3, 1))
  run = lambda *a: jnp.sum(conv(*a) ** 2)
  placed = jax.device_put(x, NamedSharding(_mesh(), PartitionSpec("data")))
  program = jax.jit(jax.grad(run, (0, 1))).lower(placed, kernel).compile()
  text = program.as_text()
  assert "all-gather" not in text
  assert "affjax_conv_kernel_gradient" in text
  for a, b in zip(
    program(placed, kernel), jax.grad(run, (0, 1))(x, kernel), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_checkpointing_and_shard_map_with_gradients():
  x, kernel, _ = _arguments((4, 6, 6, 8, 4, 3, 1))
  spec = PartitionSpec("data")
  mapped = jax.shard_map(
    jax.checkpoint(functools.partial(conv, backend="cpp")),
    mesh=_mesh(),
    in_specs=(spec, PartitionSpec()),
    out_specs=spec,
  )
  grads = [
    jax.jit(jax.grad(lambda *a, f=f: jnp.sum(f(*a) ** 2), (0, 1)))(x, kernel)
    for f in (mapped, functools.partial(conv, backend="xla"))
  ]
  for a, b in zip(*grads, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_gradient_that_nobody_uses_is_not_computed():
  x, kernel, grad = _arguments((1, 8, 8, 8, 8, 3, 1))
  run = jax.jit(lambda x, k, g: jax.vjp(conv, x, k)[1](g)[1])
  text = run.lower(x, kernel, grad).compile().as_text()
  assert "affjax_conv_kernel_gradient" in text
  assert "affjax_conv_input_gradient" not in text
