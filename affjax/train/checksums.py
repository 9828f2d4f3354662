"""SHA256SUMS of a folder, as `sha256sum` writes it, so that damage is found later."""

import hashlib
import pathlib

from affjax import files

NAME = "SHA256SUMS"
# Orbax writes the time into this file later.
_LATER = "_CHECKPOINT_METADATA"


def write(folder: pathlib.Path) -> None:
  """Writes the checksums of all files of a folder into it; `sha256sum -c` checks them.

  Args:
    folder: A folder whose files change no more.
  """
  lines = [
    f"{_digest(path)}  {path.relative_to(folder).as_posix()}\n"
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.name not in (NAME, _LATER)
  ]
  files.write_file(folder / NAME, "".join(lines), durable=True)


def first_damage(folder: pathlib.Path) -> str | None:
  """Describes the first file that is missing or has changed, `None` if all are whole.

  A folder without checksums is taken to be whole.
  """
  sums = folder / NAME
  if not sums.is_file():
    return None
  for line in sums.read_text("utf-8", "replace").splitlines():
    digest, _, name = line.partition("  ")
    path = folder / name
    if not name or not path.is_file():
      return f"{name or NAME} is missing"
    if _digest(path) != digest:
      return f"{name} is not what was written"
  return None


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()
