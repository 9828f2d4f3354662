"""The results in an output folder, and the pages that show them.

The folders are the only record: each finished photo's folder holds `photo.json`, and
the folder of each of its heads a card. Pages are made from them at any time.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import affjax
from affjax import files
from affjax.export import (
  Card,
  Frame,
  OutputError,
  PagePhoto,
  is_page,
  page_html,
  read_card,
)

RECORD = "photo.json"
_INDEX, _PROBLEMS = "index.html", "problems.json"
# A page of more heads is slow in browsers.
_HEADS_OF_PAGE = 40


@dataclasses.dataclass(frozen=True)
class Result:
  """A finished photo.

  Attributes:
    folder: Its folder, relative to the output folder, with `/`.
    photo: Absolute path of the photo when it was read.
    name: Name of the photo on the page.
    size: Height and width of the photo, px.
    faces: Number of its heads.
    unsure: Number of heads that may be wrong.
    about: Phrase that names the method.
  """

  folder: str
  photo: str
  name: str
  size: tuple[int, int]
  faces: int
  unsure: int
  about: str

  @property
  def record(self) -> dict[str, Any]:
    """The content of `photo.json`."""
    return {
      "photo": self.photo,
      "name": self.name,
      "height": self.size[0],
      "width": self.size[1],
      "faces": self.faces,
      "unsure": self.unsure,
      "about": self.about,
    }

  def cards(self, out: pathlib.Path) -> list[Card]:
    """Returns the cards of the heads, largest face first."""
    numbers = _heads_there(out / self.folder)
    found = (read_card(out, f"{self.folder}/face{k}") for k in numbers)
    return [card for card in found if card is not None]


def results(out: pathlib.Path) -> list[Result]:
  """Returns the finished photos of an output folder, by the path of their folders."""
  found = (_read(out, folder) for folder in _folders(out))
  return sorted((r for r in found if r is not None), key=lambda r: r.folder)


def require_pages(out: pathlib.Path) -> None:
  """Checks that the pages of a folder may be replaced.

  Raises:
    OutputError: `OUT/index.html` is not a page of affjax.
  """
  index = out / _INDEX
  if index.exists() and not is_page(index.read_text("utf-8", "replace")):
    raise OutputError(f"{str(index)!r} is not a page of affjax; not replaced")


def write_pages(
  out: pathlib.Path, problems: Mapping[str, str] | None = None
) -> pathlib.Path | None:
  """Writes the pages of an output folder from its results, and removes older ones.

  Args:
    out: The output folder.
    problems: Photos without a head and the reason for each, which are kept in
      `OUT/problems.json`. None takes them from there.

  Returns:
    The first page; None without results.
  """
  require_pages(out)
  found = results(out)
  if not found:
    return None
  if problems is None:
    problems = _read_problems(out)
  (out / _PROBLEMS).unlink(missing_ok=True)
  if problems:
    files.write_json(out / _PROBLEMS, _printable(problems))
  groups = _split(found)
  names = [_INDEX, *(f"index-{k + 1}.html" for k in range(1, len(groups)))]
  frame = _frame(found, problems, names)
  for number, (name, group) in enumerate(zip(names, groups, strict=True)):
    photos = [_page_photo(out, result) for result in group]
    text = page_html(photos, frame, number)
    files.write_file(out / name, text.encode("utf-8", "replace"))
  for path in out.glob("index-*.html"):
    if path.name not in names and is_page(path.read_text("utf-8", "replace")):
      path.unlink()
  return out / _INDEX


def _frame(
  found: Sequence[Result], problems: Mapping[str, str], names: Sequence[str]
) -> Frame:
  heads = sum(result.faces for result in found)
  unsure = sum(result.unsure for result in found)
  more = f", {unsure} of them unsure" if unsure else ""
  methods = "; ".join(sorted({result.about for result in found}))
  return Frame(
    title="Heads from photographs",
    summary=f"{_count(heads, 'head')} from {_count(len(found), 'photo')}{more}",
    footer=f"Made by affjax {affjax.__version__}, {methods}. Meshes are in meters, "
    "position.npy is in decimeters.",
    problems=problems,
    pages=names,
  )


def _split(found: Sequence[Result]) -> list[list[Result]]:
  """Returns the photos of each page."""
  pages: list[list[Result]] = [[]]
  heads = 0
  for result in found:
    if pages[-1] and heads + result.faces > _HEADS_OF_PAGE:
      pages.append([])
      heads = 0
    pages[-1].append(result)
    heads += result.faces
  return pages


def _page_photo(out: pathlib.Path, result: Result) -> PagePhoto:
  return PagePhoto(result.name, result.size, result.cards(out))


def _folders(out: pathlib.Path) -> Iterator[str]:
  """Yields the folders that hold a record, relative to the output folder."""
  for place, inner, names in os.walk(out):
    inner[:] = [name for name in inner if not name.startswith(files.PARTIAL_PREFIX)]
    if RECORD in names:
      inner.clear()
      yield pathlib.Path(place).relative_to(out).as_posix()


def _read(out: pathlib.Path, folder: str) -> Result | None:
  """Returns the result of a folder; None if its record is damaged."""
  try:
    content = json.loads((out / folder / RECORD).read_text("utf-8"))
    return Result(
      folder,
      str(content["photo"]),
      str(content["name"]),
      (int(content["height"]), int(content["width"])),
      # Heads may have been deleted since, and the record may be wrong.
      min(int(content["faces"]), len(_heads_there(out / folder))),
      int(content["unsure"]),
      str(content["about"]),
    )
  except (ArithmeticError, LookupError, OSError, TypeError, ValueError):
    return None


def _heads_there(folder: pathlib.Path) -> list[int]:
  """Returns the numbers of the heads in the folder of a photo."""
  names = (path.name.removeprefix("face") for path in folder.glob("face[1-9]*"))
  return sorted(int(name) for name in names if name.isdecimal())


def _read_problems(out: pathlib.Path) -> dict[str, str]:
  """Returns the problems of the last run; none if their file is damaged."""
  try:
    content = json.loads((out / _PROBLEMS).read_text("utf-8"))
    return {str(name): str(reason) for name, reason in content.items()}
  except (OSError, ValueError, AttributeError):
    return {}


def _printable(problems: Mapping[str, str]) -> dict[str, str]:
  """Returns problems in valid UTF-8; file names may hold other bytes."""
  clean = lambda text: text.encode("utf-8", "replace").decode("utf-8")
  return {clean(name): clean(reason) for name, reason in problems.items()}


def _count(number: int, noun: str) -> str:
  return f"{number} {noun}" + ("" if number == 1 else "s")
