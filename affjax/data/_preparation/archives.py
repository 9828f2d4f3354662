"""Photos of zip and tar archives, read member by member and never unpacked to disk."""

import dataclasses
import functools
import io
import pathlib
import re
import tarfile
import zipfile
import zlib

import numpy as np
from jaxtyping import UInt8

from affjax.data._preparation.inputs import (
  MOST_BYTES,
  Entry,
  InputError,
  Listing,
)
from affjax.faces import decode_photo
from affjax.names import is_photo, is_side_file

# Photos hardly shrink when they are packed: a member that grows much is a bomb.
_MOST_GROWTH = 200
_HARMLESS = 1 << 20
# A compressed tar is read from its beginning; it may not unpack to more than this.
_MOST_UNPACKED = 64 << 30
_MOST_MEMBERS = 5_000_000

_BROKEN = (
  tarfile.TarError,
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  OSError,
  ValueError,
  NotImplementedError,
  RuntimeError,
)


class _Members:
  """Sorts the members of an archive into photos, refused ones and others."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self.entries: dict[str, Entry] = {}
    self.refused: dict[str, str] = {}
    self.ignored = 0

  def add(
    self,
    name: str,
    where: str | tuple[int, int],
    size: int,
    *,
    kind: str,
    stamp: str,
  ) -> None:
    """Adds a member.

    Args:
      name: Name in the archive.
      where: Place in the archive: name, or offset and size.
      size: Unpacked size, bytes.
      kind: "file", the reason why the member is no regular file, or "" for a folder.
      stamp: Text that changes with the content.
    """
    if len(self.entries) + len(self.refused) + self.ignored >= _MOST_MEMBERS:
      raise InputError(f"archive {str(self._path)!r} has too many members")
    if not kind:
      return
    reason = _refusal(name, size, kind)
    if reason:
      self.refused[name] = reason
    elif not is_photo(name):
      self.ignored += not is_side_file(name)
    elif _name(name) in self.entries:
      self.refused[f"{name} (again)"] = "a second member of this name"
    else:
      self.entries[_name(name)] = Entry(_name(name), where, stamp)

  def listing(self) -> Listing:
    """Returns all members, sorted by name."""
    entries = [self.entries[name] for name in sorted(self.entries)]
    return Listing(entries, self.refused, self.ignored)


@dataclasses.dataclass(frozen=True)
class ZipInput:
  """The photos of a zip archive."""

  path: pathlib.Path

  def listing(self) -> Listing:
    """Returns all photos, from the archive's directory."""
    members = _Members(self.path)
    try:
      for info in _open_zip(self.path).infolist():
        members.add(
          info.filename,
          info.filename,
          info.file_size,
          kind=_zip_kind(info),
          stamp=f"{info.file_size} {info.CRC}",
        )
    except InputError:
      raise
    except _BROKEN as error:
      raise _damaged(self.path, error) from error
    return members.listing()

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo; reads at most `MOST_BYTES` of a member."""
    try:
      with _open_zip(self.path).open(entry.where) as member:
        content = member.read(MOST_BYTES + 1)
    except _BROKEN as error:
      raise ValueError(f"damaged member: {_line(error)}") from error
    return decode_photo(_bounded(content), entry.name)


@dataclasses.dataclass(frozen=True)
class TarInput:
  """The photos of a tar archive, plain or compressed."""

  path: pathlib.Path

  def listing(self) -> Listing:
    """Returns all photos; a compressed archive is read as a whole."""
    members = _Members(self.path)
    packed = max(self.path.stat().st_size, 1)
    most = min(_MOST_UNPACKED, _MOST_GROWTH * packed + (1 << 30))
    try:
      with tarfile.open(self.path, "r:*") as archive:
        for info in archive:
          if info.offset_data + info.size > most:
            raise InputError(
              f"archive {str(self.path)!r} unpacks to more than {most} bytes from "
              f"{packed}"
            )
          members.add(
            info.name,
            (info.offset_data, info.size),
            info.size,
            kind=_tar_kind(info),
            stamp=f"{info.size} {info.mtime} {info.offset_data}",
          )
          archive.members = []  # pyright: ignore - the list of many would fill the memory
    except InputError:
      raise
    except _BROKEN as error:
      raise _damaged(self.path, error) from error
    return members.listing()

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo."""
    offset, size = entry.where
    try:
      stream = _open_tar(self.path)
      stream.seek(offset)
      content = stream.read(size)
    except _BROKEN as error:
      raise ValueError(f"damaged member: {_line(error)}") from error
    if len(content) < size:
      raise ValueError(f"damaged member: {len(content)} of {size} bytes are there")
    return decode_photo(content, entry.name)


def _refusal(name: str, size: int, kind: str) -> str:
  """Returns the reason why a member is refused, or an empty string."""
  if kind != "file":
    return kind
  parts = re.split(r"[/\\]", name)
  if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name):
    return "its name climbs out of the archive"
  if "\0" in name:
    return "its name holds a zero byte"
  if size > MOST_BYTES:
    return f"too large: {size} bytes, at most {MOST_BYTES}"
  return ""


def _zip_kind(info: zipfile.ZipInfo) -> str:
  if info.is_dir():
    return ""
  mode = info.external_attr >> 16
  if mode and (mode & 0o170000) not in (0, 0o100000):
    return "a link or device"
  if info.flag_bits & 1:
    return "encrypted"
  grown = info.file_size > _MOST_GROWTH * max(info.compress_size, 1)
  if grown and info.file_size > _HARMLESS:
    return f"a bomb: {info.compress_size} bytes unpack to {info.file_size}"
  return "file"


def _tar_kind(info: tarfile.TarInfo) -> str:
  if info.isdir():
    return ""
  if info.issparse():
    return "a sparse file"
  if info.isreg():
    return "file"
  return "a link" if info.issym() or info.islnk() else "a device"


def _name(name: str) -> str:
  """Returns a member's name without `./`."""
  return "/".join(part for part in name.split("/") if part not in ("", "."))


def _bounded(content: bytes) -> bytes:
  if len(content) > MOST_BYTES:
    raise ValueError(f"too large: unpacks to more than {MOST_BYTES} bytes")
  return content


@functools.lru_cache(maxsize=2)
def _open_zip(path: pathlib.Path) -> zipfile.ZipFile:
  return zipfile.ZipFile(path)


@functools.lru_cache(maxsize=2)
def _open_tar(path: pathlib.Path) -> io.BufferedIOBase:
  """Returns the unpacked stream of a tar; a compressed one seeks by reading."""
  archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open until the process ends
  assert isinstance(archive.fileobj, io.BufferedIOBase)
  return archive.fileobj


def _damaged(path: pathlib.Path, error: Exception) -> InputError:
  return InputError(f"archive {str(path)!r} is damaged: {_line(error)}")


def _line(error: Exception) -> str:
  return " ".join(str(error).split()) or type(error).__name__
