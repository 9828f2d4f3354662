"""Visible skin of portraits whose ground truth is known, and bad input."""

import numpy as np
import pytest

from affjax.faces import visible_skin
from experiments.regions import (
  disguises,
  snapshots,
  unseen_disguises,
  validation_disguises,
)
from experiments.regions.bare_skin import Portraits

SIZE = 128


@pytest.fixture(scope="module")
def portraits():
  """Heads of the test split, nothing before them."""
  source = Portraits(1000, SIZE, "test", occluders=0.0)
  return [source[i] for i in range(8)]


def _iou(said, truth):
  return (said & truth).sum() / max((said | truth).sum(), 1)


def _covered(portraits, kind):
  """Photos with a thing before each face, bare skin, and what the thing hides."""
  photos, truth, hidden = [], [], []
  for k, portrait in enumerate(portraits):
    image, bare = portrait.image / np.float32(255), portrait.bare / np.float32(255)
    rng = np.random.default_rng(k)
    image, left = disguises.lay(rng, kind, image, bare, portrait.landmarks)
    photos.append(np.rint(image * 255).astype(np.uint8))
    truth.append(left > 0.5)
    hidden.append((bare > 0.9) & (left < 0.1))
  return np.stack(photos), np.stack(truth), np.stack(hidden)


def test_bare_heads_are_found_and_what_is_behind_them_is_not(portraits):
  photos = np.stack([p.image for p in portraits])
  truth = np.stack([p.bare for p in portraits])
  share = visible_skin(photos)[..., 0]
  assert _iou(share > 0.5, truth > 128) >= 0.9
  assert share[truth == 0].mean() < 0.08  # hair, clothes, background
  assert share[truth == 255].mean() > 0.9


@pytest.mark.parametrize("name", ["aviators", "cup", "patches"])
def test_unseen_things_are_not_skin(portraits, name):
  """Kinds that the network was not trained with."""
  kind = unseen_disguises.UNSEEN[name]
  photos, truth, hidden = _covered(portraits, kind)
  said = visible_skin(photos)[..., 0]
  assert _iou(said > 0.5, truth) >= 0.9
  assert hidden.sum() > 1000
  assert said[hidden].mean() < 0.3


def test_rims_of_glasses_are_not_skin(portraits):
  photos, _, hidden = _covered(portraits, disguises.SEEN["clear_glasses"])
  said = visible_skin(photos)[..., 0]
  assert said[hidden].mean() < 0.4
  whole = visible_skin(np.stack([p.image for p in portraits]))[..., 0]
  assert whole[hidden].mean() > 0.85


@pytest.mark.parametrize("size", [1, 17, 100, 256])
def test_any_size_gives_shares(size):
  rng = np.random.default_rng(size)
  images = rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8)
  share = visible_skin(images)
  assert share.shape == (2, size, size, 1)
  assert share.dtype == np.float32
  assert share.min() >= 0
  assert share.max() <= 1
  np.testing.assert_array_equal(share, visible_skin(images))


def test_sizes_agree(portraits):
  """A photo enlarged shows the same skin."""
  photos = np.stack([p.image for p in portraits[:2]])
  large = photos.repeat(2, 1).repeat(2, 2)
  small = visible_skin(photos)[..., 0] > 0.5
  shrunk = visible_skin(large)[:, ::2, ::2, 0] > 0.5
  assert _iou(small, shrunk) > 0.96


def test_batches_of_any_length_give_the_same(portraits):
  photos = np.stack([p.image for p in portraits])
  photos = np.concatenate([photos, photos[:3]])
  whole = visible_skin(photos)
  single = visible_skin(photos[5:6])
  np.testing.assert_allclose(whole[5:6], single, atol=1e-4)
  np.testing.assert_allclose(whole[8:], whole[:3], atol=1e-4)
  assert visible_skin(photos[:0]).shape == (0, SIZE, SIZE, 1)


@pytest.mark.parametrize(
  ("images", "message"),
  [
    (np.zeros((4, 4, 3), np.uint8), r"\[N, S, S, 3\].*\[4, 4, 3\]"),
    (np.zeros((1, 4, 5, 3), np.uint8), r"\[N, S, S, 3\].*\[1, 4, 5, 3\]"),
    (np.zeros((1, 4, 4, 4), np.uint8), r"\[N, S, S, 3\].*\[1, 4, 4, 4\]"),
    (np.zeros((1, 0, 0, 3), np.uint8), "S >= 1"),
    (np.zeros((1, 4, 4, 3), np.float32), "uint8.*float32"),
  ],
)
def test_bad_images_are_refused(images, message):
  with pytest.raises(ValueError, match=message):
    visible_skin(images)


def test_training_validation_and_test_share_no_kind():
  groups = (
    disguises.SEEN,
    validation_disguises.VALIDATION,
    unseen_disguises.UNSEEN,
  )
  assert len(snapshots.KINDS) == sum(len(group) for group in groups)
  assert len(set(snapshots.KINDS.values())) == len(snapshots.KINDS)


def test_training_snapshots_are_photos_with_skin_that_repeat(portraits):
  """Shadows, tints and other people's pictures included; portraits stay untouched."""
  before = portraits[0].image.copy(), portraits[1].image.copy()
  hidden = []
  for k in range(40):
    image, bare = snapshots.training_snapshot(
      np.random.default_rng(k), portraits[0], portraits[1]
    )
    again = snapshots.training_snapshot(
      np.random.default_rng(k), portraits[0], portraits[1]
    )
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(bare, again[1])
    assert image.shape == (SIZE, SIZE, 3)
    assert bare.shape == (SIZE, SIZE)
    assert 0 <= min(image.min(), bare.min()) <= max(image.max(), bare.max()) <= 1
    hidden.append(1 - bare.sum() / (portraits[0].bare / 255).sum())
  assert np.mean(np.array(hidden) > 0.1) > 0.3
  assert min(hidden) < 0.1
  np.testing.assert_array_equal(portraits[0].image, before[0])
  np.testing.assert_array_equal(portraits[1].image, before[1])


@pytest.mark.parametrize("name", list(snapshots.KINDS))
def test_every_kind_hides_skin_and_snapshots_repeat(portraits, name):
  """Things only take skin away, and photos are functions of their generator."""
  kind = snapshots.KINDS[name]
  hidden = 0
  for k, portrait in enumerate(portraits[:4]):
    bare = portrait.bare / np.float32(255)
    image = portrait.image / np.float32(255)
    rng = np.random.default_rng(k)
    image, left = disguises.lay(rng, kind, image, bare, portrait.landmarks)
    assert image.shape == (SIZE, SIZE, 3)
    assert np.isfinite(image).all()
    assert (left <= bare + 1e-6).all()
    hidden += (left < bare - 0.5).sum()
  assert hidden > 0
  shots = [
    snapshots.held_out_snapshot(
      np.random.default_rng(1), portraits[0], name, degraded=True
    )
    for _ in range(2)
  ]
  np.testing.assert_array_equal(shots[0][0], shots[1][0])
  assert 0 <= shots[0][0].min() <= shots[0][0].max() <= 1
