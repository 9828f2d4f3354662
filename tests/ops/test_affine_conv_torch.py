"""Affine convolution against PyTorch's forms of it, on random shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affjax import ops
from affjax.native import library
from affjax.ops import _affine_conv, affine_conv

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
from experiments.pytorch_reference import affine_conv as forms  # noqa: E402

PLATFORMS = {"cpp": "cpu", "cuda": "cuda"}


@pytest.fixture(scope="module", params=sorted(_affine_conv._BACKENDS))
def backend(request):
  """Every backend that can run here."""
  platform = PLATFORMS.get(request.param)
  if platform:
    try:
      jax.devices(platform)
    except RuntimeError:
      pytest.skip(f"no {platform} device")
    status = library.status("affine_conv", platform)
    if not status.ready:
      pytest.skip(f"no {request.param} kernel: {status.reason}")
  return request.param


@st.composite
def inputs(draw, *, on_grid: bool = True):
  """Arrays x, theta, kernel and a stride.

  Without `on_grid` every coordinate is a binary fraction away from the pixels' lines:
  exact in float32 and in float64, so that no rounding turns a one-sided derivative.
  """
  size = st.integers(1, 9)
  n, h, w = draw(st.integers(1, 3)), draw(size), draw(size)
  c, o = draw(st.integers(1, 9)), draw(st.integers(1, 9))
  k, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
  spread = draw(st.sampled_from([0.0, 0.3, 2.0]))
  rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
  theta = spread * rng.standard_normal((n, -(-h // stride), -(-w // stride), 2, 3))
  theta += np.eye(2, 3)
  if not on_grid:
    theta = np.round(8 * theta) / 8
    theta[..., 2] += 1 / 16
  x = rng.standard_normal((n, h, w, c))
  kernel = rng.standard_normal((k, k, c, o)) / (k * c**0.5)
  return *(v.astype(np.float32) for v in (x, theta, kernel)), stride


def _torch_forward(form, x, theta, kernel, stride):
  out = form(forms.image(x), torch.tensor(theta).double(), forms.weight(kernel), stride)
  return out.permute(0, 2, 3, 1).numpy()


def _torch_gradients(form, x, theta, kernel, stride):
  """Returns the gradients of the sum of sines, in our layout."""
  leaves = [torch.tensor(v).double().requires_grad_() for v in (x, theta, kernel)]
  out = form(leaves[0].permute(0, 3, 1, 2), leaves[1], _weight(leaves[2]), stride)
  return [g.numpy() for g in torch.autograd.grad(torch.sin(out).sum(), leaves)]


def _weight(kernel):
  return kernel.permute(3, 2, 0, 1)


def _close(got, want, tolerance: float) -> None:
  """To `tolerance` of the largest value that is wanted."""
  scale = max(1e-2, float(np.abs(want).max(initial=0)))
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(args=inputs())
def test_torch_forms_agree_with_each_other(args):
  first, *others = (_torch_forward(form, *args) for form in forms.forms().values())
  for other in others:
    _close(other, first, 1e-10)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(args=inputs(on_grid=False))
def test_torch_gradients_agree_with_each_other(args):
  first, *others = (_torch_gradients(form, *args) for form in forms.forms().values())
  for other in others:
    for got, want in zip(other, first, strict=True):
      _close(got, want, 1e-10)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(args=inputs())
def test_forward_is_pytorchs(backend, args):
  *arrays, stride = args
  run = jax.jit(lambda *a: affine_conv(*a, stride=stride, backend=backend))
  _close(run(*arrays), _torch_forward(forms.one_grid, *args), 1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(args=inputs(on_grid=False))
def test_gradients_are_pytorchs(backend, args):
  *arrays, stride = args

  @jax.jit
  def gradients(x, theta, kernel):
    run = lambda *a: affine_conv(*a, stride=stride, backend=backend)
    return jax.grad(lambda *a: jnp.sum(jnp.sin(run(*a))), (0, 1, 2))(x, theta, kernel)

  found = gradients(*arrays)
  for got, want in zip(found, _torch_gradients(forms.stacked, *args), strict=True):
    _close(got, want, 1e-4)


def test_absolute_matrices_are_read_as_the_paper_writes_them():
  absolute = np.random.default_rng(0).standard_normal((2, 4, 5, 2, 3))
  want = forms.window_form(torch.tensor(absolute), 7, 10, 2)
  got = ops.theta.from_absolute(jnp.asarray(absolute, jnp.float32), 7, 10, 2)
  _close(got, want.numpy(), 1e-6)
