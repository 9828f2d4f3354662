"""Affine convolution: backends against the NumPy definition and each other."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from affjax import ops
from affjax.native import library

_PATH = pathlib.Path(__file__).parents[1] / "reference" / "affine_conv.py"
_SPEC = importlib.util.spec_from_file_location("reference_affine_conv", _PATH)
reference = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reference)

BACKENDS = ("literal", "xla")
if library.status("affine_conv", "cpu").ready:
  BACKENDS += ("cpp",)
affine_conv = jax.jit(ops.affine_conv, static_argnames=("stride", "backend"))


def _inputs(n=2, h=5, w=6, c=3, o=4, k=3, stride=1, spread=0.4, seed=0):
  rng = np.random.default_rng(seed)
  ho, wo = -(-h // stride), -(-w // stride)
  theta = np.array(ops.theta.identity((n, ho, wo)))
  theta += spread * rng.standard_normal(theta.shape)
  x = rng.standard_normal((n, h, w, c))
  kernel = rng.standard_normal((k, k, c, o))
  return tuple(v.astype(np.float32) for v in (x, theta, kernel))


def _plain(x, kernel, stride):
  k = kernel.shape[0]
  pad = ((k - 1) // 2, k // 2)
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC")
  )


# Shapes and errors.


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("backend", BACKENDS)
def test_output_shape_is_rounded_up(backend, stride):
  x, theta, kernel = _inputs(h=7, w=8, stride=stride)
  y = affine_conv(x, theta, kernel, stride=stride, backend=backend)
  assert y.shape == (2, -(-7 // stride), -(-8 // stride), 4)
  assert y.dtype == jnp.float32


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"x": np.zeros((5, 6, 3), np.float32)}, "x must be"),
    ({"x": np.zeros((2, 0, 6, 3), np.float32)}, "x must be"),
    ({"theta": np.zeros((2, 5, 5, 2, 3), np.float32)}, r"\(2, 5, 6, 2, 3\)"),
    ({"theta": np.zeros((2, 5, 6, 3, 2), np.float32)}, "theta must have shape"),
    ({"kernel": np.zeros((3, 2, 3, 4), np.float32)}, "kernel must be"),
    ({"kernel": np.zeros((3, 3, 2, 4), np.float32)}, "takes 2 channels but x has 3"),
    ({"kernel": np.zeros((3, 3, 3, 4), jnp.bfloat16)}, "both be float32"),
    ({"x": np.zeros((2, 5, 6, 3), np.int32)}, "both be float32"),
    ({"theta": np.zeros((2, 5, 6, 2, 3), jnp.bfloat16)}, "theta must be float32"),
    ({"stride": 0}, "stride must be an int >= 1"),
    ({"stride": 1.5}, "stride must be an int >= 1"),
    ({"backend": "opencl"}, "backend must be one of"),
    ({"prior": np.zeros((2, 5, 6, 6), np.float32)}, "prior must have shape"),
    ({"prior": np.zeros((2, 5, 6, 2, 3), jnp.bfloat16)}, "prior must be float32"),
  ],
)
def test_errors_name_what_is_wrong(change, message):
  x, theta, kernel = _inputs()
  args = {"x": x, "theta": theta, "kernel": kernel, "stride": 1, **change}
  with pytest.raises(ValueError, match=message):
    ops.affine_conv(**args)


# Against the definition.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
  ("k", "stride", "spread"), [(3, 1, 0.4), (3, 2, 2.0), (1, 2, 0.7), (4, 1, 0.5)]
)
def test_matches_the_oracle(backend, k, stride, spread):
  x, theta, kernel = _inputs(k=k, stride=stride, spread=spread)
  got = affine_conv(x, theta, kernel, stride=stride, backend=backend)
  want = reference.affine_conv(x, theta, kernel, stride)
  np.testing.assert_allclose(got, want, atol=3e-5)


@pytest.mark.smoke
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("k", "stride"), [(1, 1), (2, 2), (3, 1), (3, 2), (5, 3)])
def test_identity_is_plain_convolution(backend, k, stride):
  x, theta, kernel = _inputs(h=9, w=8, k=k, stride=stride, spread=0)
  got = affine_conv(x, theta, kernel, stride=stride, backend=backend)
  np.testing.assert_allclose(got, _plain(x, kernel, stride), atol=1e-5)


# Finite differences of the float64 definition.


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_match_finite_differences(backend):
  args = _inputs(n=1, h=4, w=5, c=2, o=2, stride=2, spread=0.6, seed=3)
  weight = np.random.default_rng(4).standard_normal((1, 2, 3, 2))

  def loss(x, theta, kernel):
    y = affine_conv(x, theta, kernel, stride=2, backend=backend)
    return jnp.sum(y * weight.astype(np.float32))

  got = jax.jit(jax.grad(loss, (0, 1, 2)))(*args)
  step = 1e-6
  for which, value in enumerate(args):
    want = np.zeros(value.shape)
    for place in np.ndindex(*value.shape):
      ends = []
      for sign in (1, -1):
        moved = [np.array(v, np.float64) for v in args]
        moved[which][place] += sign * step
        ends.append(np.sum(reference.affine_conv(*moved, 2) * weight))
      want[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(got[which], want, atol=2e-4)


# Edge cases.


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_theta_spoils_its_own_pixel_only(backend):
  x, theta, kernel = _inputs()
  broken = theta.copy()
  broken[1, 2, 3] = np.nan
  want = np.array(affine_conv(x, theta, kernel, backend=backend))
  got = np.array(affine_conv(x, broken, kernel, backend=backend))
  assert np.isnan(got[1, 2, 3]).all()
  want[1, 2, 3] = got[1, 2, 3] = 0
  np.testing.assert_array_equal(got, want)

  def loss(x, theta):
    y = affine_conv(x, theta, kernel, backend=backend)
    return jnp.sum(jnp.where(jnp.isnan(y), 0.0, y))

  for gradient in jax.jit(jax.grad(loss, (0, 1)))(x, broken):
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [1e9, -3e9, 1e30, np.inf, -np.inf])
def test_huge_offsets_read_zero(backend, value):
  x, theta, kernel = _inputs()
  theta[0, :, :, 1, 2] = value
  got = affine_conv(x, theta, kernel, backend=backend)
  np.testing.assert_array_equal(got[0], 0)
  assert np.abs(got[1]).min() > 0
  loss = lambda t: jnp.sum(affine_conv(x, t, kernel, backend=backend) ** 2)
  gradient = jax.jit(jax.grad(loss))(theta)
  np.testing.assert_array_equal(gradient[0], 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 5, 6), (1, 1, 1), (1, 1, 7), (2, 2, 1)])
def test_empty_batch_and_thin_images(backend, shape):
  n, h, w = shape
  args = _inputs(n=n, h=h, w=w, stride=2)
  got = affine_conv(*args, stride=2, backend=backend)
  np.testing.assert_allclose(got, reference.affine_conv(*args, 2), atol=1e-5)
  loss = lambda *a: jnp.sum(affine_conv(*a, stride=2, backend=backend))
  gradients = jax.eval_shape(jax.grad(loss, (0, 1, 2)), *args)
  assert [g.shape for g in gradients] == [a.shape for a in args]


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_fade_to_zero_over_the_border(backend):
  x = np.ones((1, 3, 3, 1), np.float32)
  kernel = np.ones((1, 1, 1, 1), np.float32)
  theta = np.array(ops.theta.identity((1, 3, 3)))
  for shift, want in ((-0.25, 0.75), (-1.0, 0.0), (2.5, 0.5), (3.0, 0.0)):
    theta[0, 0, 0, 0, 2] = shift
    got = affine_conv(x, theta, kernel, backend=backend)[0, 0, 0, 0]
    np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_is_close_to_float32(backend):
  x, theta, kernel = _inputs(c=16)
  half = [jnp.asarray(v, jnp.bfloat16) for v in (x, kernel)]
  exact = [np.array(v, np.float32) for v in half]
  got = affine_conv(half[0], theta, half[1], backend=backend)
  want = reference.affine_conv(exact[0], theta, exact[1], 1)
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    np.array(got, np.float32), want, atol=0.02 * want.std() * 5
  )


# Transformations.


@pytest.mark.parametrize("backend", BACKENDS)
def test_jit_equals_eager_and_vmap_equals_a_loop(backend):
  x, theta, kernel = _inputs()
  run = lambda *args: ops.affine_conv(*args, backend=backend)
  eager = run(x, theta, kernel)
  np.testing.assert_allclose(jax.jit(run)(x, theta, kernel), eager, atol=1e-5)
  kernels = np.stack([kernel, 2 * kernel])
  mapped = jax.vmap(run, (None, None, 0))(x, theta, kernels)
  for one, k in zip(mapped, kernels, strict=True):
    np.testing.assert_allclose(one, run(x, theta, k), atol=1e-5)


def _value_and_gradients(x, theta, kernel):
  loss = lambda *args: jnp.sum(affine_conv(*args, stride=2) ** 2)
  return jax.value_and_grad(loss, (0, 1, 2))(x, theta, kernel)


def test_four_devices_equal_one():
  args = _inputs(n=4, h=6, stride=2)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  spread = jax.NamedSharding(mesh, PartitionSpec("data"))
  placed = (jax.device_put(args[0], spread), jax.device_put(args[1], spread), args[2])
  run = jax.jit(_value_and_gradients)
  for got, want in zip(
    jax.tree.leaves(run(*placed)), jax.tree.leaves(run(*args)), strict=True
  ):
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)

  mapped = jax.shard_map(
    lambda x, theta, kernel: affine_conv(x, theta, kernel, stride=2),
    mesh=mesh,
    in_specs=(PartitionSpec("data"), PartitionSpec("data"), PartitionSpec()),
    out_specs=PartitionSpec("data"),
  )
  want = affine_conv(*args, stride=2)
  np.testing.assert_allclose(jax.jit(mapped)(*args), want, atol=1e-5)


# Backends agree, on the pixel grid as well, where the derivative is one-sided.


@pytest.mark.parametrize("spread", [0.0, 0.5, 4.0])
@pytest.mark.parametrize(("k", "stride"), [(3, 2), (5, 1)])
def test_backends_agree(k, stride, spread):
  x, theta, kernel = _inputs(h=7, w=6, k=k, stride=stride, spread=spread, seed=5)
  results = []
  for backend in BACKENDS:
    run = lambda *a, b=backend: affine_conv(*a, stride=stride, backend=b)
    loss = lambda *a, run=run: jnp.sum(jnp.sin(run(*a)))
    results.append(jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(x, theta, kernel))
  first, *others = map(jax.tree.leaves, results)
  for other in others:
    for a, b in zip(first, other, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-4)
