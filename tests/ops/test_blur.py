import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.ops import gaussian_blur
from tests.reference import losses as twin


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  image = jnp.zeros((8, 8, 1))
  with pytest.raises(ValueError, match=r"sigma .*got -1"):
    gaussian_blur(image, sigma=-1)
  with pytest.raises(ValueError, match=r"sigma .*got nan"):
    gaussian_blur(image, sigma=float("nan"))
  with pytest.raises(ValueError, match=r"size must be odd .*got 4"):
    gaussian_blur(image, sigma=1, size=4)


@pytest.mark.parametrize(("shape", "sigma", "size"), [
  ((9, 14, 3), 1.3, 7),
  ((5, 4, 1), 2.0, 9),  # reaches over both borders at once
  ((16, 16, 2), 0.5, 3),
])  # fmt: skip
def test_equals_a_two_dimensional_convolution(shape, sigma, size):
  image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  expected = twin.gaussian_blur(image, sigma, size)
  found = gaussian_blur(image, sigma=sigma, size=size)
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_default_size_is_the_map_over_eight_plus_one():
  image = np.random.default_rng(1).normal(size=(64, 64, 1)).astype(np.float32)
  np.testing.assert_array_equal(
    gaussian_blur(image, sigma=64 / 32),
    gaussian_blur(image, sigma=64 / 32, size=64 // 8 + 1),
  )


def test_keeps_constants_and_commutes_with_flips():
  image = np.random.default_rng(2).normal(size=(2, 12, 12, 3)).astype(np.float32)
  soft = gaussian_blur(image, sigma=1.5)
  np.testing.assert_allclose(
    gaussian_blur(image[:, :, ::-1], sigma=1.5), soft[:, :, ::-1], atol=1e-6
  )
  np.testing.assert_allclose(
    gaussian_blur(jnp.full((12, 12, 1), 0.7), sigma=3.0), 0.7, rtol=1e-6
  )


def test_zero_sigma_is_the_identity_and_half_precision_is_widened():
  image = jnp.ones((4, 4, 1), jnp.bfloat16)
  assert gaussian_blur(image, sigma=0) is image
  assert gaussian_blur(image, sigma=1).dtype == jnp.float32


def test_gradient_is_the_transposed_blur():
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(2, 7, 6, 2)).astype(np.float32)
  soft, pull = jax.vjp(lambda image: gaussian_blur(image, sigma=1.0), x)
  np.testing.assert_allclose(np.vdot(soft, y), np.vdot(x, pull(y)[0]), rtol=1e-5)
  np.testing.assert_allclose(
    jax.jit(lambda image: gaussian_blur(image, sigma=1.0))(x), soft, atol=1e-6
  )
