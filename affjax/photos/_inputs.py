"""The photos and videos that a user named."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from affjax import names


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The photos and videos that a user named.

  Attributes:
    photos: Files to read, each once.
    problems: Paths without photos, and the reason for each.
    ignored: Number of entries of folders whose suffix is not that of a photo. Hidden
      files and those that cameras and systems write beside photos do not count.
  """

  photos: tuple[pathlib.Path, ...]
  problems: Mapping[str, str]
  ignored: int


def gather(
  paths: Sequence[pathlib.Path], *, recursive: bool = False, videos: bool = False
) -> Inputs:
  """Returns the named files, and the files of named folders that look like photos.

  A folder without any photo is a problem, not an error: the other paths are still used.

  Args:
    paths: Files and folders.
    recursive: Whether folders inside of folders are searched, too. Hidden ones and
      links are not.
    videos: Whether files that look like videos count as well. One that is called like a
      photo beside it does not: phones write a second of video with a photo.
  """
  photos: dict[pathlib.Path, pathlib.Path] = {}
  problems: dict[str, str] = {}
  ignored = 0
  for path in paths:
    if not path.is_dir():
      if not path.name.startswith("._") or not path.exists():
        photos.setdefault(path.absolute(), path)
      continue
    try:
      entries = sorted(_entries(path, recursive))
    except OSError as error:
      problems[str(path)] = f"cannot list the folder: {error.strerror}"
      continue
    named = [e for e in entries if names.is_photo(e.name) and not e.is_dir()]
    if videos:
      named = sorted([*named, *_videos(entries, named)])
    ignored += sum(not names.is_side_file(e.name) for e in entries) - len(named)
    if not named:
      deeper = not recursive and any(e.is_dir() for e in entries)
      hint = "; --recursive searches the folders inside of it" if deeper else ""
      what = "photos or videos" if videos else "photos"
      problems[str(path)] = f"no {what} in this folder{hint}"
    for entry in named:
      photos.setdefault(entry.absolute(), entry)
  if not photos and not problems:
    problems = {str(path): "not a photo" for path in paths}
  return Inputs(photos=tuple(photos.values()), problems=problems, ignored=ignored)


def _videos(
  entries: Sequence[pathlib.Path], photos: Sequence[pathlib.Path]
) -> list[pathlib.Path]:
  """Returns the entries that look like videos, except those that belong to photos."""
  stems = {photo.with_suffix("") for photo in photos}
  return [
    entry
    for entry in entries
    if names.is_video(entry.name)
    and entry.with_suffix("") not in stems
    and not entry.is_dir()
  ]


def _entries(folder: pathlib.Path, recursive: bool) -> list[pathlib.Path]:
  """Returns the entries of a folder, or all files below it.

  Raises:
    OSError: A folder cannot be listed.
  """
  if not recursive:
    return list(folder.iterdir())
  found: list[pathlib.Path] = []

  def fail(error: OSError) -> None:
    raise error

  for place, folders, files in os.walk(folder, onerror=fail):
    folders[:] = [name for name in folders if not names.is_side_file(name)]
    found += [pathlib.Path(place, name) for name in files]
  return found
