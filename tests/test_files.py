"""Files and folders appear whole or not at all."""

import json
import stat

import pytest

from affjax import files


def _left(folder):
  return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole(tmp_path, durable):
  path = tmp_path / "a.txt"
  files.write_file(path, "old")
  files.write_file(path, b"new", durable=durable)
  assert path.read_bytes() == b"new"
  assert _left(tmp_path) == ["a.txt"]
  assert stat.S_IMODE(path.stat().st_mode) & 0o444


def test_json_round_trip(tmp_path):
  files.write_json(tmp_path / "a.json", {"a": [1, 2.5]})
  assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2.5]}


def test_an_error_leaves_the_old_file(tmp_path):
  path = tmp_path / "a.txt"
  files.write_file(path, "old")

  def fail():
    with files.written_file(path) as partial:
      partial.write_text("half")
      raise RuntimeError("full")

  with pytest.raises(RuntimeError, match="full"):
    fail()
  assert path.read_text() == "old"
  assert _left(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_only_when_asked(tmp_path):
  place = tmp_path / "out"
  with files.written_folder(place, overwrite=False) as partial:
    (partial / "a").write_text("1")
  with (
    pytest.raises(FileExistsError, match="--overwrite"),
    files.written_folder(place, overwrite=False),
  ):
    pass
  with files.written_folder(place, overwrite=True) as partial:
    (partial / "b").write_text("2")
  assert _left(place) == ["b"]
  assert _left(tmp_path) == ["out"]


def test_an_error_leaves_the_old_folder(tmp_path):
  place = tmp_path / "out"
  place.mkdir()
  (place / "a").write_text("1")

  def fail():
    with files.written_folder(place, overwrite=True) as partial:
      (partial / "b").write_text("2")
      raise RuntimeError("full")

  with pytest.raises(RuntimeError, match="full"):
    fail()
  assert _left(place) == ["a"]
  assert _left(tmp_path) == ["out"]
