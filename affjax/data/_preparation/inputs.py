"""Inputs of a preparation: the interface, folders, and synthetic photos."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from affjax.data._providers.synthetic import RecentRecords
from affjax.faces import read_photo
from affjax.names import is_photo, is_side_file

# Names of diffuse maps, as `affjax.data._pictures.find_pictures` takes them.
_MAP, _PHOTOS, _MAPS = "_diffuse", "photos/", "diffuse/"
# A photo's file is read into memory as a whole.
MOST_BYTES = 256 << 20


class InputError(ValueError):
  """An input cannot be used; the message is one line and names it."""


@dataclasses.dataclass(frozen=True)
class Entry:
  """A photo of an input.

  Attributes:
    name: unique name within the input, with `/` as separator.
    where: value by which the input finds the photo again; its type is the input's own.
    stamp: text that changes when the photo changes.
    diffuse: entry of the UV diffuse map that was painted for the photo, if any.
  """

  name: str
  where: Any
  stamp: str
  diffuse: "Entry | None" = None


@dataclasses.dataclass(frozen=True)
class Listing:
  """The content of an input.

  Attributes:
    entries: photos, sorted by name.
    refused: reasons why members are not read, by their names.
    ignored: number of files without a photo's suffix, hidden and side files aside.
  """

  entries: Sequence[Entry]
  refused: Mapping[str, str]
  ignored: int

  def digest(self) -> str:
    """Returns a digest that changes when a photo comes, goes or changes."""
    pairs = [(e, e.diffuse) for e in self.entries]
    known = [e for pair in pairs for e in pair if e is not None]
    lines = "\n".join(f"{e.name}\t{e.stamp}" for e in known)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


@runtime_checkable
class Input(Protocol):
  """A set of photos; every worker process opens its own."""

  def listing(self) -> Listing:
    """Returns all photos without decoding any."""
    ...

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo, upright RGB.

    Raises:
      ValueError: The photo is damaged or of an unknown format.
      OSError: The file cannot be read.
    """
    ...


@dataclasses.dataclass(frozen=True)
class FolderInput:
  """The photos of a folder and its subfolders; links to folders are not followed."""

  path: pathlib.Path

  def listing(self) -> Listing:
    """Returns all photos without decoding any."""
    entries, refused, ignored = [], {}, 0
    failed: list[OSError] = []
    for folder, folders, files in os.walk(self.path, onerror=failed.append):
      for name in folders:
        if os.path.islink(os.path.join(folder, name)):
          refused[self._name(folder, name)] = "a link to a folder, not followed"
      for name in files:
        if not is_photo(name):
          ignored += not is_side_file(name)
          continue
        self._add(self._name(folder, name), entries, refused)
    for error in failed:
      refused[self._name(str(error.filename), "")] = f"cannot list: {error.strerror}"
    return Listing(sorted(entries, key=lambda e: e.name), refused, ignored)

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo."""
    return read_photo(self.path / entry.name)

  def _name(self, folder: str, name: str) -> str:
    return pathlib.Path(folder, name).relative_to(self.path).as_posix()

  def _add(self, name: str, entries: list[Entry], refused: dict[str, str]) -> None:
    try:
      about = (self.path / name).stat()
    except OSError as error:
      refused[name] = f"cannot be read: {error.strerror}"
      return
    if not (self.path / name).is_file():
      refused[name] = "not a regular file"
    elif about.st_size > MOST_BYTES:
      refused[name] = f"too large: {about.st_size} bytes, at most {MOST_BYTES}"
    else:
      entries.append(Entry(name, None, f"{about.st_size} {about.st_mtime_ns}"))


@dataclasses.dataclass(frozen=True)
class PaintedInput:
  """The first photos of a source of synthetic faces, named by their numbers.

  Attributes:
    source: source of the records.
    count: number of photos.
  """

  source: RecentRecords
  count: int

  def listing(self) -> Listing:
    """Returns the photos, named by their numbers."""
    names = (f"{k:07d}" for k in range(self.count))
    return Listing([Entry(name, int(name), "") for name in names], {}, 0)

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo."""
    return self.source[entry.where]["image"]


def with_maps(entries: Sequence[Entry]) -> list[Entry]:
  """Returns photos with their diffuse maps, where some of the pictures are such maps.

  The map of `a/b.jpg` is `a/b_diffuse.png`, that of `photos/b.jpg` is `diffuse/b.png`,
  both with any suffix. A picture that is named like a map but has no photo is a photo.
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
