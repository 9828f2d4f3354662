"""The names of photos, of files that lie beside them, and of folders for results."""

import pathlib
import re
import unicodedata
from collections.abc import Sequence

# Suffixes of files that count as photos.
PHOTO_SUFFIXES = frozenset(
  (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2"),
    *(".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"),
    ".webp",
  )
)
# Suffixes of files that count as videos.
VIDEO_SUFFIXES = frozenset(
  (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".ogv", ".webm", ".wmv"),
  )
)
# Names and suffixes of files that cameras and systems write beside photos.
_SIDE_FILES = frozenset(("desktop.ini", "picasa.ini", "thumbs.db"))
_SIDE_SUFFIXES = frozenset((".aae", ".thm", ".xmp"))
# Names that Windows keeps for devices, whatever follows after a dot.
_DEVICES = re.compile(
  r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)


def is_photo(name: str) -> bool:
  """Returns whether a file is called like a photo and is not hidden."""
  return not is_side_file(name) and pathlib.PurePath(name).suffix.lower() in (
    PHOTO_SUFFIXES
  )


def is_video(name: str) -> bool:
  """Returns whether a file is called like a video and is not hidden."""
  return not is_side_file(name) and pathlib.PurePath(name).suffix.lower() in (
    VIDEO_SUFFIXES
  )


def is_side_file(name: str) -> bool:
  """Returns whether a file is hidden or known to lie beside photos.

  An example is `._IMG_1.jpg`, in which macOS keeps what other file systems cannot hold.
  """
  name = pathlib.PurePath(name).name.lower()
  suffix = pathlib.PurePath(name).suffix
  return name.startswith(".") or name in _SIDE_FILES or suffix in _SIDE_SUFFIXES


def relative_names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Returns the paths below the deepest folder that holds them all, with `/`."""
  # Without its drive, every path begins at the same root.
  whole = [path.absolute() for path in paths]
  bare = [pathlib.Path(*path.parts[1:]) for path in whole]
  shared = set(bare[0].parents) if bare else set()
  shared.intersection_update(*(path.parents for path in bare))
  root = max(shared, key=lambda folder: len(folder.parts), default=pathlib.Path())
  return [path.relative_to(root).as_posix() for path in bare]


def folder_names(names: Sequence[str]) -> list[str]:
  """Returns a name for the folder of each photo, which every system can hold.

  It is the photo's name without its suffix, with `_` between the parts of its path.
  Where two are alike, the second keeps its suffix or gets a number. Letters and digits
  of any script, `-`, `_`, and inner dots and spaces are kept; every other character
  becomes `_`. Names that differ only in case count as alike, because some file systems
  do not tell them apart, and names of devices (`CON`, `nul`) get a `_` before them.

  Args:
    names: Paths with `/`, such as `relative_names` returns.
  """
  taken = {"index.html"}
  found = []
  for name in names:
    path = pathlib.PurePosixPath(name)
    stem = _safe(str(path.with_suffix("")) if path.name else name)
    numbered = (f"{stem}-{k}" for k in range(2, len(names) + 3))
    tried = (stem, _safe(name), *numbered)
    chosen = next(x for x in tried if x.casefold() not in taken)
    taken.add(chosen.casefold())
    found.append(chosen)
  return found


def _safe(name: str) -> str:
  """Returns a path component without special meaning on any system."""
  name = unicodedata.normalize("NFC", name)
  name = re.sub(r"[^\w\-. ]", "_", name, flags=re.UNICODE).strip(". ")
  # File systems limit a name to 255 bytes; 120 leaves room for a number. The end of a
  # long path tells photos apart.
  while len(name.encode("utf-8", "ignore")) > 120:
    name = name[1:]
  name = name.strip(". ") or "photo"
  return f"_{name}" if _DEVICES.fullmatch(name) else name
