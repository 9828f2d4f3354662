"""CUDA affine convolution, run on the CPU (cuda_host.h), against the definition."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import DTypeLike

from affjax import ops
from affjax.native import compilers
from affjax.ops import affine_conv
from tests.native import affine_conv_host, affine_conv_twin, cuda_host
from tests.reference import affine_conv as reference

BFLOAT16 = affine_conv_host.BFLOAT16
DTYPES = pytest.mark.parametrize("dtype", [np.float32, BFLOAT16], ids=["f32", "bf16"])
MODES = pytest.mark.parametrize("mode", ["theta", "prior", "offsets"])

# n, h, w, c, o, k, stride: tails of every kind, vectors that do and do not fit.
SHAPES = [
  (1, 5, 7, 1, 1, 1, 1),
  (2, 5, 6, 3, 5, 3, 1),
  (1, 9, 7, 8, 8, 2, 2),
  (1, 12, 11, 32, 40, 3, 2),
  (2, 6, 5, 40, 32, 4, 3),
  (1, 7, 7, 16, 130, 3, 2),
  (1, 6, 9, 4, 16, 5, 1),
  (1, 3, 4, 72, 8, 3, 1),
  (1, 23, 24, 8, 8, 1, 1),
  (1, 4, 5, 9, 8, 7, 2),
]


def inputs(shape, mode="theta", dtype: DTypeLike = np.float32, seed=0, spread=0.4):
  """x, coords, prior, kernel, grad, stride."""
  n, h, w, c, o, k, stride = shape
  rng = np.random.default_rng(seed)
  place = (n, -(-h // stride), -(-w // stride))
  plain = np.broadcast_to(np.array(ops.theta.IDENTITY), (*place, 2, 3))
  prior = None
  if mode == "offsets":
    coords = 2 * spread * rng.standard_normal((*place, k * k, 2))
  else:
    coords = plain + spread * rng.standard_normal(plain.shape)
  if mode == "prior":
    prior = (plain + spread * rng.standard_normal(plain.shape)).astype(np.float32)
  x = rng.standard_normal((n, h, w, c)).astype(dtype)
  kernel = rng.standard_normal((k, k, c, o)).astype(dtype)
  grad = rng.standard_normal((*place, o)).astype(dtype)
  return x, coords.astype(np.float32), prior, kernel, grad, stride


def _run_forward(x, coords, prior, kernel, grad, stride, **options):
  del grad
  return affine_conv_host.forward(x, coords, prior, kernel, stride, **options)


def assert_near(actual, expected, tolerance, least=1e-6):
  """Largest error against the largest number, or `least`; NaN at the same places."""
  actual = np.asarray(actual, np.float64)
  expected = np.asarray(expected, np.float64)
  assert actual.shape == expected.shape
  nan = np.isnan(expected)
  np.testing.assert_array_equal(np.isnan(actual), nan)
  scale = np.abs(expected[~nan]).max(initial=least)
  error = np.abs(actual - expected)[~nan].max(initial=0.0)
  assert error <= tolerance * scale, f"{error} of {scale}"


def tolerance(dtype):
  """bfloat16 has 8 bits, to which samples and results are rounded."""
  return 1e-5 if dtype == np.float32 else 1.5e-2


# The twin that the kernels are held against is itself the definition.


@MODES
def test_twin_is_the_definition_and_its_gradients_those_of_xla(mode):
  x, coords, prior, kernel, grad, stride = inputs((2, 6, 5, 3, 4, 3, 2), mode)
  y = affine_conv_twin.forward(x, coords, prior, kernel, stride)
  if mode == "offsets":
    # Equal offsets of all taps are a shift.
    theta = np.array(ops.theta.identity(coords.shape[:3]))
    theta[..., 2] += coords[..., 0, :]
    alike = np.broadcast_to(coords[..., :1, :], coords.shape)
    y = affine_conv_twin.forward(x, alike, None, kernel, stride)
  else:
    theta = coords if prior is None else affine_conv_twin.compose(prior, coords)
  assert_near(y, reference.affine_conv(x, theta, kernel, stride), 1e-6)
  if mode == "offsets":
    return

  def run(x, coords, prior, kernel):
    theta = coords if prior is None else ops.theta.compose(prior, coords)
    return affine_conv(x, theta, kernel, stride=stride, backend="xla")

  @jax.jit
  def gradients(grad, *args):
    return jax.vjp(run, *args)[1](grad)

  expected = gradients(jnp.asarray(grad), x, coords, prior, kernel)
  actual = affine_conv_twin.backward(x, coords, prior, kernel, grad, stride)
  for a, e in zip(actual, expected, strict=True):
    assert (a is None) == (e is None)
    if a is not None:
      assert_near(a, e, 1e-5)


# Values and gradients.


@DTYPES
@MODES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_is_the_definition(shape, mode, dtype):
  x, coords, prior, kernel, _, stride = data = inputs(shape, mode, dtype)
  expected = affine_conv_twin.forward(x, coords, prior, kernel, stride)
  # An imagined GPU of one multiprocessor takes wide tiles, one of many splits taps.
  for multiprocessors in (1, 132):
    actual = _run_forward(*data, multiprocessors=multiprocessors)
    assert_near(actual, expected, tolerance(dtype))


@DTYPES
@MODES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradients_are_those_of_the_definition(shape, mode, dtype):
  data = inputs(shape, mode, dtype)
  expected = affine_conv_twin.backward(*data)
  for multiprocessors, fixed in ((1, False), (132, True)):
    actual = affine_conv_host.backward(
      *data, multiprocessors=multiprocessors, fixed=fixed
    )
    for a, e in zip(actual, expected, strict=True):
      assert (a is None) == (e is None)
      if a is not None:
        assert_near(a, e, 2 * tolerance(dtype))


# Named edge cases.


@DTYPES
def test_nan_in_a_matrix_spoils_its_own_pixel_only(dtype):
  x, theta, _, kernel, grad, stride = inputs((1, 9, 9, 8, 8, 3, 1), dtype=dtype)
  clean = affine_conv_host.forward(x, theta, None, kernel, stride)
  theta[0, 2, 3, 0, 1] = np.nan
  broken = affine_conv_host.forward(x, theta, None, kernel, stride)
  assert np.isnan(broken[0, 2, 3].astype(np.float32)).all()
  clean[0, 2, 3] = broken[0, 2, 3] = 0
  np.testing.assert_array_equal(clean, broken)
  gx, gtheta, _, _ = affine_conv_host.backward(x, theta, None, kernel, grad, stride)
  # Nothing is read there (the taps in the middle row of this matrix are fine).
  assert np.isfinite(gx.astype(np.float32)).all()
  assert np.isfinite(gtheta).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -3e38, 2.0**31, 1e9])
@MODES
def test_far_coordinates_read_zero_and_have_no_gradient(mode, value):
  x, coords, prior, kernel, grad, stride = inputs((1, 6, 5, 8, 8, 3, 2), mode)
  coords[...] = value
  if mode != "offsets":
    coords[...] = 0
    (coords if prior is None else prior)[..., 2] = value
  out = affine_conv_host.forward(x, coords, prior, kernel, stride)
  assert not out.any()
  gradients = affine_conv_host.backward(x, coords, prior, kernel, grad, stride)
  for gradient in gradients:
    assert gradient is None or not gradient.any()


def test_derivative_on_the_grid_is_one_sided_as_in_xla():
  x, theta, _, kernel, grad, _ = inputs((1, 6, 5, 4, 4, 3, 1), spread=0.0)

  @jax.jit
  def gradient(x, theta, kernel):
    def run(theta):
      return affine_conv(x, theta, kernel, backend="xla")

    return jax.vjp(run, theta)[1](grad)[0]

  for shift in (0.0, 1.0, -1.0, 5.0):
    theta[..., 0, 2] = shift
    actual = affine_conv_host.backward(x, theta, None, kernel, grad, 1)[1]
    assert_near(actual, gradient(x, theta, kernel), 1e-5)


@DTYPES
@MODES
def test_empty_batch(mode, dtype):
  x, coords, prior, kernel, grad, stride = inputs((0, 6, 5, 4, 4, 3, 2), mode, dtype)
  out = affine_conv_host.forward(x, coords, prior, kernel, stride)
  assert out.shape == (0, 3, 3, 4)
  gradients = affine_conv_host.backward(x, coords, prior, kernel, grad, stride)
  assert not gradients[3].any()


def test_fixed_point_sums_are_nan_where_they_have_no_bound():
  x, theta, _, kernel, grad, stride = inputs((1, 6, 5, 4, 4, 3, 1))
  grad[0, 0, 0, 0] = np.inf
  gx = affine_conv_host.backward(x, theta, None, kernel, grad, stride, fixed=True)[0]
  assert np.isnan(gx).all()
  zeros = np.zeros_like(grad)
  gx = affine_conv_host.backward(x, theta, None, kernel, zeros, stride, fixed=True)[0]
  assert not gx.any()


@pytest.mark.parametrize("scale", [1e-30, 1e15])
def test_fixed_point_sums_keep_their_digits(scale):
  data = inputs((1, 8, 8, 4, 4, 3, 1))
  grad = (data[4] * scale).astype(np.float32)
  data = (*data[:4], grad, data[5])
  actual = affine_conv_host.backward(*data, fixed=True)[0]
  expected = affine_conv_twin.backward(*data)[0]
  assert_near(actual / scale, expected / scale, 1e-6)


# Threads in another order give the same bits: no race.


@DTYPES
@pytest.mark.parametrize("shape", [SHAPES[3], SHAPES[4]], ids=str)
def test_order_of_threads_does_not_matter(shape, dtype):
  data = inputs(shape, "prior", dtype)
  library = affine_conv_host.library()
  results = []
  for order in (0, 1, 7):
    cuda_host.set_order(library, order)
    out = _run_forward(*data, multiprocessors=132)
    results.append((out, *affine_conv_host.backward(*data, fixed=True)))
  cuda_host.set_order(library, 0)
  for other in results[1:]:
    for a, b in zip(results[0], other, strict=True):
      np.testing.assert_array_equal(a, b)


# The real compiler, and calls lowered for CUDA; no GPU needed.

LOWERING = """
import jax
import jax.numpy as jnp
from affjax.ops import affine_conv, deformable_conv

