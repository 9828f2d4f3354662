"""Photos of a folder, and the diffuse maps that belong to them."""

import os
import pathlib

from affjax.names import is_side_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAP_ENDING = "_diffuse"


def find_pictures(
  folder: str | os.PathLike[str],
) -> dict[pathlib.Path, pathlib.Path | None]:
  """Returns the photos of a folder by name, each with its diffuse map or None.

  There are two layouts: `name.png` and `name_diffuse.png` beside each other; or
  subfolders `photos` and `diffuse` in which files of one name belong together.

  Raises:
    ValueError: A map has no photo, or two pictures have one name.
  """
  place = pathlib.Path(folder)
  if (place / "photos").is_dir():
    photos = _by_stem(place / "photos")
    maps = _by_stem(place / "diffuse") if (place / "diffuse").is_dir() else {}
  else:
    found = _by_stem(place)
    maps = {
      stem.removesuffix(MAP_ENDING): path
      for stem, path in found.items()
      if stem.endswith(MAP_ENDING)
    }
    photos = {k: path for k, path in found.items() if not k.endswith(MAP_ENDING)}
  alone = [maps[stem].name for stem in maps if stem not in photos]
  if alone:
    raise ValueError(
      f"folder {str(place)!r} holds {len(alone)} diffuse maps without a photo, such as "
      f"{alone[0]!r}"
    )
  return {path: maps.get(stem) for stem, path in photos.items()}


def _is_picture(path: pathlib.Path) -> bool:
  return path.suffix.lower() in SUFFIXES and not is_side_file(path.name)


def _by_stem(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  paths = [p for p in sorted(folder.iterdir()) if _is_picture(p)]
  found = {path.stem: path for path in paths}
  if len(found) < len(paths):
    twice = next(p for p in paths if found[p.stem] != p)
    raise ValueError(f"two pictures of {str(folder)!r} are named {twice.stem!r}")
  return found
