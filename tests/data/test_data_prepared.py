import concurrent.futures
import json

import numpy as np
import pytest

from affjax.data import PreparedSource, _record, _shards, to_batch
from affjax.data._prepared import find_data, splits_of
from affjax.geometry import uv
from tests.data import prepared_faces


def _records(template, count=5, **options):
  return [
    prepared_faces.record(i, vertices=template.vertices * (1 + 0.01 * i), **options)
    for i in range(count)
  ]


@pytest.fixture(scope="module")
def folder(head, tmp_path_factory):
  template = head.template
  given = _records(template)
  given[3] = prepared_faces.record(3, vertices=template.vertices, diffuse=True)
  return prepared_faces.write(
    tmp_path_factory.mktemp("prepared"),
    given,
    shard_count=2,
    info=prepared_faces.facts(template.name, len(template.vertices)),
  )


def _open(folder, template, size=prepared_faces.SIZE, **options):
  return PreparedSource(
    folder, "train", template, size=size, map_size=prepared_faces.MAP, **options
  )


def test_records_come_back_in_order_from_every_shard(folder, head):
  source = _open(folder, head.template)
  assert len(source) == 5
  for index, given in enumerate(_records(head.template)):
    found = source[index]
    np.testing.assert_array_equal(found["pose"], given["pose"])
    np.testing.assert_array_equal(found["visible"], given["visible"])
  np.testing.assert_array_equal(source[-1]["pose"], source[4]["pose"])
  with pytest.raises(IndexError, match="index 5 is out of range for 5"):
    source[5]


def test_a_batch_is_made_of_them(folder, head):
  source = _open(folder, head.template)
  stacked = {name: np.stack([source[i][name] for i in range(5)]) for name in source[0]}
  table = uv.uv_table(head.template, prepared_faces.MAP)
  batch = to_batch(stacked, table)
  np.testing.assert_array_equal(batch.has_diffuse, [0, 0, 0, 1, 0])
  assert stacked["diffuse"][3].max() > 0 == stacked["diffuse"][2].max()
  assert batch.position.shape == (5, prepared_faces.MAP, prepared_faces.MAP, 3)


def test_threads_read_the_same(folder, head):
  source = _open(folder, head.template)
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(lambda i: source[i % 5]["pose"], range(40)))
  for index, pose in enumerate(found):
    np.testing.assert_array_equal(pose, source[index % 5]["pose"])


def test_another_size_moves_the_landmarks_along(folder, head):
  small, whole = _open(folder, head.template, size=8), _open(folder, head.template)
  assert small[0]["image"].shape == (8, 8, 3)
  assert small[0]["visible"].shape == (8, 8, 1)
  np.testing.assert_allclose(
    small[0]["landmarks"], (whole[0]["landmarks"] + 0.5) / 2 - 0.5, atol=1e-6
  )
  maps = PreparedSource(folder, "train", head.template, size=8, map_size=16)
  assert maps[3]["diffuse"].shape == maps[2]["diffuse"].shape == (16, 16, 3)


def test_settings_are_those_of_the_files(folder, head):
  source = _open(folder, head.template)
  assert source.settings() == _open(folder, head.template).settings()
  assert source.settings() != _open(folder, head.template, size=8).settings()
  json.dumps(source.settings())


def test_the_folder_is_found_from_above(folder, tmp_path):
  assert find_data(folder) == find_data(folder.parent) == find_data(folder.parents[1])
  assert splits_of(folder.parents[1]) == {"train": 5}
  with pytest.raises(ValueError, match=r"no dataset_info.json in it"):
    find_data(tmp_path)
  with pytest.raises(ValueError, match="must be the folder"):
    find_data(tmp_path / "none")
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    (tmp_path / name / _shards.INFO).write_text("{}")
  with pytest.raises(ValueError, match="several data sets"):
    find_data(tmp_path)


def test_another_template_is_refused_with_both_named(head, tmp_path):
  folder = prepared_faces.write(tmp_path, [prepared_faces.record(0)])
  count = len(head.template.vertices)
  message = f"'test' of 7 vertices, but 'embedded' of {count} vertices is asked for"
  with pytest.raises(ValueError, match=message):
    _open(folder, head.template)
  with pytest.raises(ValueError, match="split must be one of train, got 'dev'"):
    PreparedSource(folder, "dev", head.template, size=8, map_size=8)


def test_photos_that_are_too_small_are_refused(folder, head):
  message = r"have 16 px, fewer than the 24 px asked for: .* train with model.size=16"
  with pytest.raises(ValueError, match=message):
    _open(folder, head.template, size=24)


def test_damage_is_named_by_file_and_record(head, tmp_path):
  template = head.template
  folder = _shards.data_folder(tmp_path, "faces")
  about = prepared_faces.facts(template.name, len(template.vertices))
  good = _record.encode(_records(template, 1)[0])
  path = folder / _shards.shard_name("faces", "train", 0, 1)
  few = _record.encode(prepared_faces.record(0))
  _shards.write_shard(path, [good, good[: len(good) // 2], few])
  _shards.write_info(folder, {"train": [3]}, about)
  source = _open(folder, template)
  assert source[0]["has_pose"] == 1
  with pytest.raises(ValueError, match=f"record 1 of shard '{path.name}' is damaged"):
    source[1]
  with pytest.raises(ValueError, match=r"record 2 .* vertices must be"):
    source[2]
  path.write_bytes(path.read_bytes()[:-70000])
  with pytest.raises(ValueError, match=path.name):
    _open(folder, template)
  path.unlink()
  with pytest.raises(ValueError, match=f"shard '{path.name}' is missing"):
    _open(folder, template)


def test_bytes_damaged_on_disk_are_named_too(head, tmp_path):
  template = head.template
  folder = prepared_faces.write(
    tmp_path,
    _records(template, 3),
    info=prepared_faces.facts(template.name, len(template.vertices)),
  )
  path = next(folder.glob("*.array_record-*"))
  data = bytearray(path.read_bytes())
  data[1000:1400] = bytes(400)
  path.write_bytes(data)
  source = _open(folder, template)
  with pytest.raises(ValueError, match=f"record 0 of shard '{path.name}'"):
    source[0]