def run(x, theta, prior, offsets, kernel):
  options = {"stride": 2, "backend": "cuda"}
  return (
    affine_conv(x, theta, kernel, **options)
    + affine_conv(x, theta, kernel, prior=prior, **options)
    + deformable_conv(x, offsets, kernel, **options)
  ).sum()

for dtype in (jnp.float32, jnp.bfloat16):
  x, kernel = jnp.zeros((2, 8, 9, 3), dtype), jnp.zeros((3, 3, 3, 5), dtype)
  theta, offsets = jnp.zeros((2, 4, 5, 2, 3)), jnp.zeros((2, 4, 5, 9, 2))
  gradients = jax.jit(jax.value_and_grad(run, range(5)))
  traced = gradients.trace(x, theta, theta, offsets, kernel)
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert "affjax_affine_conv_forward" in text
  assert "affjax_affine_conv_backward" in text
print("lowered")
"""


def _need_nvcc():
  try:
    return compilers.find("cuda")
  except compilers.CompileError as error:
    pytest.skip(str(error))


@pytest.mark.slow
def test_calls_lower_for_cuda_without_a_gpu():
  _need_nvcc()
  done = subprocess.run(
    [sys.executable, "-c", LOWERING], capture_output=True, text=True, env=os.environ
  )
  assert done.stdout.strip() == "lowered", done.stderr[-2000:]


@pytest.mark.slow
def test_kernels_need_no_local_memory(tmp_path):
  """Registers suffice on the newest target: no spills, no stack."""
  compiler = _need_nvcc()
  source = compilers.SOURCES / "affine_conv.cu"
  command = [compiler.path, "-std=c++17", "-O3", "-arch=sm_90", "-cubin", "-Xptxas=-v"]
  command += ["-w", *compilers.includes(source), str(source)]
  done = subprocess.run(
    [*command, "-o", str(tmp_path / "cubin")], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", done.stderr)
  assert spills
  assert not any(map(int, spills))


# Memory: any coordinates and sizes stay inside their arrays.

FUZZ = """
import sys
import numpy as np
from tests.native import affine_conv_host, test_cuda_affine
first, count = map(int, sys.argv[1:])
lib = affine_conv_host.library(sanitize=True)
for seed in range(first, first + count):
  test_cuda_affine.run_random_case(seed, lib)
