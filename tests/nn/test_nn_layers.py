"""Layers: affine against plain convolution, frames, normalization, precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from affjax.models import _params
from affjax.nn import (
  AffineConv,
  Block,
  Conv,
  DeformableConv,
  GroupNorm,
  Normal,
  Values,
)
from affjax.ops import theta as thetas

pytestmark = pytest.mark.smoke  # on a newer jax as well, see `make smoke`


def _x(n=2, h=7, w=6, c=4, seed=0):
  return np.random.default_rng(seed).standard_normal((n, h, w, c)).astype(np.float32)


def _apply(definition, weights, x, **options):
  run = lambda w, x, o: _params.apply(definition, w, x, **o)
  return jax.jit(run)(weights, x, options)


def _affine(**options):
  definition = _params.define(lambda rngs: AffineConv(4, 5, rngs=rngs, **options))
  return definition, _params.init(definition, 0)


@pytest.mark.parametrize("frame", ["window", "absolute"])
@pytest.mark.parametrize(("k", "stride"), [(3, 1), (3, 2), (5, 3), (1, 2), (2, 1)])
def test_affine_layer_starts_as_a_plain_one(frame, k, stride):
  definition, weights = _affine(kernel_size=k, stride=stride, frame=frame)
  plain = _params.define(
    lambda rngs: Conv(4, 5, kernel_size=k, stride=stride, rngs=rngs)
  )
  same = _params.init(plain, 0)
  np.testing.assert_array_equal(same["kernel"], weights["kernel"])
  got = _apply(definition, weights, _x())
  np.testing.assert_allclose(got, _apply(plain, same, _x()), atol=3e-5)


@pytest.mark.parametrize("frame", ["window", "absolute"])
def test_gradient_reaches_the_predictor(frame):
  definition, weights = _affine(stride=2, frame=frame)
  loss = lambda w: jnp.sum(_params.apply(definition, w, _x()) ** 2)
  gradient = jax.jit(jax.grad(loss))(weights)["predictor"]
  assert all(float(jnp.abs(g).max()) > 0 for g in gradient.values())


def test_prior_places_the_windows():
  definition, weights = _affine()
  prior = np.array(thetas.identity((2, 7, 6)))
  prior[..., 0, 2] = 1.0
  moved = _apply(definition, weights, _x(), prior=prior)
  shifted = np.concatenate([_x()[:, :, 1:], np.zeros((2, 7, 1, 4), np.float32)], 2)
  want = _apply(definition, weights, shifted)
  np.testing.assert_allclose(moved[:, :, 1:], want[:, :, 1:], atol=1e-5)


def test_reach_bounds_the_shift_of_windows():
  definition, weights = _affine(reach=0.25)
  weights["predictor"]["bias"] = np.float32([1, 0, 100, 0, 2, -0.01])
  run = lambda w, x: nnx.merge(definition.graph, w).theta(x)
  got = np.asarray(jax.jit(run)(weights, _x()))[0, 3, 3]
  np.testing.assert_allclose(got, [[1, 0, 0.25 * 7], [0, 2, -0.01]], atol=1e-4)


def test_plain_layer_with_the_identity_as_prior_is_itself():
  definition = _params.define(lambda rngs: Conv(4, 5, stride=2, rngs=rngs))
  weights = _params.init(definition, 0)
  got = _apply(definition, weights, _x(), prior=thetas.identity((2, 4, 3)))
  np.testing.assert_allclose(got, _apply(definition, weights, _x()), atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_layer_reads_a_spread_kernel(stride):
  make = lambda rngs, **o: Conv(4, 5, stride=stride, rngs=rngs, **o)
  definition = _params.define(lambda rngs: make(rngs, dilation=4))
  weights = _params.init(definition, 0)
  spread = np.zeros((9, 9, 4, 5), np.float32)
  spread[::4, ::4] = weights["kernel"]
  wide = _params.define(lambda rngs: make(rngs, kernel_size=9))
  got = _apply(definition, weights, _x())
  want = _apply(wide, {**weights, "kernel": spread}, _x())
  assert got.shape == want.shape
  np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(("k", "stride"), [(3, 1), (3, 2), (2, 1)])
def test_deformable_layer_starts_as_a_plain_one(k, stride):
  options = {"kernel_size": k, "stride": stride}
  free = _params.define(lambda rngs: DeformableConv(4, 5, rngs=rngs, **options))
  plain = _params.define(lambda rngs: Conv(4, 5, rngs=rngs, **options))
  weights = _params.init(free, 0)
  got = _apply(free, weights, _x())
  want = _apply(plain, _params.init(plain, 0), _x())
  np.testing.assert_allclose(got, want, atol=3e-5)
  # An offset of one pixel for every tap reads the next column.
  offset = np.tile(np.float32([1, 0]), k * k)
  weights["predictor"]["bias"] = offset
  moved = _apply(free, weights, _x())[:, 1:-1, 1:-1]
  shifted = np.concatenate([_x()[:, :, 1:], np.zeros((2, 7, 1, 4), np.float32)], 2)
  want = _apply(plain, _params.init(plain, 0), shifted)[:, 1:-1, 1:-1]
  np.testing.assert_allclose(moved, want, atol=3e-5)


def test_layer_errors():
  with pytest.raises(ValueError, match="frame must be one of"):
    _affine(frame="polar")
  with pytest.raises(ValueError, match="padding must be"):
    Conv(1, 1, padding="same", rngs=nnx.Rngs(0))
  free = Block(DeformableConv(4, 8, rngs=nnx.Rngs(0)), 8, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match="needs an affine or plain layer"):
    free(_x(), prior=thetas.identity((2, 7, 6)))


def test_layers_are_ordinary_nnx_modules():
  layer = AffineConv(4, 5, stride=2, rngs=nnx.Rngs(1))
  assert layer(_x()).shape == (2, 4, 3, 5)
  names = set(nnx.to_pure_dict(nnx.state(layer)))
  assert names == {"kernel", "bias", "predictor"}
  norm = np.std(layer.kernel[...]) * (9 * 4 / 2) ** 0.5
  assert 0.8 < norm < 1.2


def test_bfloat16_keeps_parameters_and_matrices_float32():
  definition, weights = _affine(dtype="bfloat16")
  assert {leaf.dtype for leaf in jax.tree.leaves(weights)} == {jnp.dtype("float32")}
  got = _apply(definition, weights, _x())
  exact, _ = _affine()
  want = _apply(exact, weights, _x())
  assert got.dtype == jnp.bfloat16
  np.testing.assert_allclose(got.astype(np.float32), want, atol=0.1)
  module = nnx.merge(definition.graph, weights)
  assert module.theta(_x()).dtype == jnp.float32


def test_group_norm_normalizes_each_group():
  definition = _params.define(lambda rngs: GroupNorm(12, rngs=rngs))
  weights = _params.init(definition, 0)
  assert weights["scale"].shape == (12,)
  x = 3 + 2 * _x(c=12)
  got = np.array(_apply(definition, weights, x))
  groups = got.reshape(2, 42, 3, 4)  # gcd(8, 12) = 4 channels a group
  np.testing.assert_allclose(groups.mean((1, 3)), 0, atol=1e-5)
  np.testing.assert_allclose(groups.std((1, 3)), 1, atol=1e-4)
  flat = _apply(definition, weights, np.full((1, 2, 2, 12), 7, np.float32))
  np.testing.assert_allclose(flat, 0, atol=1e-2)


def test_initializers_agree_in_distribution():
  shape = (3, 3, 32, 64)
  init = Normal(2**0.5)
  drawn = init.fill(np.random.default_rng(0), shape), init(jax.random.key(0), shape)
  for values in drawn:
    np.testing.assert_allclose(np.std(values), (2 / 288) ** 0.5, rtol=0.03)
  one = Values((1.0, 2.0))
  np.testing.assert_array_equal(
    one.fill(np.random.default_rng(0), (2,)), one(jax.random.key(0), (2,))
  )
