"""Output folders are checked before any work."""

import pytest

from affjax import files
from affjax.export import OutputError, prepared_folder


def _content(path):
  return {p.name: p.read_text() for p in path.iterdir()}


def test_existing_folders_are_refused(tmp_path):
  place = tmp_path / "face"
  place.mkdir()
  with prepared_folder(place, overwrite=False):
    pass
  (place / "mine").write_text("x")
  with (
    pytest.raises(OutputError, match="is not empty"),
    prepared_folder(place, overwrite=False),
  ):
    pass
  with prepared_folder(place, overwrite=True):
    pass
  assert _content(place) == {"mine": "x"}


@pytest.mark.parametrize(
  ("place", "message"),
  [
    ("file", "is not a folder"),
    ("file/out", "cannot write"),
    ("made/" + "x" * 300, "cannot write"),
  ],
)
def test_unusable_places_are_refused_and_left_alone(tmp_path, place, message):
  (tmp_path / "file").write_text("x")
  with (
    pytest.raises(OutputError, match=message),
    prepared_folder(tmp_path / place, overwrite=False),
  ):
    pass
  assert _content(tmp_path) == {"file": "x"}


def test_two_runs_into_one_folder(tmp_path):
  with prepared_folder(tmp_path / "out", overwrite=False):
    with (
      pytest.raises(OutputError, match="is in use by another run of affjax; wait"),
      prepared_folder(tmp_path / "out", overwrite=True),
    ):
      pass
    (tmp_path / "out" / "x").write_text("kept")
  # What a killed run left goes; all else stays.
  (tmp_path / "out" / f"{files.PARTIAL_PREFIX}1" / "a").mkdir(parents=True)
  with prepared_folder(tmp_path / "out", overwrite=True):
    assert _content(tmp_path / "out") == {"x": "kept"}


def test_a_folder_made_for_nothing_goes_again(tmp_path):
  with prepared_folder(tmp_path / "a" / "b", overwrite=False):
    assert (tmp_path / "a" / "b").is_dir()
  assert list(tmp_path.iterdir()) == []
  with prepared_folder(tmp_path / "a" / "b", overwrite=False):
    (tmp_path / "a" / "b" / "x").write_text("kept")
  assert (tmp_path / "a" / "b" / "x").read_text() == "kept"
