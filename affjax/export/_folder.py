"""Folders that appear whole or not at all, and safe names for what goes in."""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence

_PARTIAL = ".affjax-partial-"


class OutputError(ValueError):
  """The output place cannot be used; the message is one line for the user."""


@contextlib.contextmanager
def prepared_folder(path: pathlib.Path, *, overwrite: bool) -> Iterator[None]:
  """Makes an output folder and checks that it can be written, before any work.

  Folders that it made and that are still empty at the end are removed again.

  Args:
    path: the folder; made with its parents where missing.
    overwrite: whether a folder with content is accepted.

  Raises:
    OutputError: it is a file, cannot be made or written, or holds something.
  """
  if path.exists() and not path.is_dir():
    raise OutputError(f"output {str(path)!r} exists and is not a folder")
  if path.is_dir() and not overwrite and any(path.iterdir()):
    raise OutputError(
      f"output folder {str(path)!r} is not empty; choose another or add --overwrite"
    )
  made = _missing_parents(path)
  try:
    _require_writable(path)
    yield
  finally:
    for new in made:
      with contextlib.suppress(OSError):
        new.rmdir()


@contextlib.contextmanager
def written_beside(path: pathlib.Path, *, overwrite: bool) -> Iterator[pathlib.Path]:
  """A temporary folder beside `path` that becomes `path` when the block ends well.

  Left by an exception, nothing remains of it and what stood at `path` is untouched.

  Args:
    path: where the finished folder goes; its parent exists.
    overwrite: whether a folder that stands there is replaced.

  Raises:
    OutputError: `path` exists and `overwrite` is off.
  """
  if path.exists() and not overwrite:
    raise OutputError(f"{str(path)!r} exists; add --overwrite to replace it")
  partial = pathlib.Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=path.parent))
  try:
    partial.chmod(0o777 & ~_umask())
    yield partial
    _swap(partial, path)
  finally:
    shutil.rmtree(partial, ignore_errors=True)


def write_beside(path: pathlib.Path, content: bytes) -> None:
  """Writes a file so that it is seen whole or not at all."""
  handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
  try:
    with os.fdopen(handle, "wb") as out:
      out.write(content)
    os.chmod(name, 0o666 & ~_umask())
    os.replace(name, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.unlink(name)
    raise


def unique_names(paths: Sequence[pathlib.Path]) -> list[str]:
  """A safe folder name for each path: its stem, with a number where stems repeat.

  Letters and digits of any script, `-`, `_` and inner dots and spaces stay; all else
  becomes `_`. Names that differ only in case count as equal, as on some disks.
  """
  taken: set[str] = set()
  names = []
  for path in paths:
    stem = _safe(path.stem)
    name, k = stem, 1
    while name.casefold() in taken:
      k += 1
      name = f"{stem}-{k}"
    taken.add(name.casefold())
    names.append(name)
  return names


def _safe(stem: str) -> str:
  """One path component that means nothing special on any system."""
  stem = unicodedata.normalize("NFC", stem)
  stem = re.sub(r"[^\w\-. ]", "_", stem, flags=re.UNICODE).strip(". ")
  # File systems count bytes; 120 leaves room for a number.
  while len(stem.encode("utf-8", "ignore")) > 120:
    stem = stem[:-1]
  return stem.strip(". ") or "photo"


def _swap(partial: pathlib.Path, path: pathlib.Path) -> None:
  """Puts the finished folder in place; what stood there is kept until it is."""
  if not path.exists():
    partial.rename(path)
    return
  old = pathlib.Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=path.parent))
  path.rename(old / "old")
  try:
    partial.rename(path)
  except OSError:
    (old / "old").rename(path)
    old.rmdir()
    raise
  shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
  """The process's umask, which can only be read by setting it."""
  mask = os.umask(0o022)
  os.umask(mask)
  return mask


def _require_writable(path: pathlib.Path) -> None:
  try:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path, prefix=_PARTIAL):
      pass
  except OSError as error:
    reason = error.strerror or type(error).__name__
    raise OutputError(f"cannot write to {str(path)!r}: {reason}") from None


def _missing_parents(path: pathlib.Path) -> list[pathlib.Path]:
  """`path` and those of its parents that do not exist yet, innermost first."""
  missing = []
  with contextlib.suppress(OSError):
    for folder in (path, *path.parents):
      if folder.exists():
        break
      missing.append(folder)
  return missing
