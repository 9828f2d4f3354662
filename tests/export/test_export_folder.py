"""Output folders are checked before any work, and names are safe."""

import pathlib

import pytest

from affjax.export import OutputError, prepared_folder, unique_names


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


def test_a_folder_made_for_nothing_goes_again(tmp_path):
  with prepared_folder(tmp_path / "a" / "b", overwrite=False):
    assert (tmp_path / "a" / "b").is_dir()
  assert list(tmp_path.iterdir()) == []
  with prepared_folder(tmp_path / "a" / "b", overwrite=False):
    (tmp_path / "a" / "b" / "x").write_text("kept")
  assert (tmp_path / "a" / "b" / "x").read_text() == "kept"


def test_names_are_safe_and_unique():
  paths = [
    "a/photo.jpg",
    "b/photo.png",
    "B/Photo.png",
    "photo-2.jpg",
    "../..",
    "..",
    ".hidden.jpg",
    "with space é 顔.jpg",
    'x<y>:"|?*.jpg',
    "n" * 300 + ".jpg",
    "a.b.jpg",
    "dir\\..\\evil.jpg",
    "bad\udcff.jpg",
  ]
  names = unique_names([pathlib.Path(p) for p in paths])
  assert names[:3] == ["photo", "photo-2", "Photo-3"]
  assert len({name.casefold() for name in names}) == len(names)
  assert names[7] == "with space é 顔"
  assert names[10] == "a.b"
  for name in names:
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\<>:"|?*\0')
    assert not name.startswith(".")
    assert len(name.encode()) < 200
