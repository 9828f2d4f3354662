"""Files and folders that appear whole or not at all.

Everything that the project writes goes through this module: content is written beside
its destination, under a hidden temporary name, and renamed into place. A reader, or a
process that is killed, never sees half a file.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

PARTIAL_PREFIX = ".affjax-partial-"


@contextlib.contextmanager
def written_file(
  path: pathlib.Path, *, durable: bool = False
) -> Iterator[pathlib.Path]:
  """Yields a temporary path beside `path` that is renamed to `path` at the end.

  If the block raises, the temporary file is removed and whatever stood at `path`
  remains. A file that stands at `path` is replaced.

  Args:
    path: The destination; its parent folder must exist.
    durable: Whether the content is flushed to the disk before the rename, so that it
      survives a power failure.
  """
  handle, name = tempfile.mkstemp(prefix=PARTIAL_PREFIX, dir=path.parent)
  os.close(handle)
  try:
    yield pathlib.Path(name)
    os.chmod(name, 0o666 & ~_umask())
    if durable:
      _sync(name)
    os.replace(name, path)
    if durable:
      sync_folder(path.parent)
  except BaseException:
    with contextlib.suppress(OSError):
      os.unlink(name)
    raise


def write_file(
  path: pathlib.Path, content: bytes | str, *, durable: bool = False
) -> None:
  """Writes a file through `written_file`; text is encoded as UTF-8."""
  data = content.encode("utf-8") if isinstance(content, str) else content
  with written_file(path, durable=durable) as partial:
    partial.write_bytes(data)


def write_json(path: pathlib.Path, content: Any, *, durable: bool = False) -> None:
  """Writes an indented JSON file through `written_file`."""
  write_file(path, json.dumps(content, indent=2) + "\n", durable=durable)


@contextlib.contextmanager
def written_folder(
  path: pathlib.Path, *, overwrite: bool, work: pathlib.Path | None = None
) -> Iterator[pathlib.Path]:
  """Yields a temporary folder that becomes `path` at the end.

  If the block raises, the temporary folder is removed and whatever stood at `path`
  remains.

  Args:
    path: The destination; its parent folder must exist.
    overwrite: Whether a folder that stands at `path` is replaced.
    work: Folder for the temporary one, on the same file system; default: beside `path`.

  Raises:
    FileExistsError: `path` exists and `overwrite` is off.
  """
  if path.exists() and not overwrite:
    raise FileExistsError(f"{str(path)!r} exists; add --overwrite to replace it")
  place = work or path.parent
  partial = pathlib.Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=place))
  try:
    partial.chmod(0o777 & ~_umask())
    yield partial
    replace_folder(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def replace_folder(source: pathlib.Path, path: pathlib.Path) -> None:
  """Renames a folder to `path`; what stood there is removed only afterwards.

  Args:
    source: The finished folder, on the same file system as `path`.
    path: The destination.
  """
  if not path.exists():
    source.rename(path)
    return
  old = pathlib.Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=path.parent))
  path.rename(old / "old")
  try:
    source.rename(path)
  except OSError:
    (old / "old").rename(path)
    old.rmdir()
    raise
  shutil.rmtree(old, ignore_errors=True)


def sync_folder(path: pathlib.Path) -> None:
  """Flushes the entries of a folder to the disk, where the system can do so."""
  with contextlib.suppress(OSError):
    _sync(path)


def _sync(path: str | pathlib.Path) -> None:
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)


def _umask() -> int:
  """Returns the process's umask, which can only be read by setting it."""
  mask = os.umask(0o022)
  os.umask(mask)
  return mask
