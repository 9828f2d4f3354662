"""Confidence in heads: the portrait's, and that of heads that are off."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import confidence, find_faces


@pytest.fixture(scope="module")
def face():
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  (found,) = find_faces(np.asarray(image))
  return found


def test_a_head_on_the_landmarks_has_the_score_of_its_face(face):
  assert confidence(face, 1.0) == face.score > 0.9


def test_a_head_off_the_landmarks_is_never_sure(face):
  assert confidence(face, 40.0) == 0.5


def test_without_evidence_nothing_is_said(face):
  bare = dataclasses.replace(face, evidence=None)
  assert confidence(bare, 1.0) is None