print("fine")
"""


def run_random_case(seed, lib=None):
  """Random sizes and coordinates, some of them far away or no numbers."""
  rng = np.random.default_rng(seed)
  sizes = [1, 3, 4, 8, 13, 24, 32, 40, 64, 72]
  c, o = (int(rng.choice(sizes)) for _ in range(2))
  k, stride = int(rng.integers(1, 6)), int(rng.integers(1, 4))
  n, h, w = (int(rng.integers(*r)) for r in ((1, 3), (1, 9), (1, 9)))
  mode = str(rng.choice(["theta", "prior", "offsets"]))
  dtype = np.dtype(np.float32) if rng.integers(2) else BFLOAT16
  x, coords, prior, kernel, grad, stride = inputs(
    (n, h, w, c, o, k, stride), mode, dtype, seed, spread=float(rng.choice([0.4, 5.0]))
  )
  wild = rng.random(coords.shape) < rng.choice([0.0, 0.02])
  values = [np.nan, np.inf, -np.inf, 1e30, -1e10, 2.0**31, -1.0, float(w), 0.0]
  coords[wild] = rng.choice(values, int(wild.sum()))
  options = {"multiprocessors": int(rng.choice([1, 8, 132])), "lib": lib}
  with np.errstate(all="ignore"):
    actual = affine_conv_host.forward(x, coords, prior, kernel, stride, **options)
    expected = affine_conv_twin.forward(x, coords, prior, kernel, stride)
  # Float32 coordinates of up to 40 px have few digits left for the fraction.
  assert_near(actual, expected, max(tolerance(dtype), 1e-4), least=1.0)
  fixed = bool(rng.integers(2))
  affine_conv_host.backward(
    x, coords, prior, kernel, grad, stride, fixed=fixed, **options
  )


@pytest.mark.parametrize("seed", range(10))
def test_random_cases(seed):
  run_random_case(seed)


@pytest.mark.slow
def test_random_cases_under_the_address_sanitizer():
  done = cuda_host.sanitized(FUZZ, "100", "150")
  assert done.stdout.strip() == "fine", done.stderr[-3000:]
