"""The Levenberg-Marquardt solver against SciPy's, with priors and bounds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from affjax.faces import _least_squares as least_squares

TIMES = np.linspace(0, 2, 20)


def _rows(x, seen):
  """A decaying exponential `x[0] exp(-x[1] t) + x[2]` less what was seen."""
  return x[0] * jnp.exp(-x[1] * jnp.asarray(TIMES)) + x[2] - seen


def _minimize(seen, **options):
  linearize = lambda x: (_rows(x, seen), jax.jacfwd(_rows)(x, seen))
  return least_squares.minimize(
    linearize,
    least_squares.soft_l1,
    lambda x, step: x + step,
    jnp.ones(3),
    steps=100,
    tolerance=1e-9,
    **options,
  )


_jitted_rows, _jitted_minimum = jax.jit(_rows), jax.jit(_minimize)


def _seen(count, seed=0):
  """Noisy curves with one wild value each."""
  rng = np.random.default_rng(seed)
  x = rng.uniform([1, 0.5, -1], [3, 2, 1], (count, 3))
  seen = x[:, :1] * np.exp(-x[:, 1:2] * TIMES) + x[:, 2:]
  seen += 0.05 * rng.standard_normal(seen.shape)
  seen[:, 7] += 5
  return seen


def _scipy(seen, **options):
  rows = lambda x: np.asarray(_jitted_rows(x, seen))
  return optimize.least_squares(rows, np.ones(3), xtol=1e-12, ftol=1e-12, **options)


def test_the_robust_minimum_is_scipys():
  with jax.enable_x64(True):
    for seen in _seen(5):
      found, best = _jitted_minimum(seen), _scipy(seen, loss="soft_l1")
      np.testing.assert_allclose(found.state, best.x, atol=1e-5)
      np.testing.assert_allclose(found.cost, 2 * best.cost, rtol=1e-9)


def test_soft_l1_is_exact_near_zero_and_its_slope_is_its_derivative():
  r = jnp.array([1e-4, 0.3, -2.0, 50.0])
  loss = least_squares.soft_l1(r)
  np.testing.assert_allclose(least_squares.soft_l1(r[:1]).cost, 1e-8, rtol=1e-5)
  cost = lambda r: least_squares.soft_l1(r).cost
  np.testing.assert_allclose(jax.grad(cost)(r), loss.slope, rtol=1e-5)
  slope = lambda r: least_squares.soft_l1(r).slope.sum()
  np.testing.assert_allclose(jax.grad(slope)(r), loss.curvature, rtol=1e-4)


def test_a_prior_pulls_to_zero():
  with jax.enable_x64(True):
    (seen,) = _seen(1)
    precision = jnp.array([0.0, 0.0, 4.0])
    prior = least_squares.Prior(lambda x: x, precision)
    found = _minimize(seen, prior=prior)

    def cost(x):
      rows = np.asarray(_jitted_rows(x, seen))
      return 2 * np.sum(np.sqrt(1 + rows**2) - 1) + np.sum(precision * x**2)

    best = optimize.minimize(cost, np.ones(3), tol=1e-12)
    np.testing.assert_allclose(found.state, best.x, atol=1e-4)
    assert abs(found.state[2]) < abs(_jitted_minimum(seen).state[2])


def test_bounds_hold():
  """The decay may not fall below a bound that is above its minimum."""
  with jax.enable_x64(True):
    (seen,) = _seen(1)
    low = _scipy(seen, loss="soft_l1").x[1] + 0.3
    best = _scipy(seen, loss="soft_l1", bounds=([-9, low - 1e-12, -9], 9))
    found = _minimize(
      seen,
      free=lambda x, gradient: (
        jnp.array([True, False, True]) | ((x > low) | (gradient < 0))
      ),
      constrain=lambda x: x.at[1].max(low),
    )
    np.testing.assert_allclose(found.state, best.x, atol=1e-4)


def test_vmap_is_a_loop():
  with jax.enable_x64(True):
    seen = jnp.asarray(_seen(4))
    together = jax.jit(jax.vmap(_minimize))(seen)
    for k, one in enumerate(seen):
      np.testing.assert_allclose(
        together.state[k], _jitted_minimum(one).state, atol=1e-9
      )


def test_chunks_are_filled_up_and_keep_their_order():
  sizes = []

  def solve(scale, x):
    sizes.append(len(x))
    return scale * x, x.sum(1)

  x = np.arange(38.0).reshape(19, 2)
  double, total = least_squares.in_chunks(functools.partial(solve, 2), x)
  assert sizes == [16, 4]
  np.testing.assert_array_equal(double, 2 * x)
  np.testing.assert_array_equal(total, x.sum(1))
