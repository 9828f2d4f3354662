"""Unsup3D's losses against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.losses import confident_l1, confident_perceptual
from affjax.models import extract_features, load_features

RANDOM = np.random.default_rng(0)
IMAGES, TARGETS = RANDOM.random((2, 2, 8, 8, 3)).astype(np.float32)
SIGMA = RANDOM.uniform(0.1, 2, (2, 8, 8, 1)).astype(np.float32)
MASK = np.float32(RANDOM.random((2, 8, 8, 1)) > 0.3)


def test_confident_l1_is_the_formula():
  total = weight = 0.0
  for index in np.ndindex(2, 8, 8):
    if MASK[index] == 0:
      continue
    sigma = float(SIGMA[index][0])
    for channel in range(3):
      signed = [2 * float(x[index][channel]) - 1 for x in (IMAGES, TARGETS)]
      # The negative log likelihood of a Laplacian, without the constant log sqrt(2).
      total += np.sqrt(2) * abs(signed[0] - signed[1]) / sigma + np.log(sigma)
      weight += 1
  found = confident_l1(IMAGES, TARGETS, SIGMA, MASK)
  assert float(found.value) == pytest.approx(total / weight, rel=1e-5)
  assert float(found.weight) == weight


def test_the_best_sigma_is_the_mean_difference_times_root_two():
  """Where the scale is free, the loss is least at the mean difference."""
  ones = np.ones((2, 8, 8, 1), np.float32)
  best = np.sqrt(2) * 2 * np.abs(IMAGES - TARGETS).mean()
  loss = lambda s: confident_l1(IMAGES, TARGETS, s * ones, ones).value
  slope = jax.jit(jax.grad(loss))
  assert abs(float(slope(jnp.float32(best)))) < 1e-4
  assert float(slope(jnp.float32(best / 2))) < -0.1
  assert float(slope(jnp.float32(best * 2))) > 0.1


def test_what_the_mask_hides_does_not_matter():
  other = np.where(MASK > 0, IMAGES, RANDOM.random(IMAGES.shape)).astype(np.float32)
  one, two = (confident_l1(x, TARGETS, SIGMA, MASK).value for x in (IMAGES, other))
  assert float(one) == float(two)
  none = confident_l1(IMAGES, TARGETS, SIGMA, np.zeros_like(MASK))
  assert float(none.value) == 0


def test_confident_perceptual_is_the_formula():
  net = load_features(layers=(5,))
  sigma = RANDOM.uniform(0.5, 2, (2, 2, 2, 1)).astype(np.float32)
  (a,), (b,) = (extract_features(net, x) for x in (IMAGES, TARGETS))
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  pooled = MASK.reshape(2, 2, 4, 2, 4).mean((2, 4))[..., None]
  values = (a - b) ** 2 / (2 * sigma.astype(np.float64) ** 2) + np.log(sigma)
  wanted = (values * pooled).sum() / (pooled.sum() * a.shape[-1])
  found = confident_perceptual(IMAGES, TARGETS, sigma, MASK, net)
  assert float(found.value) == pytest.approx(wanted, rel=1e-4)
  same = confident_perceptual(TARGETS, TARGETS, np.ones_like(sigma), MASK, net)
  assert float(same.value) == pytest.approx(0, abs=1e-6)
  with pytest.raises(ValueError, match="sigma must have the size of the features"):
    confident_perceptual(IMAGES, TARGETS, SIGMA, MASK, net)


def test_several_layers_are_refused():
  net = load_features(layers=(1, 5))
  with pytest.raises(ValueError, match=r"one layer of features, got \(1, 5\)"):
    confident_perceptual(IMAGES, TARGETS, SIGMA, MASK, net)


def test_images_of_other_sizes_are_refused(unchecked_shapes):
  with pytest.raises(ValueError, match="must have the same shape"):
    confident_l1(IMAGES[:1], TARGETS, SIGMA, MASK)
