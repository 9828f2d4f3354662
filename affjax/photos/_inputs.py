"""The photos that a user named."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

# Suffixes of files in a folder that count as photos.
_SUFFIXES = frozenset(
  (
    *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
  )
)


@dataclasses.dataclass(frozen=True)
class Inputs:
  """The photos that a user named.

  Attributes:
    photos: Files to read, each once.
    problems: Paths without photos, and the reason for each.
    ignored: Number of entries of folders whose suffix is not that of a photo.
  """

  photos: tuple[pathlib.Path, ...]
  problems: Mapping[str, str]
  ignored: int


def gather(paths: Sequence[pathlib.Path]) -> Inputs:
  """Returns the named files, and the files of named folders that look like photos.

  Folders inside of folders are not searched. A folder without any photo is a problem,
  not an error: the other paths are still used.

  Args:
    paths: Files and folders.
  """
  photos: dict[pathlib.Path, pathlib.Path] = {}
  problems: dict[str, str] = {}
  ignored = 0
  for path in paths:
    if not path.is_dir():
      photos.setdefault(path.absolute(), path)
      continue
    try:
      entries = sorted(path.iterdir())
    except OSError as error:
      problems[str(path)] = f"cannot list the folder: {error.strerror}"
      continue
    named = [e for e in entries if e.suffix.lower() in _SUFFIXES and not e.is_dir()]
    ignored += len(entries) - len(named)
    if not named:
      problems[str(path)] = "no photos in this folder"
    for entry in named:
      photos.setdefault(entry.absolute(), entry)
  return Inputs(photos=tuple(photos.values()), problems=problems, ignored=ignored)
