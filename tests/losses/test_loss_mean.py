import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.losses import Mean, masked_l1, masked_mean


class TestVariants(chex.TestCase):
  """Means are the same eagerly and jitted, of NumPy and of JAX arrays."""

  @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
  def test_mask_broadcasts_over_axes_of_length_one(self):
    mean = self.variant(lambda *arrays: masked_mean(*arrays).value)
    values = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
    mask = np.array([1, 0], np.float32).reshape(1, 2, 1)
    np.testing.assert_allclose(mean(values, mask), values[:, 0].mean(), rtol=1e-6)
    np.testing.assert_allclose(mean(values), values.mean(), rtol=1e-6)

  @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
  def test_difference_is_taken_under_the_mask(self):
    mean = self.variant(lambda *arrays: masked_l1(*arrays).value)
    values, mask = np.float32([1, 2, 3, 4]), np.float32([1, 0, 0, 1])
    np.testing.assert_allclose(mean(values, 2 * values, mask), 2.5, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 2), (1, 3, 1), (1, 1, 1, 1)])
def test_a_mask_that_does_not_fit_raises(shape):
  with pytest.raises(ValueError, match="mask must have the rank of the values"):
    masked_mean(jnp.zeros((2, 4, 3)), jnp.zeros(shape))


def test_an_empty_mask_gives_zero_and_zero_gradient():
  loss = lambda x: masked_mean(x, jnp.zeros_like(x)).value
  value, gradient = jax.value_and_grad(loss)(jnp.ones(3))
  assert value == 0
  np.testing.assert_array_equal(gradient, 0)


def test_masked_values_may_be_nan():
  values = jnp.array([1.0, jnp.nan])
  loss = lambda x: masked_l1(x, jnp.zeros(2), jnp.array([1.0, 0.0])).value
  value, gradient = jax.value_and_grad(loss)(values)
  assert value == 1
  np.testing.assert_array_equal(gradient, [1, 0])


def test_half_precision_is_summed_in_single():
  values = jnp.full(4096, 1.0, jnp.bfloat16)
  assert masked_mean(values, values).total == 4096


def test_sums_add_up_over_steps():
  values, mask = np.arange(6.0), np.array([1.0, 1, 0, 0, 0, 1])
  parts = masked_mean(values[:3], mask[:3]) + masked_mean(values[3:], mask[3:])
  np.testing.assert_allclose(parts.value, 2, rtol=1e-6)


def test_psum_in_shard_map_equals_one_device():
  """The mean of the shards' means would be 1.875."""
  values = jnp.arange(8.0)
  mask = jnp.array([1.0, 0, 0, 0, 1, 1, 0, 0])
  mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

  @functools.partial(
    jax.shard_map, mesh=mesh, in_specs=jax.P("data"), out_specs=jax.P()
  )
  def sharded(values, mask):
    return masked_mean(values, mask).psum("data").value

  np.testing.assert_allclose(sharded(values, mask), 3, rtol=1e-6)
  np.testing.assert_allclose(masked_mean(values, mask).value, 3, rtol=1e-6)


def test_is_a_pytree():
  doubled = jax.jit(lambda m: m + m)(Mean(jnp.array(3.0), jnp.array(2.0)))
  assert (doubled.total, doubled.weight, doubled.value) == (6, 4, 1.5)
