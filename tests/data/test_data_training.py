"""Prepared and mixed data, from the config to the batches."""

import shutil

import numpy as np
import pytest

from affjax import build
from affjax.data import MixedSource, _record, _shards
from affjax.heads import open_head
from tests import tiny_config
from tests.data import prepared_faces


@pytest.fixture(scope="module")
def prepared(head, tmp_path_factory):
  template = head.template
  records = [
    prepared_faces.record(
      i, size=48, vertices=template.vertices * (1 + 0.01 * i), diffuse=i % 2 == 1
    )
    for i in range(8)
  ]
  about = prepared_faces.facts(template.name, len(template.vertices), 48)
  root = tmp_path_factory.mktemp("prepared")
  return prepared_faces.write(root, records, shard_count=2, info=about)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  return tiny_config.write_photos(tmp_path_factory.mktemp("photos") / "a")


def test_the_last_records_are_held_out_without_a_test_split(prepared):
  config = tiny_config.config(
    "stage1", data__source="prepared", data__path=str(prepared)
  )
  train, held = build.sources(config, prepared)
  assert (len(train), len(held["image"])) == (6, 2)
  np.testing.assert_array_equal(held["pose"][1], train.whole[7]["pose"])


def test_a_split_of_its_own_is_held_out(prepared, tmp_path):
  folder = shutil.copytree(prepared, tmp_path / "faces" / prepared.name)
  path = folder / _shards.shard_name("faces", "validation", 0, 1)
  template = open_head("embedded").template
  given = prepared_faces.record(9, size=48, vertices=template.vertices)
  _shards.write_shard(path, [_record.encode(given)])
  about, splits = _shards.read_info(folder)
  _shards.write_info(folder, {**splits, "validation": [1]}, about)
  config = tiny_config.config("stage1", data__source="prepared", data__path=str(folder))
  train, held = build.sources(config, folder)
  assert len(train) == 8
  np.testing.assert_array_equal(held["pose"], given["pose"][None])


def _mixture(prepared, photos):
  config = tiny_config.config("stage1", data__source="mixed")
  with config.unlocked():
    config.data.mixture = {
      "photos": {"source": "prepared", "path": str(prepared), "weight": 3.0},
      "pairs": {"source": "folder", "path": str(photos), "weight": 1.0},
    }
  return config


def test_a_mixture_trains_with_its_shares(prepared, photos, tmp_path):
  config = _mixture(prepared, photos)
  task = build.task(config, tmp_path)
  source, held = build.sources(config, tmp_path)
  assert isinstance(source, MixedSource)
  assert len(source) == 12
  assert len(held["image"]) == 2
  batches = [next(task.data) for _ in range(4)]
  assert {batch["image"].shape for batch in batches} == {(2, 32, 32, 3)}
  # Photos of a folder are visible everywhere.
  visible = np.concatenate([batch["visible"] for batch in batches])
  assert sum(mask.min() == 255 for mask in visible) == 2


def test_a_part_that_cannot_be_read_is_named(prepared, photos, tmp_path):
  for change, message in (
    ({"source": "cloud"}, r"config.data: mixture.pairs: source must be one of"),
    ({"path": "/nowhere"}, r"config.data: mixture.pairs: folder"),
    ({"weight": 0.0}, r"config.data: weights must be positive"),
  ):
    config = _mixture(prepared, photos)
    config.data.mixture.pairs.update(change)
    with pytest.raises(build.UserError, match=message):
      build.task(config, tmp_path)
  config = _mixture(prepared, photos)
  config.data.augment.grey = 2.0
  with pytest.raises(build.UserError, match=r"config.data.augment: grey must lie"):
    build.task(config, tmp_path)
