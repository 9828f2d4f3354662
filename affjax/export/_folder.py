"""Output folders."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None

from affjax import files


class OutputError(ValueError):
  """The output folder cannot be used; the message is one line for the user."""


@contextlib.contextmanager
def prepared_folder(path: pathlib.Path, *, overwrite: bool) -> Iterator[None]:
  """Creates an output folder and checks that it can be written, before any work.

  The folder is locked: a second run into it is refused, where the system has locks.
  What a killed run left unfinished is removed. Folders that this function created and
  that are empty at the end are removed again.

  Args:
    path: The folder; it is created with its parents where they are missing.
    overwrite: Whether a folder with content is accepted.

  Raises:
    OutputError: `path` is a file, cannot be created or written, holds something, or
      another run writes into it.
  """
  if path.exists() and not path.is_dir():
    raise OutputError(f"output {str(path)!r} exists and is not a folder")
  created = _missing_folders(path)
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    _remove_empty(created)
    raise _unwritable(path, error) from None
  with _alone(path):
    if not overwrite and any(path.iterdir()):
      raise OutputError(
        f"output folder {str(path)!r} is not empty; choose another, or add "
        "--overwrite or --resume"
      )
    try:
      _require_writable(path)
      yield
    finally:
      _remove_empty(created)


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a folder, and removes what a killed one left unfinished."""
  if fcntl is None:
    yield
    return
  try:
    handle = os.open(path, os.O_RDONLY)
  except OSError as error:
    raise _unwritable(path, error) from None
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise OutputError(
        f"output folder {str(path)!r} is in use by another run of affjax; wait until "
        "it ends, or choose another folder"
      ) from None
    except OSError:
      pass  # a file system without locks
    else:
      for left in path.glob(f"{files.PARTIAL_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    yield
  finally:
    os.close(handle)


def _unwritable(path: pathlib.Path, error: OSError) -> OutputError:
  reason = error.strerror or type(error).__name__
  return OutputError(f"cannot write to {str(path)!r}: {reason}")


def _require_writable(path: pathlib.Path) -> None:
  try:
    with tempfile.NamedTemporaryFile(dir=path, prefix=files.PARTIAL_PREFIX):
      pass
  except OSError as error:
    raise _unwritable(path, error) from None


def _remove_empty(folders: list[pathlib.Path]) -> None:
  for folder in folders:
    with contextlib.suppress(OSError):
      folder.rmdir()


def _missing_folders(path: pathlib.Path) -> list[pathlib.Path]:
  """Returns `path` and those of its parents that do not exist, innermost first."""
  missing = []
  with contextlib.suppress(OSError):
    for folder in (path, *path.parents):
      if folder.exists():
        break
      missing.append(folder)
  return missing
