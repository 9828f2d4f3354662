"""Confidence in heads: the portrait's, and that of heads that are off."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import confidence, find_faces, visible_share
from affjax.heads import open_head
from affjax.types import Camera


@pytest.fixture(scope="module")
def face():
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  (found,) = find_faces(np.asarray(image))
  return found


def test_a_head_on_the_landmarks_has_the_score_of_its_face(face):
  assert confidence(face, 1.0) == face.score > 0.9


def test_a_head_off_the_landmarks_is_never_sure(face):
  assert confidence(face, 40.0) == 0.5


def test_a_face_that_is_hidden_for_the_most_part_is_never_sure(face):
  assert confidence(face, 1.0, 0.7) == face.score
  assert confidence(face, 1.0, 0.5) == 0.5


def test_the_share_of_a_face_that_is_seen():
  template, camera = open_head("embedded").template, Camera()
  share = lambda visible, pose: visible_share(
    template.vertices, np.array(pose, np.float32), visible, template, camera
  )
  whole = np.ones((64, 64, 1), np.float32)
  assert share(whole, [0] * 6) > 0.98
  half = whole.copy()
  half[:, 32:] = 0
  assert share(half, [0] * 6) == pytest.approx(0.5, abs=0.03)
  # Turned by 60 degrees most of what the camera sees of the face is on one side.
  assert share(half, [0, 1.05, 0, 0, 0, 0]) < 0.3 < share(half, [0, -1.05, 0, 0, 0, 0])
  # What lies beyond the crop is hidden.
  assert share(whole, [0, 0, 0, 1.1, 0, 0]) == pytest.approx(0.5, abs=0.05)


def test_without_evidence_nothing_is_said(face):
  bare = dataclasses.replace(face, evidence=None)
  assert confidence(bare, 1.0) is None
