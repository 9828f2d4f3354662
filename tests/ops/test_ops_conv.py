"""Plain convolution: values, gradients by the kernel, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import ops
from affjax.native import library
from affjax.ops import affine_conv, conv

_STATUS = library.status("conv", "cpu")
needs_kernel = pytest.mark.skipif(not _STATUS.ready, reason=_STATUS.reason)


def _arguments(n, h, w, c, o, k, seed=0, dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  x = jnp.asarray(rng.normal(size=(n, h, w, c)), dtype)
  return x, jnp.asarray(rng.normal(size=(k, k, c, o)) / (k * c**0.5), dtype)


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 2), (4, 1), (5, 3)])
def test_it_is_affine_convolution_with_the_identity(k, stride):
  x, kernel = _arguments(2, 7, 6, 3, 4, k)
  theta = ops.theta.identity((2, -(-7 // stride), -(-6 // stride)))
  want = affine_conv(x, theta, kernel, stride=stride, backend="literal")
  got = conv(x, kernel, stride=stride)
  np.testing.assert_allclose(got, want, atol=1e-5)


@needs_kernel
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
  ("shape", "stride"),
  [
    ((3, 9, 9, 3, 5, 3), 2),
    ((1, 33, 30, 32, 6, 3), 2),
    ((2, 17, 18, 40, 20, 4), 1),
    ((0, 4, 4, 2, 2, 3), 1),
    ((1, 1, 1, 1, 1, 1), 1),
  ],
)
def test_gradients_of_the_kernel_are_those_of_xla(shape, stride, dtype):
  args = _arguments(*shape, dtype=dtype)
  grads = []
  for backend in ("cpp", "xla"):
    run = lambda *a, b=backend: conv(*a, stride=stride, backend=b)
    value, pull = jax.vjp(run, *args)
    weight = np.random.default_rng(1).normal(size=value.shape)
    grads.append(pull(jnp.asarray(weight, dtype)))
  digits = 1e-5 if dtype == "float32" else 0.02
  for a, b in zip(*grads, strict=True):
    assert a.dtype == b.dtype == dtype
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    np.testing.assert_allclose(a, b, atol=digits * (np.abs(b).max(initial=0) + 1e-6))


@needs_kernel
def test_gradients_under_vmap_and_twice():
  x, kernel = _arguments(2, 5, 5, 3, 4, 3)

  def slope(backend):
    run = lambda *a: conv(*a, stride=2, backend=backend)
    energy = lambda *a: jnp.sum(jnp.sin(run(*a)))
    inner = lambda *a: sum(jnp.sum(g**2) for g in jax.grad(energy, (0, 1))(*a))
    each = jax.vmap(jax.grad(energy, (0, 1)), (0, None))(jnp.stack([x, 2 * x]), kernel)
    return jax.grad(inner, (0, 1))(x, kernel), each

  leaves = [
    jax.tree.leaves(jax.jit(slope, static_argnums=0)(b)) for b in ("cpp", "xla")
  ]
  for a, b in zip(*leaves, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_what_is_wrong():
  x, kernel = _arguments(1, 4, 4, 2, 3, 3)
  with pytest.raises(ValueError, match="backend must be one of"):
    conv(x, kernel, backend="cuda")
  with pytest.raises(ValueError, match="takes 2 channels but x has 1"):
    conv(x[..., :1], kernel)
