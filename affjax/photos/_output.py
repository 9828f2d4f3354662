"""From photos to files and page, by any reconstructor."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

import affjax
from affjax import bugs, files
from affjax.export import (
  NO_FACE,
  OutputError,
  PageFace,
  PagePhoto,
  Reconstruction,
  head_files,
  is_page,
  page_face,
  page_html,
)
from affjax.faces import Face, PhotoError, read_photo
from affjax.names import folder_names, relative_names
from affjax.photos._inputs import Inputs
from affjax.photos._options import OutputOptions, Progress


@runtime_checkable
class PhotoReconstructor(Protocol):
  """A way to turn the faces of a photo into heads."""

  @property
  def about(self) -> str:
    """A phrase for the page that names the method."""
    ...

  def heads_of(
    self, pixels: UInt8[np.ndarray, "h w 3"], path: pathlib.Path
  ) -> list[Reconstruction]:
    """Returns the heads of a photo, largest face first.

    Args:
      pixels: The photo, upright, RGB.
      path: The file of the photo, for its name.

    Raises:
      ValueError: The photo gives no head; the message says why.
    """
    ...


@dataclasses.dataclass(frozen=True)
class Report:
  """The result of a run over photos.

  Attributes:
    page: The written page; None without any head.
    heads: Number of heads that were written.
    photos: Number of photos that gave at least one head.
    problems: Photos without a head and the reason for each, in the order of the photos.
    unsure: Photos with heads that may be wrong, and which these are.
  """

  page: pathlib.Path | None
  heads: int
  photos: int
  problems: Mapping[str, str]
  unsure: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: MappingProxyType[str, str]({})
  )


def write_heads(
  inputs: Inputs,
  out: pathlib.Path,
  reconstructor: PhotoReconstructor,
  options: OutputOptions,
  *,
  progress: Progress = lambda path, faces: None,
) -> Report:
  """Reconstructs every face of every photo and writes `OUT/<photo>/face<k>/...`.

  `<photo>` is the path of the photo below the folder that all of them share; see
  `affjax.names.folder_names`.

  The folder of a photo appears whole or not at all, and a photo that fails does not
  stop the others. The page `OUT/index.html` is written last. With AFFJAX_DEBUG=1 in
  the environment, the traceback of each failure is printed.

  Args:
    inputs: Photos, as `gather` returns them.
    out: An existing folder; see `affjax.export.prepared_folder`.
    reconstructor: The method.
    options: Options of writing.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    OutputError: `OUT/index.html` is not a page of affjax.
  """
  index = out / "index.html"
  if index.exists() and not is_page(index.read_text("utf-8", "replace")):
    raise OutputError(f"{str(index)!r} is not a page of affjax; not replaced")
  shown: list[PagePhoto] = []
  problems, unsure = dict(inputs.problems), dict[str, str]()
  shown_names = relative_names(inputs.photos)
  folders = folder_names(shown_names)
  for path, name, folder in zip(inputs.photos, shown_names, folders, strict=True):
    try:
      pixels = read_photo(path)
      heads = [_named(h, name) for h in reconstructor.heads_of(pixels, path)]
      heads = [h for h in heads if h.confidence is None or h.confidence >= NO_FACE]
      if not heads:
        raise PhotoError("no face found")
      faces = _write(heads, pixels, out / folder, options)
    except Exception as error:
      # Even a bug on one photo does not stop the others; the report tells them apart.
      bugs.show_traceback(error)
      problems[str(path)] = _reason(error, path)
      progress(path, 0)
    else:
      height, width, _ = pixels.shape
      if doubtful := _doubtful(heads):
        unsure[str(path)] = doubtful
      shown.append(PagePhoto(name, (height, width), faces))
      progress(path, len(faces))
  if shown:
    _write_page(index, shown, problems, reconstructor.about)
  return Report(
    page=index if shown else None,
    heads=sum(len(entry.faces) for entry in shown),
    photos=len(shown),
    problems=problems,
    unsure=unsure,
  )


def _doubtful(heads: Sequence[Reconstruction]) -> str:
  """Returns which heads of a photo are unsure, in words."""
  return ", ".join(
    f"face {k} (confidence {head.confidence:.2f})"
    for k, head in enumerate(heads, start=1)
    if head.unsure
  )


def face_facts(face: Face) -> dict[str, Any]:
  """Returns the facts about a detected face for pose.json."""
  return {
    "box_px": np.asarray(face.box, float).tolist(),
    "score": float(face.score),
    "landmarks68_px": np.round(np.asarray(face.landmarks68, float), 2).tolist(),
  }


def _named(head: Reconstruction, name: str) -> Reconstruction:
  """Returns a head whose notes name its photo by the path that tells it apart."""
  return dataclasses.replace(head, notes={**head.notes, "photo": name})


def _write(
  heads: Sequence[Reconstruction],
  pixels: UInt8[np.ndarray, "h w 3"],
  place: pathlib.Path,
  options: OutputOptions,
) -> list[PageFace]:
  """Writes the folder of a photo and returns the cards of its heads for the page."""
  if place.exists() and not (place / "face1" / "pose.json").is_file():
    raise OutputError(f"{str(place)!r} is not a result of affjax; not replaced")
  cards = []
  with files.written_folder(place, overwrite=options.overwrite) as partial:
    for k, head in enumerate(heads, start=1):
      contents = head_files(head, pixels, keep_original=options.keep_eyes_and_mouth)
      (partial / f"face{k}").mkdir()
      for name, content in contents.items():
        (partial / f"face{k}" / name).write_bytes(content)
      where = f"{place.name}/face{k}"
      cards.append(page_face(head, pixels, contents, title=f"Face {k}", folder=where))
  return cards


def _write_page(
  index: pathlib.Path,
  shown: Sequence[PagePhoto],
  problems: Mapping[str, str],
  about: str,
) -> None:
  text = page_html(
    shown,
    title="Heads from photographs",
    footer=f"Made by affjax {affjax.__version__}, {about}. OBJ and GLB are in meters, "
    "position.npy is in decimeters.",
    problems=problems,
  )
  # A file name may hold bytes that are not UTF-8.
  files.write_file(index, text.encode("utf-8", "replace"))


def _reason(error: Exception, path: pathlib.Path) -> str:
  """Returns the reason of a failure in one line, without the name of the photo."""
  if not isinstance(error, ValueError | OSError):
    return bugs.bug_message(error)
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  message = " ".join(str(error).split())
  for start in (f"photo {str(path)!r}: ", f"{path}: "):
    message = message.removeprefix(start)
  return message or type(error).__name__
