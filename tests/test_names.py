"""Photos by their names, and the names of folders for their results."""

import pathlib

import pytest

from affjax.names import folder_names, is_photo, is_side_file, relative_names


@pytest.mark.parametrize("name", ["a.jpg", "IMG_1.HEIC", "b.HIF", "c.avif", "d.TIFF"])
def test_names_of_photos(name):
  assert is_photo(name)


@pytest.mark.parametrize(
  "name", ["._IMG_1.jpg", ".DS_Store", "Thumbs.db", "IMG_1.AAE", "__MACOSX/._a.jpg"]
)
def test_side_files_are_no_photos(name):
  assert is_side_file(name)
  assert not is_photo(name)


def test_other_files_are_neither():
  for name in ("notes.txt", "photo", "clip.mp4", "jpg"):
    assert not is_photo(name)
    assert not is_side_file(name)


def test_paths_are_named_below_the_folder_that_they_share():
  paths = [pathlib.Path(p) for p in ("in/alice/001.jpg", "in/bob/001.jpg", "in/c.png")]
  assert relative_names(paths) == ["alice/001.jpg", "bob/001.jpg", "c.png"]
  assert relative_names(paths[:1]) == ["001.jpg"]
  assert relative_names([]) == []


def test_folders_tell_photos_apart():
  names = ["alice/001.jpg", "bob/001.jpg", "Bob/001.jpg", "c.jpg", "c.heic", "c.JPG"]
  names += ["bob_001.jpg"]
  assert folder_names(names) == [
    *("alice_001", "bob_001", "Bob_001.jpg", "c", "c.heic", "c.JPG", "bob_001-2")
  ]


@pytest.mark.parametrize(
  ("name", "folder"),
  [
    *(("CON.png", "_CON"), ("nul.png", "_nul"), ("com1.x.jpg", "_com1.x")),
    *(("lpt¹.jpg", "_lpt¹"), ("aux .jpg", "_aux"), ("console.jpg", "console")),
    *(("photo. . .jpg", "photo"), ("...", "photo"), ("a:b?.jpg", "a_b_")),
    *(("index.html.jpg", "index.html.jpg"), ("x/nul.png", "x_nul")),
  ],
)
def test_every_system_can_hold_the_folders(name, folder):
  assert folder_names([name]) == [folder]


def test_names_are_safe_and_unique():
  paths = [
    *("../..", "..", ".hidden.jpg", "with space é 顔.jpg", 'x<y>:"|?*.jpg'),
    *("n" * 300 + ".jpg", "m" + "n" * 300 + ".jpg", "a.b.jpg", "dir\\..\\evil.jpg"),
    *("bad\udcff.jpg", "", "/", "CON.jpg", "con.png"),
  ]
  names = folder_names(paths)
  assert len({name.casefold() for name in names}) == len(names)
  assert "with space é 顔" in names
  assert "a.b" in names
  for name in names:
    assert name not in ("", ".", "..")
    assert not set(name) & set('/\\<>:"|?*\0')
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert len(name.encode()) < 200
