"""The perceptual distance against its twin and the loss of training."""

import numpy as np
import pytest

from affjax.eval import perceptual_distance
from affjax.losses import perceptual
from affjax.models import extract_features, load_features
from tests.reference import identity as twin


@pytest.fixture(scope="module")
def net():
  """Two layers, at the full and at half the size."""
  return load_features(layers=(1, 3))


def _pictures(seed, n=2, height=22, width=17):
  rng = np.random.default_rng(seed)
  values = lambda c: rng.random((n, height, width, c)).astype(np.float32)
  return values(3), values(3), values(1)


def test_agrees_with_its_twin(net):
  """Sides that are no multiples of 2, and a mask with zeros, ones and shares."""
  image, target, mask = _pictures(0)
  mask = np.clip(3 * mask - 1, 0, 1)
  got = perceptual_distance(image, target, mask, net)
  features = lambda picture: [
    np.asarray(layer[0]) for layer in extract_features(net, picture[None])
  ]
  for k in range(len(image)):
    want = twin.perceptual_distance(features, image[k], target[k], mask[k])
    np.testing.assert_allclose(got[k], want, rtol=1e-4)


def test_with_a_full_mask_it_is_the_loss(net):
  image, target, mask = _pictures(1)
  got = perceptual_distance(image, target, np.ones_like(mask), net)
  want = perceptual(image, target, net).value
  np.testing.assert_allclose(np.mean(got), want, rtol=1e-5)


def test_equal_pictures_are_at_zero_and_nothing_is_nan(net):
  image, _, mask = _pictures(2)
  np.testing.assert_array_equal(perceptual_distance(image, image, mask, net), 0)
  assert np.isnan(perceptual_distance(image, image, 0 * mask, net)).all()


def test_only_the_mask_counts(net):
  """Visible and hidden texels are measured apart, whatever the others hold."""
  image, target, mask = _pictures(3, height=32, width=32)
  visible = np.zeros_like(mask)
  visible[:, :16] = 1
  other = np.where(visible > 0, image, np.random.default_rng(4).random(image.shape))
  distance = lambda picture, weights: np.asarray(
    perceptual_distance(picture.astype(np.float32), target, weights, net)
  )
  np.testing.assert_allclose(distance(other, visible), distance(image, visible))
  hidden = 1 - visible
  assert not np.allclose(distance(other, hidden), distance(image, hidden))


def test_shapes_are_checked(net, unchecked_shapes):
  image, target, mask = _pictures(5)
  with pytest.raises(ValueError, match=r"must be .* got \(2, 22"):
    perceptual_distance(image, target[:, :-1], mask, net)
  with pytest.raises(ValueError, match="image, target and mask must be"):
    perceptual_distance(image, target, mask[..., 0], net)


def test_the_default_network_orders_pictures():
  """Noise is farther from a picture than the same picture, a little darker."""
  smooth = np.linspace(0.2, 0.8, 32, dtype=np.float32)[None, :, None, None]
  smooth = np.broadcast_to(smooth, (1, 32, 32, 3))
  noise = np.random.default_rng(6).random((1, 32, 32, 3)).astype(np.float32)
  mask = np.ones((1, 32, 32, 1), np.float32)
  near = float(perceptual_distance(0.9 * smooth, smooth, mask)[0])
  far = float(perceptual_distance(noise, smooth, mask)[0])
  assert 0 < near < 0.5 * far
