"""Output folders."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from affjax import files


class OutputError(ValueError):
  """The output folder cannot be used; the message is one line for the user."""


@contextlib.contextmanager
def prepared_folder(path: pathlib.Path, *, overwrite: bool) -> Iterator[None]:
  """Creates an output folder and checks that it can be written, before any work.

  Folders that this function created and that are empty at the end are removed again.

  Args:
    path: The folder; it is created with its parents where they are missing.
    overwrite: Whether a folder with content is accepted.

  Raises:
    OutputError: `path` is a file, cannot be created or written, or holds something.
  """
  if path.exists() and not path.is_dir():
    raise OutputError(f"output {str(path)!r} exists and is not a folder")
  if path.is_dir() and not overwrite and any(path.iterdir()):
    raise OutputError(
      f"output folder {str(path)!r} is not empty; choose another, or add --overwrite "
      "or --resume"
    )
  created = _missing_folders(path)
  try:
    _require_writable(path)
    yield
  finally:
    for folder in created:
      with contextlib.suppress(OSError):
        folder.rmdir()


def _require_writable(path: pathlib.Path) -> None:
  try:
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path, prefix=files.PARTIAL_PREFIX):
      pass
  except OSError as error:
    reason = error.strerror or type(error).__name__
    raise OutputError(f"cannot write to {str(path)!r}: {reason}") from None


def _missing_folders(path: pathlib.Path) -> list[pathlib.Path]:
  """Returns `path` and those of its parents that do not exist, innermost first."""
  missing = []
  with contextlib.suppress(OSError):
    for folder in (path, *path.parents):
      if folder.exists():
        break
      missing.append(folder)
  return missing
