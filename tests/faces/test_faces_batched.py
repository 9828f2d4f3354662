"""Many photos at once, and photos that are not as they should be."""

import io

import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import _find, _mesh, _network, find_faces, find_in_all, read_photo


@pytest.fixture(scope="module")
def portrait():
  return Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")


def _resized(image, width, height):
  return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def photos(portrait):
  """Photos of mixed sizes with no, one or two faces; one of them lies on its side."""
  pair = np.concatenate([_resized(portrait, 300, 300), _resized(portrait, 300, 300)], 1)
  noise = np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8)
  sizes = [(512, 512), (200, 230), (90, 90)]
  return [
    *(_resized(portrait, *size) for size in sizes),
    noise,
    pair,
    np.rot90(_resized(portrait, 300, 300)),
  ]


@pytest.fixture(scope="module")
def found(photos):
  return find_in_all(photos)


def _same(a, b, atol):
  assert [len(faces) for faces in a] == [len(faces) for faces in b]
  flat = lambda lists: [face for faces in lists for face in faces]
  for one, other in zip(flat(a), flat(b), strict=True):
    for field in ("box", "landmarks", "landmarks68", "iris"):
      np.testing.assert_allclose(
        getattr(one, field), getattr(other, field), rtol=0, atol=atol
      )
    assert abs(one.score - other.score) <= atol


def test_many_photos_are_as_one_by_one(photos, found):
  assert [len(faces) for faces in found] == [1, 1, 1, 0, 2, 1]
  _same(found, [find_faces(image) for image in photos], 0)
  assert find_in_all([]) == []


def test_the_order_of_photos_and_groups_does_not_matter(photos, found, monkeypatch):
  monkeypatch.setattr(_find, "_TOGETHER", 4)
  _same(found, find_in_all(photos[::-1])[::-1], 0)


def test_batches_of_an_accelerator_find_the_same(photos, found, monkeypatch):
  """On a GPU batches are filled up, and the number of photos compiles nothing."""
  monkeypatch.setattr(_network, "_batches", lambda: (4,))
  _same(found, find_in_all(photos), 0.02)
  traced, conv = [], _network._OPERATORS["conv"]
  monkeypatch.setitem(
    _network._OPERATORS, "conv", lambda *args: traced.append(1) or conv(*args)
  )
  for count in (1, 3, 5):
    _same(found[:count], find_in_all(photos[:count]), 0.02)
  assert not traced


def test_every_photo_is_checked_before_any_is_searched(photos):
  with pytest.raises(ValueError, match=r"photo 1 .* float64"):
    find_in_all([photos[0], np.zeros((4, 4, 3))])


@pytest.mark.parametrize("turns", [1, 3])
def test_a_photo_on_its_side(portrait, found, turns):
  """The landmarks are those of the upright photo, turned along."""
  image = np.asarray(portrait)
  (turned,) = find_faces(np.rot90(image, turns))
  (upright,) = found[0]
  size = len(image) - 1
  x, y = turned.landmarks68.T
  for _ in range(turns):
    x, y = size - y, x
  distance = np.linalg.norm(np.stack([x, y], -1) - upright.landmarks68, axis=1)
  assert distance.mean() < 1.0
  # The 33rd point is the same eye as ever: the angle of its square is the photo's.
  angle = np.rad2deg(_mesh.square_of_landmarks(turned.landmarks).angle)
  expected = np.rad2deg(_mesh.square_of_landmarks(upright.landmarks).angle) - 90 * turns
  assert abs((angle - expected + 180) % 360 - 180) < 2


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 1), (31, 17)])
def test_tiny_photos_have_no_faces(shape):
  assert find_faces(np.full((*shape, 3), 128, np.uint8)) == []


def test_a_huge_photo(portrait):
  """Twelve million pixels of which the face covers a tenth of the width."""
  canvas = np.full((3000, 4000, 3), 70, np.uint8)
  canvas[1000:2400, 1500:2900] = _resized(portrait, 1400, 1400)
  (face,) = find_faces(canvas, smallest=1 / 20)
  eye = np.array([203, 101]) * 1400 / 512 + [1500, 1000]
  assert np.linalg.norm(face.landmarks68[36:42].mean(0) - eye) < 14


@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("CMYK", "jpg")])
def test_gray_and_cmyk_files(portrait, found, mode, suffix, tmp_path):
  portrait.convert(mode).save(tmp_path / f"photo.{suffix}")
  (face,) = find_faces(read_photo(tmp_path / f"photo.{suffix}"))
  (color,) = found[0]
  distance = np.linalg.norm(face.landmarks68 - color.landmarks68, axis=1)
  assert distance.mean() < 1.5
