"""Irises of the embedded portrait, as it is, mirrored, turned and with painted eyes."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from affjax.assets import store
from affjax.faces import Face, find_faces

# Centers of the irises in the portrait, read off the picture.
PUPILS = np.array([(203.5, 100.8), (246.8, 102.4)])
SCALE = 3


@pytest.fixture(scope="module")
def portrait():
  """The face three times as large as in the file."""
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  part = image.crop((130, 20, 330, 220))
  return part.resize((200 * SCALE, 200 * SCALE), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def face(portrait):
  return find_faces(np.asarray(portrait))[0]


def _eyes(face):
  return np.linalg.norm(face.landmarks[33, :2] - face.landmarks[263, :2])


def test_irises_are_where_the_pupils_are(face):
  expected = (PUPILS - [130, 20] + 0.5) * SCALE - 0.5
  assert face.iris.shape == (2, 5, 2)
  off = np.linalg.norm(face.iris[:, 0] - expected, axis=1)
  assert off.max() < 0.03 * _eyes(face)


def test_the_ends_lie_around_the_center_as_large_as_irises_are(face):
  """An iris is 11.7 mm wide, the outer corners of the eyes are about 90 mm apart."""
  arms = face.iris[:, 1:] - face.iris[:, :1]
  lengths = np.linalg.norm(arms, axis=-1)
  assert 0.05 < lengths.min() / _eyes(face) <= lengths.max() / _eyes(face) < 0.085
  # Right, top, left, bottom, in the image, of both eyes.
  directions = np.array([(1, 0), (0, -1), (-1, 0), (0, 1)])
  assert (np.sum(arms / lengths[..., None] * directions, -1) > 0.9).all()


def test_a_mirrored_photo_has_mirrored_irises(portrait, face):
  flipped = np.ascontiguousarray(np.asarray(portrait)[:, ::-1])
  (other, *_) = find_faces(flipped)
  back = [portrait.width - 1, 0] + other.iris[::-1][:, [0, 3, 2, 1, 4]] * [-1, 1]
  assert np.linalg.norm(back - face.iris, axis=-1).max() < 0.03 * _eyes(face)


def test_a_turned_photo_has_turned_irises(portrait, face):
  """Turned by a quarter, x is what y was; the left eye is still the first."""
  (other, *_) = find_faces(np.rot90(np.asarray(portrait)))
  x, y = face.iris[..., 0], face.iris[..., 1]
  expected = np.stack([y, portrait.width - 1 - x], -1)
  assert np.linalg.norm(other.iris - expected, axis=-1).max() < 0.03 * _eyes(face)


@pytest.mark.parametrize("gaze", [-0.06, 0.0, 0.06])
def test_painted_irises_are_found_where_they_were_painted(portrait, face, gaze):
  """A dark disc on a white eyeball, looking left, ahead and right."""
  photo = portrait.copy()
  draw = ImageDraw.Draw(photo)
  unit, radius = _eyes(face), 0.065 * _eyes(face)
  centers = []
  for eye in (slice(36, 42), slice(42, 48)):
    middle = face.landmarks68[eye].mean(0)
    center = middle + np.array([gaze * unit, 0])
    size = np.array([0.14, 0.055]) * unit
    draw.ellipse([*(middle - size), *(middle + size)], fill=(225, 220, 215))
    draw.ellipse([*(center - radius), *(center + radius)], fill=(70, 50, 35))
    pupil = 0.4 * radius
    draw.ellipse([*(center - pupil), *(center + pupil)], fill=(10, 8, 8))
    centers.append(center)
  (found, *_) = find_faces(np.asarray(photo))
  off = np.linalg.norm(found.iris[:, 0] - centers, axis=1)
  assert off.max() < 0.025 * unit


def test_faces_made_by_hand_have_none():
  face = Face(np.zeros(4), 1.0, np.zeros((468, 3)), np.zeros((68, 2)))
  assert np.isnan(face.iris).all()
