"""The embedded face encoder against its NumPy twin, and the alignment of faces."""

import jax
import numpy as np
import pytest

from affjax.assets import store
from affjax.models import (
  _face_resnet,
  extract_identity,
  identity_alignment,
  load_identity,
)
from affjax.models._identity import IdentityNet
from tests.reference import identity as twin


@pytest.fixture(scope="module")
def net():
  return load_identity()


def _embedding(net, *images):
  return np.asarray(extract_identity(net, np.stack(images).astype(np.float32)))


def _random_asset(seed):
  """Weights of the same shapes, with which the embedding is about as large."""
  rng = np.random.default_rng(seed)
  asset = dict(store.open_asset("identity.npz"))
  for name, values in asset.items():
    if name.endswith("/kernel"):
      asset[name] = rng.permuted(values, axis=None).reshape(values.shape)
    elif name.endswith("/bias"):
      asset[name] = rng.normal(0, 0.3, values.shape).astype(np.float32)
  return asset


@pytest.mark.parametrize("weights", ["embedded", "random"])
def test_agrees_with_its_twin(net, weights):
  asset = store.open_asset("identity.npz")
  if weights == "random":
    asset = _random_asset(3)
    net = IdentityNet(_face_resnet.from_asset(asset), "random", "dlib-resnet")
  images = np.random.default_rng(0).random((2, 150, 150, 3))
  want = np.stack([twin.dlib_embedding(asset, image) for image in images])
  got = _embedding(net, *images)
  assert got.shape == (2, 128)
  # Two faces differ by more than a thousand times the tolerance.
  np.testing.assert_allclose(got, want, atol=2e-4 * np.abs(want).max())


def test_a_batch_gives_what_single_images_give(net):
  images = np.random.default_rng(1).random((2, 150, 150, 3))
  singles = [_embedding(net, image)[0] for image in images]
  np.testing.assert_allclose(_embedding(net, *images), singles, atol=1e-4)


def test_alignment_is_the_least_squares_similarity(net):
  asset = store.open_asset("identity.npz")
  landmarks = np.random.default_rng(2).normal(100, 30, (68, 2))
  used, points = asset["chip/landmarks"], asset["chip/points"]
  want = twin.chip_matrix(landmarks[used], points)
  np.testing.assert_allclose(identity_alignment(net, landmarks), want, atol=1e-6)


def test_alignment_undoes_a_similarity(net):
  """A face that is turned, scaled and moved is cut out in the same way."""
  landmarks = np.random.default_rng(3).normal(100, 30, (68, 2))
  c, s = 0.7 * np.cos(0.4), 0.7 * np.sin(0.4)
  turned = landmarks @ np.array([[c, s], [-s, c]]) + [5, -9]
  for one in (net, IdentityNet({}, "any", "light-cnn-29-v1")):
    ends = []
    for points in (landmarks, turned):
      matrix = identity_alignment(one, points)
      ends.append(points @ matrix[:, :2].T + matrix[:, 2])
    np.testing.assert_allclose(*ends, atol=1e-6)


def test_light_cnn_s_alignment_meets_its_protocol():
  """Eyes level on row 40, the mouth 48 rows below."""
  landmarks = np.random.default_rng(4).normal(0, 3, (68, 2))
  landmarks += [200, 300]
  landmarks[36:42] -= [40, 25]
  landmarks[42:48] += [35, -5]
  landmarks[48:60] += [10, 70]
  matrix = identity_alignment(IdentityNet({}, "any", "light-cnn-29-v2"), landmarks)
  points = landmarks @ matrix[:, :2].T + matrix[:, 2]
  left, right = points[36:42].mean(0), points[42:48].mean(0)
  np.testing.assert_allclose([left[1], right[1]], 40)
  np.testing.assert_allclose((left[0] + right[0]) / 2, 63.5)
  np.testing.assert_allclose(points[48:60].mean(0)[1], 88)
  assert left[0] < right[0]


@pytest.mark.parametrize("kind", ["dlib-resnet", "light-cnn-29-v1"])
def test_landmarks_that_cannot_be_aligned(kind):
  net = IdentityNet({}, "any", kind)
  with pytest.raises(ValueError, match="must not lie in one place"):
    identity_alignment(net, np.ones((68, 2)))
  landmarks = np.random.default_rng(5).normal(size=(68, 2))
  landmarks[40, 0] = np.nan
  with pytest.raises(ValueError, match="must be finite"):
    identity_alignment(net, landmarks)


def test_images_of_another_size_are_refused(net):
  with pytest.raises(ValueError, match=r"must be \[n, 150, 150, 3\] .* \(1, 128, 128"):
    _embedding(net, np.zeros((128, 128, 3)))


@pytest.mark.parametrize(
  ("name", "content"), [("missing.pth", None), ("text.pth", b"no network")]
)
def test_files_that_hold_no_encoder(tmp_path, name, content):
  path = tmp_path / name
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(
    ValueError, match=rf"{name} does not hold Light CNN 29: "
  ) as error:
    load_identity(path)
  assert "\n" not in str(error.value)


def test_the_name_tells_weights_apart(net):
  assert net.name.startswith("dlib-resnet-")
  assert net.name == load_identity().name
  assert jax.tree.leaves(net)
