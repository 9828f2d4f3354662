"""Tests of the codec of prepared records: round trip, TFDS, hostile bytes."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from affjax.data import _record, _shards, _tf_example
from tests.data import prepared_faces


def test_decode_is_the_inverse_of_encode():
  given = prepared_faces.record(0)
  found = _record.decode(_record.encode(given))
  assert tuple(found) == _record.FIELDS
  assert np.abs(found["vertices"] - given["vertices"]).max() <= 0.5001e-4
  assert np.abs(found["image"].astype(int) - given["image"]).mean() < 3
  for name in set(_record.FIELDS) - {"vertices", "image"}:
    np.testing.assert_array_equal(found[name], given[name])
  assert {found[k].dtype.name for k in ("pose", "vertices", "quality")} == {"float32"}
  again = _record.encode({**given, "vertices": found["vertices"]})
  assert again == _record.encode(given)


def test_only_the_fields_that_are_asked_for_are_decoded():
  data = _record.encode(prepared_faces.record(0))
  assert tuple(_record.decode(data, fields=("pose", "source"))) == ("pose", "source")


def test_a_photo_may_come_as_a_jpeg():
  stream = io.BytesIO()
  Image.new("RGB", (16, 16), (200, 10, 10)).save(stream, "JPEG")
  given = prepared_faces.record(0) | {"image": stream.getvalue()}
  assert abs(int(_record.decode(_record.encode(given))["image"][0, 0, 0]) - 200) < 4
  with pytest.raises(ValueError, match="image is no JPEG"):
    _record.encode({**given, "image": b"GIF89a"})


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"vertices": np.full((5, 3), 3.3)}, "within 3.2767 dm"),
    ({"vertices": np.full((5, 3), np.nan)}, "within 3.2767 dm"),
    ({"vertices": np.zeros(6)}, r"vertices must have shape \[V, 3\]"),
    ({"pose": np.full(6, np.inf)}, "pose must be finite"),
    ({"crop": np.zeros((3, 2))}, r"crop must be finite, of shape \(2, 3\)"),
    ({"image": np.zeros((4, 5, 3), np.uint8)}, "image must be uint8"),
    ({"visible": np.zeros((4, 4, 1), np.float32)}, "visible must be uint8"),
  ],
)
def test_what_cannot_be_stored_is_named(change, message):
  with pytest.raises(ValueError, match=message):
    _record.encode(prepared_faces.record(0) | change)


def test_a_missing_field_is_named():
  given = prepared_faces.record(0)
  del given["licence"]
  with pytest.raises(ValueError, match="record lacks licence"):
    _record.encode(given)


def test_hostile_bytes_are_value_errors():
  whole = _record.encode(prepared_faces.record(0, size=8))
  rng = np.random.default_rng(0)
  refused = 0
  for trial in range(400):
    data = bytearray(whole)
    if trial % 2:
      data = data[: rng.integers(len(data))]
    for _ in range(trial % 7):
      if data:
        data[rng.integers(len(data))] = rng.integers(256)
    try:
      _record.decode(bytes(data))
    except ValueError:
      refused += 1
  assert refused > 200
  for data in (b"", b"\xff" * 40, bytes(40), b"\x0a\xff\xff\xff\xff\x0f"):
    with pytest.raises(ValueError, match=r"\w"):
      _record.decode(data)


def test_a_huge_picture_is_not_decoded():
  stream = io.BytesIO()
  Image.new("L", (9000, 9000)).save(stream, "PNG")
  packed = {"visible": stream.getvalue()}
  with pytest.raises(ValueError, match="visible must be square and at most"):
    _record.decode(_tf_example.pack(packed), fields=("visible",))


def test_pictures_of_another_kind_are_refused():
  def message(picture, kind):
    stream = io.BytesIO()
    picture.save(stream, kind)
    with pytest.raises(ValueError, match="image") as error:
      _record.decode(_tf_example.pack({"image": stream.getvalue()}), fields=("image",))
    return str(error.value)

  assert "is no JPEG" in message(Image.new("RGB", (8, 8)), "PNG")
  assert "mode RGB, got L" in message(Image.new("L", (8, 8)), "JPEG")
  assert "must be square" in message(Image.new("RGB", (8, 4)), "JPEG")


def test_an_example_reads_floats_one_by_one_too():
  entry = b"\x0a\x01a\x12\x07\x12\x05\x0d" + np.float32(1.5).tobytes()
  loose = b"\x0a" + bytes([len(entry) + 2]) + b"\x0a" + bytes([len(entry)]) + entry
  np.testing.assert_array_equal(_tf_example.unpack(loose)["a"], [1.5])


def test_tfds_reads_what_we_write_and_we_read_what_it_writes(tmp_path):
  import tensorflow_datasets as tfds

  given = [prepared_faces.record(i) for i in range(5)]
  folder = prepared_faces.write(tmp_path, given, shard_count=2)
  builder = tfds.builder_from_directory(folder)
  source = builder.as_data_source(split="train")
  assert len(source) == 5
  for theirs, mine in zip(source, given, strict=True):
    ours = _record.decode(_record.encode(mine))
    steps = np.rint(ours["vertices"] / _record.STEP_DM)
    np.testing.assert_array_equal(theirs["vertices"], steps)
    assert theirs["vertices"].dtype == np.int16
    for name in set(_record.FIELDS) - {"vertices", "source", "licence"}:
      np.testing.assert_array_equal(theirs[name], ours[name])
    assert theirs["source"].decode() == mine["source"]
  features = builder.info.features
  ours = _record.decode(
    features.serialize_example(_record.tfds_example(_record.encode(given[1])))
  )
  np.testing.assert_array_equal(ours["crop"], given[1]["crop"])
  assert ours["licence"] == given[1]["licence"]
  np.testing.assert_array_equal(
    ours["vertices"], _record.decode(_record.encode(given[1]))["vertices"]
  )


def test_info_counts_what_is_there(tmp_path):
  folder = prepared_faces.write(tmp_path, [prepared_faces.record(0)])
  about, splits = _shards.read_info(folder)
  assert about == prepared_faces.facts()
  assert splits == {"train": [1]}
  with pytest.raises(ValueError, match=r"must hold 2 records, got 1"):
    _shards.write_info(folder, {"train": [2]}, about)
  with pytest.raises(ValueError, match="is missing"):
    _shards.write_info(folder, {"test": [2]}, about)
  with pytest.raises(ValueError, match="at least one record"):
    _shards.write_info(folder, {"train": [], "test": [0]}, about)


def test_a_shard_that_fails_leaves_nothing(tmp_path):
  def records():
    yield b"one"
    raise RuntimeError("two")

  with pytest.raises(RuntimeError, match="two"):
    _shards.write_shard(tmp_path / "a" / _shards.shard_name("a", "b", 0, 1), records())
  assert not list((tmp_path / "a").iterdir())


def test_names_are_those_that_tfds_finds():
  assert _shards.shard_name("a_b", "train", 3, 20) == (
    "a_b-train.array_record-00003-of-00020"
  )
  for name in ("A", "a-b", "", "../a"):
    with pytest.raises(ValueError, match="name must be lowercase"):
      _shards.data_folder("x", name)
  with pytest.raises(ValueError, match="index must lie in"):
    _shards.shard_name("a", "b", 2, 2)


def test_folders_that_are_no_data_set_are_named(tmp_path):
  with pytest.raises(ValueError, match=r"no dataset_info.json in it"):
    _shards.read_info(tmp_path)
  folder = prepared_faces.write(tmp_path, [prepared_faces.record(0)])
  (folder / _shards.METADATA).write_text(json.dumps({"template": "x"}))
  with pytest.raises(ValueError, match="no data set of affjax"):
    _shards.read_info(folder)
  (folder / _shards.METADATA).write_text("\x00")
  with pytest.raises(ValueError, match=r"metadata.json cannot be read"):
    _shards.read_info(folder)
  shard = next(folder.glob("*.array_record-*"))
  shard.write_bytes(shard.read_bytes()[:1000])
  with pytest.raises(ValueError, match=f"shard {shard.name!r} cannot be read"):
    _shards.count_records(shard)
