"""Several photos of one person as one record."""

import numpy as np
import pytest
from PIL import Image

from affjax import build
from affjax.data import SyntheticFaces, Wanted, pair
from affjax.data._collections import Collections, by_name, consecutive
from affjax.heads import open_head
from affjax.types import Camera
from tests.data.fake_source import FakeSource

SIZE = 16


class Photos(FakeSource):
  """Photos of one color, their index."""

  def __init__(self, count):
    self._count = count

  def __len__(self):
    return self._count

  def __getitem__(self, index):
    return {"image": np.full((4, 4, 3), index, np.uint8)}


def wanted(**changes):
  """Small records of two photos of a person."""
  plain = {"occluders": 0.0, "backgrounds": "", "cache": None, "photos": 2}
  head = open_head("embedded")
  plain |= {"head": head, "camera": Camera(), "size": SIZE, "seed": 0}
  return Wanted(**{**plain, "held_out": 1, "count": 4, **changes})


def test_consecutive_photos_are_stacked():
  source = Photos(5)
  found = consecutive(source, 2)
  assert len(found) == 2
  record = found[1]
  np.testing.assert_array_equal(record["image"][0], source[2]["image"])
  np.testing.assert_array_equal(record["image"][1], source[3]["image"])
  assert found.settings()["groups"] == [(0, 1), (2, 3)]
  with pytest.raises(IndexError, match="index 2 is out of range for 2 collections"):
    found[2]


def test_people_are_told_by_the_names_of_their_photos():
  names = ["ann_1", "bob 2", "ann_2", "bob 10", "cleo-01", "ann_3", "ann (4)"]
  found = by_name(Photos(7), names, 2)
  assert isinstance(found, Collections)
  assert found.settings()["groups"] == [(0, 2), (5, 6), (1, 3)]
  with pytest.raises(ValueError, match="must begin with the person's"):
    by_name(Photos(2), ["ann_1", "0002"], 2)
  with pytest.raises(ValueError, match="at most the 4 of the person with most"):
    by_name(Photos(7), names, 5)


def test_synthetic_people_keep_their_head_and_change_the_rest():
  model = open_head("embedded")
  make = lambda photos: SyntheticFaces(model, 6, SIZE, photos=photos)
  pairs, single = make(2), make(1)
  first, second, other = (pairs.parameters(k) for k in (2, 3, 4))
  for drawn in (second, other):
    same = drawn is second
    assert np.array_equal(drawn.identity, first.identity) == same
    assert np.array_equal(drawn.skin.melanin, first.skin.melanin) == same
    assert np.array_equal(drawn.hair.color, first.hair.color) == same
    assert np.abs(drawn.angles_deg - first.angles_deg).max() > 1
    assert not np.array_equal(drawn.light.direction, first.light.direction)
  # Poses and lights are those of single photos, and so is the first one of a person.
  alone = single.parameters(3)
  np.testing.assert_array_equal(second.angles_deg, alone.angles_deg)
  np.testing.assert_array_equal(first.identity, single.parameters(2).identity)
  assert pairs.settings() != single.settings() == make(1).settings()
  assert "photos" not in single.settings()


def test_synthetic_collections_are_counted_in_people():
  train, held_out = pair("synthetic", "", wanted())
  assert len(train) == 2
  assert len(held_out) == 1
  assert train.settings()["groups"] == [(0, 1), (2, 3)]


def test_sources_that_know_no_people_are_refused():
  with pytest.raises(ValueError, match="must be one of synthetic, folder for coll"):
    pair("prepared", "", wanted())


def test_a_step_sees_the_photos_of_a_person_one_after_the_other(tmp_path):
  for person in ("ann", "bob"):
    for index in range(2):
      color = np.full((SIZE, SIZE, 3), 40 * index + 100 * (person == "bob"), np.uint8)
      Image.fromarray(color).save(tmp_path / f"{person}_{index}.png")
  config = build.get_config("unsup3d")
  config.update_from_flattened_dict(
    {
      "model.size": SIZE,
      "model.unsup3d.photos": 2,
      "data.source": "folder",
      "data.path": str(tmp_path),
      "data.held_out": 1,
    }
  )
  train, held_out = build.sources(config, tmp_path)
  assert len(train) == 1
  record = {
    key: np.concatenate([value[None], held_out[key]]) for key, value in train[0].items()
  }
  batch = build.learner(config, 1).prepare(record)
  shades = np.asarray(batch.image)[:, 0, 0, 0] * 255
  np.testing.assert_allclose(shades, [0, 40, 100, 140], atol=1e-3)
  with config.unlocked():
    config.data.mirror = True
  with pytest.raises(build.UserError, match="collections of photos need"):
    build.task(config, tmp_path / "run")
