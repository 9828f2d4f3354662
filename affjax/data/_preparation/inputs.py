"""What there is to prepare: photos of a folder, an archive, a data set, or painted."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from affjax.faces import read_photo

# What a file must be called to count as a photo.
SUFFIXES = frozenset(
  (
    *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
  )
)
# Names of diffuse maps, as `affjax.data.auxiliary.find_pictures` takes them.
_MAP, _PHOTOS, _MAPS = "_diffuse", "photos/", "diffuse/"
# A photo's file is read whole into memory.
MOST_BYTES = 256 << 20


class InputError(ValueError):
  """An input cannot be used at all; the message is one line and names it."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """A photo of an input.

  Attributes:
    name: within the input, with `/`; unique.
    where: what the input needs to find it again.
    stamp: changes when the photo does.
    diffuse: the UV diffuse map that somebody painted for it.
  """

  name: str
  where: Any
  stamp: str
  diffuse: "Entry | None" = None


@dataclasses.dataclass(frozen=True)
class Listing:
  """What an input holds.

  Attributes:
    entries: the photos, sorted by name.
    refused: names of what is not even tried, and why.
    ignored: how many other files there are, not called like photos.
  """

  entries: Sequence[Entry]
  refused: Mapping[str, str]
  ignored: int

  def digest(self) -> str:
    """Changes when a photo comes, goes or changes."""
    pairs = [(e, e.diffuse) for e in self.entries]
    known = [e for pair in pairs for e in pair if e is not None]
    lines = "\n".join(f"{e.name}\t{e.stamp}" for e in known)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


class Input(Protocol):
  """Photos; every worker process opens its own."""

  def listing(self) -> Listing:
    """All photos, without decoding any."""
    ...

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of one, upright RGB; raises `ValueError` or `OSError`."""
    ...


@dataclasses.dataclass(frozen=True)
class FolderInput:
  """The photos of a folder and of those in it. Links to folders are not followed."""

  path: pathlib.Path

  def listing(self) -> Listing:
    """All photos, without decoding any."""
    entries, refused, ignored = [], {}, 0
    failed: list[OSError] = []
    for folder, folders, files in os.walk(self.path, onerror=failed.append):
      for name in folders:
        if os.path.islink(os.path.join(folder, name)):
          refused[self._name(folder, name)] = "a link to a folder, not followed"
      for name in files:
        if pathlib.PurePath(name).suffix.lower() not in SUFFIXES:
          ignored += 1
          continue
        self._add(self._name(folder, name), entries, refused)
    for error in failed:
      refused[self._name(str(error.filename), "")] = f"cannot list: {error.strerror}"
    return Listing(sorted(entries, key=lambda e: e.name), refused, ignored)

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of one."""
    return read_photo(self.path / entry.name)

  def _name(self, folder: str, name: str) -> str:
    return pathlib.Path(folder, name).relative_to(self.path).as_posix()

  def _add(self, name: str, entries: list[Entry], refused: dict[str, str]):
    try:
      about = (self.path / name).stat()
    except OSError as error:
      refused[name] = f"cannot be looked at: {error.strerror}"
      return
    if not (self.path / name).is_file():
      refused[name] = "not a regular file"
    elif about.st_size > MOST_BYTES:
      refused[name] = f"too large: {about.st_size} bytes, at most {MOST_BYTES}"
    else:
      entries.append(Entry(name, None, f"{about.st_size} {about.st_mtime_ns}"))


@dataclasses.dataclass(frozen=True)
class PaintedInput:
  """The first photos of a source of records, named by their numbers.

  Attributes:
    source: has `[i] -> {"image": ...}`.
    count: how many photos.
  """

  source: Any
  count: int

  def listing(self) -> Listing:
    """Numbers."""
    names = (f"{k:07d}" for k in range(self.count))
    return Listing([Entry(name, int(name), "") for name in names], {}, 0)

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of one."""
    return self.source[entry.where]["image"]


def with_maps(entries: Sequence[Entry]) -> list[Entry]:
  """Photos with their diffuse maps, where some of the pictures are such maps.

  The map of `a/b.jpg` is `a/b_diffuse.png`, that of `photos/b.jpg` is `diffuse/b.png`,
  both with any suffix. A picture called like a map without a photo is a photo.
  """
  by_stem = {_stem(entry.name): entry for entry in entries}
  maps = {}
  for entry in entries:
    stem = _stem(entry.name)
    names = [f"{stem}{_MAP}"]
    if stem.startswith(_PHOTOS):
      names.append(_MAPS + stem.removeprefix(_PHOTOS))
    found = next((by_stem[name] for name in names if name in by_stem), None)
    if found is not None:
      maps[entry.name] = found
  taken = {entry.name for entry in maps.values()}
  return [
    dataclasses.replace(entry, diffuse=maps.get(entry.name))
    for entry in entries
    if entry.name not in taken
  ]


def _stem(name: str) -> str:
  return pathlib.PurePosixPath(name).with_suffix("").as_posix()


def named_like_photos(names: Iterable[str]) -> int:
  """How many names are those of photos."""
  return sum(pathlib.PurePosixPath(n).suffix.lower() in SUFFIXES for n in names)
