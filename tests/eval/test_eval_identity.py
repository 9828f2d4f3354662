"""Identity measures against their twins, and the encoder on faces of known people."""

import io
import os
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from affjax import eval as evaluation
from affjax.assets import store
from affjax.eval import _identity
from affjax.faces import find_faces, find_in_all
from affjax.models import load_identity
from tests.reference import identity as twin

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("AFFJAX_SHARED", ROOT.parent / "shared"))
LFW = SHARED / "data" / "lfw350_gray" / "lfw_60ids_x5.tar"
PEOPLE = 12


def _vectors(seed, n=7, d=5):
  return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_cosine_and_distance_are_their_twins():
  a, b = _vectors(0), _vectors(1)
  want = [twin.cosine(x, y) for x, y in zip(a, b, strict=True)]
  np.testing.assert_allclose(evaluation.identity_cosine(a, b), want, atol=1e-5)
  want = [np.sqrt(((x - y) ** 2).sum()) for x, y in zip(a, b, strict=True)]
  np.testing.assert_allclose(evaluation.identity_distance(a, b), want, rtol=1e-5)
  np.testing.assert_allclose(evaluation.identity_cosine(a, 3 * a), 1, rtol=1e-5)
  np.testing.assert_allclose(evaluation.identity_cosine(a, -a), -1, rtol=1e-5)


def test_ranks_are_their_twin():
  gallery = _vectors(2, n=30)
  probes = gallery + 0.8 * _vectors(3, n=30)
  want = [twin.rank(probes, gallery, k) for k in range(30)]
  got = evaluation.retrieval_rank(probes, gallery)
  np.testing.assert_array_equal(got, want)
  assert 1 < np.mean(want) < 15
  for top in (1, 5):
    hits = evaluation.retrieval(probes, gallery, top=top)
    np.testing.assert_array_equal(hits, np.array(want) <= top)


def test_an_encoder_that_sees_no_difference_finds_no_one():
  same = np.ones((6, 4), np.float32)
  np.testing.assert_array_equal(evaluation.retrieval_rank(same, same), 6)
  assert not np.any(evaluation.retrieval(same, same, top=5))
  with pytest.raises(ValueError, match="top must be at least 1, got 0"):
    evaluation.retrieval(same, same, top=0)


def test_chance_is_top_of_n():
  """Probes that know nothing find their entry as often as the docstring says."""
  hits = [
    evaluation.retrieval(_vectors(k, n=20), _vectors(1000 + k, n=20), top=5).mean()
    for k in range(60)
  ]
  assert np.mean(hits) == pytest.approx(5 / 20, abs=0.04)


def test_photos_without_landmarks_are_refused():
  photo = np.zeros((40, 40, 3), np.uint8)
  with pytest.raises(ValueError, match="must be those of 2 photos, got 1"):
    evaluation.face_chips([photo, photo], np.zeros((1, 68, 2)))


def _portrait():
  return Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")


def test_a_person_stays_the_same_in_another_photo(monkeypatch):
  """Smaller and blurred, or turned and darker, and in a batch that is not full."""
  monkeypatch.setattr(_identity, "_BATCH", 2)
  portrait = _portrait()
  small = portrait.resize((300, 300)).filter(ImageFilter.GaussianBlur(1))
  dark = ImageEnhance.Brightness(portrait.rotate(12, Image.Resampling.BICUBIC))
  photos = [np.array(p) for p in (portrait, small, dark.enhance(0.6))]
  marks = [find_faces(photo)[0].landmarks68 for photo in photos]
  features = evaluation.identity_features(photos, np.stack(marks))
  assert features.shape == (3, 128)
  apart = evaluation.identity_distance(features[:1].repeat(2, 0), features[1:])
  assert np.max(apart) < 0.35


def test_tells_people_apart_in_real_photos():
  if not LFW.is_file():
    pytest.skip(f"{LFW} is not here: set AFFJAX_SHARED to the shared folder")
  with tarfile.open(LFW) as tar:
    members = sorted(tar.getmembers(), key=lambda m: m.name)
    files = [m for m in members if m.name.endswith(".jpg")]
    # The first two photos of the first people; the archive has five of each.
    chosen = [m for k, m in enumerate(files) if k % 5 < 2][: 2 * PEOPLE]
    photos = [
      np.array(Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB"))
      for m in chosen
    ]
  marks = np.stack([faces[0].landmarks68 for faces in find_in_all(photos)])
  features = evaluation.identity_features(photos, marks, load_identity())
  first, second = features[::2], features[1::2]
  same = evaluation.identity_cosine(first, second)
  strangers = evaluation.identity_cosine(first, np.roll(second, 1, 0))
  assert np.mean(same) - np.mean(strangers) > 0.07
  assert np.mean(np.asarray(same)[:, None] > np.asarray(strangers)) > 0.97
  assert np.mean(evaluation.retrieval(first, second)) >= 11 / 12
