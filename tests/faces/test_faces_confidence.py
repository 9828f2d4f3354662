"""Confidence in heads: what speaks for the portrait, and against heads that are off."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import (
  Evidence,
  apply_crop,
  confidences,
  face_crops,
  find_faces,
  head_evidence,
)
from affjax.heads import open_head
from affjax.types import Camera


@pytest.fixture(scope="module")
def portrait():
  """Face, crop and pixels of the crop, each in a list."""
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  pixels = np.asarray(image)
  faces = find_faces(pixels)
  crops = face_crops(faces, open_head("embedded").template, Camera(), 256)
  return faces, crops, [apply_crop(pixels, crops[0])]


def _doubtful(face):
  """Returns the face with the evidence of a doubtful one."""
  known = Evidence(detection=0.7, landmarks=0.9, disagreement=0.06, drift=0.02)
  return dataclasses.replace(face, evidence=known, score=known.probability)


def test_a_clear_face_keeps_its_score(portrait):
  faces, crops, images = portrait
  assert confidences(faces, crops, images, [1.0]) == [faces[0].score]
  assert confidences([], [], [], []) == []


def test_a_head_off_the_landmarks_is_never_sure(portrait):
  assert confidences(*portrait, [40.0]) == [0.5]


def test_without_evidence_nothing_is_said(portrait):
  faces, crops, images = portrait
  bare = dataclasses.replace(faces[0], evidence=None)
  assert confidences([bare], crops, images, [1.0]) == [None]


def test_the_geometry_network_speaks_for_a_doubtful_face(portrait):
  """Its points lie where the landmarks belong; upside down they do not."""
  faces, crops, images = portrait
  doubtful = [_doubtful(faces[0])]
  (right,) = head_evidence(doubtful, crops, images, [1.0])
  turned = [np.ascontiguousarray(images[0][::-1])]
  (wrong,) = head_evidence(doubtful, crops, turned, [1.0])
  assert right.visible > 0.6
  assert right.surface_error < 0.35
  assert wrong.surface_error > 1.5 * right.surface_error
  (high,) = confidences(doubtful, crops, images, [1.0])
  (low,) = confidences(doubtful, crops, turned, [1.0])
  assert low <= high
