"""Affine convolution under JAX's transformations, with every backend that has its own.

The literal one is plain JAX; it is what second derivatives are compared with.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from affjax.native import library
from affjax.ops import _affine_conv, affine_conv

PLATFORMS = {"cpp": "cpu", "cuda": "cuda"}
STRIDE = 2


@pytest.fixture(
  scope="module", params=["auto", *sorted(_affine_conv._BACKENDS.keys() - {"literal"})]
)
def conv(request):
  """The op of a backend, of x, theta, kernel."""
  platform = PLATFORMS.get(request.param)
  if platform:
    try:
      jax.devices(platform)
    except RuntimeError:
      pytest.skip(f"no {platform} device")
    status = library.status("affine_conv", platform)
    if not status.ready:
      pytest.skip(f"no {request.param} kernel: {status.reason}")
  return functools.partial(affine_conv, stride=STRIDE, backend=request.param)


def _inputs(*lead, n=4, c=3, o=5, seed=0):
  """x, theta, kernel with further leading axes; no coordinate on a pixel's line."""
  rng = np.random.default_rng(seed)
  theta = 0.6 * rng.standard_normal((*lead, n, 3, 4, 2, 3)) + np.eye(2, 3)
  theta = np.round(8 * theta) / 8
  theta[..., 2] += 1 / 16
  x = rng.standard_normal((*lead, n, 6, 7, c))
  kernel = rng.standard_normal((*lead, 3, 3, c, o))
  return tuple(jnp.asarray(v, jnp.float32) for v in (x, theta, kernel))


def _gradients(conv):
  """Output, and gradients by all three, of a loss that is not linear."""
  loss = lambda *args: jnp.sum(jnp.sin(conv(*args)))
  return lambda *args: (conv(*args), jax.grad(loss, (0, 1, 2))(*args))


def _close(got, want, tolerance=2e-4):
  pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
  for a, b in pairs:
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize(
  "axes", [(0, 0, None), (None, None, 0), (0, 0, 0), (None, 0, None)], ids=str
)
def test_vmap_equals_a_loop(conv, axes):
  many = _inputs(3, n=2)
  args = [a if axis == 0 else a[0] for a, axis in zip(many, axes, strict=True)]
  pick = lambda i: [
    a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True)
  ]
  run = jax.jit(_gradients(conv))
  got = jax.jit(jax.vmap(_gradients(conv), axes))(*args)
  want = jax.tree.map(
    lambda *leaves: jnp.stack(leaves), *(run(*pick(i)) for i in range(3))
  )
  _close(got, want)


def test_gradient_of_a_mapped_loss(conv):
  """Gradients by a shared kernel are sums over the mapped axis."""
  x, theta, kernels = _inputs(3, n=1)
  kernel = kernels[0]
  mapped = lambda k: jnp.sum(jnp.sin(jax.vmap(conv, (0, 0, None))(x, theta, k)))
  joined = lambda k: jnp.sum(jnp.sin(conv(x[:, 0], theta[:, 0], k)))
  _close(jax.jit(jax.grad(mapped))(kernel), jax.jit(jax.grad(joined))(kernel))


def test_checkpoint_changes_nothing(conv):
  args = _inputs(n=1)
  _close(
    jax.jit(_gradients(jax.checkpoint(conv)))(*args), jax.jit(_gradients(conv))(*args)
  )


def test_scan_changes_nothing(conv):
  x, theta, kernel = _inputs(2, n=1)
  looped = lambda k: jax.lax.scan(
    lambda t, a: (t + jnp.sum(conv(*a, k) ** 2), None), 0.0, (x, theta)
  )[0]
  want = sum(jnp.sum(conv(x[i], theta[i], kernel[0]) ** 2) for i in range(2))
  np.testing.assert_allclose(jax.jit(looped)(kernel[0]), want, rtol=1e-4)
  assert np.isfinite(jax.jit(jax.grad(looped))(kernel[0])).all()


def _second(conv, *args):
  """Derivative of the squared gradient by x, theta and kernel."""
  first = jax.grad(lambda *a: jnp.sum(jnp.sin(conv(*a))), (0, 1, 2))
  square = lambda *a: sum(jnp.sum(g * g) for g in first(*a))
  return jax.jit(jax.grad(square, (0, 1, 2)))(*args)


def test_second_derivatives(conv):
  args = _inputs(n=1, c=2, o=2)
  literal = functools.partial(affine_conv, stride=STRIDE, backend="literal")
  want = _second(literal, *args)
  for a, b in zip(_second(conv, *args), want, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4 * float(jnp.abs(b).max()))


def _mesh():
  if len(jax.devices()) < 4:
    pytest.skip("needs four devices")
  return jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))


def test_a_batch_on_four_devices(conv):
  args = _inputs(n=8)
  mesh = _mesh()
  divided = NamedSharding(mesh, PartitionSpec("data"))
  whole = NamedSharding(mesh, PartitionSpec())
  placed = [
    jax.device_put(a, s) for a, s in zip(args, (divided, divided, whole), strict=True)
  ]
  run = jax.jit(_gradients(conv))
  got, want = run(*placed), run(*args)
  _close(got, want)
  out, (of_x, of_theta, _) = got
  for array in (out, of_x, of_theta):
    assert array.sharding.is_equivalent_to(divided, array.ndim)


def test_shard_map(conv):
  args = _inputs(n=8)
  data, whole = PartitionSpec("data"), PartitionSpec()

  def summed(x, theta, kernel):
    out, (of_x, of_theta, of_kernel) = _gradients(conv)(x, theta, kernel)
    return out, of_x, of_theta, of_kernel

  mapped = jax.shard_map(
    summed,
    mesh=_mesh(),
    in_specs=(data, data, whole),
    out_specs=(data, data, data, whole),
  )
  out, gradients = _gradients(conv)(*args)
  _close(jax.jit(mapped)(*args), (out, *gradients))
