"""From photos to files and page, by any reconstructor."""

import contextlib
import dataclasses
import errno
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from affjax import bugs, files
from affjax.export import (
  CARD_FOLDER,
  SURE,
  OutputError,
  Reconstruction,
  card_files,
  check_formats,
  head_files,
)
from affjax.faces import Face, PhotoError, read_photo
from affjax.names import folder_names, is_video, relative_names
from affjax.photos._inputs import Inputs
from affjax.photos._options import OutputOptions, Progress
from affjax.photos._results import (
  RECORD,
  Result,
  require_pages,
  results,
  write_pages,
)

# Errors of a file system without room.
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


class Written(NamedTuple):
  """The heads of a photo or video, whose files are written.

  Attributes:
    size: Height and width of the photo, or of the video's frames as they were used, px.
    confidences: Confidence of each head; None where it is not known.
    note: The fault of a file that was used in part, in words; "" without one.
  """

  size: tuple[int, int]
  confidences: Sequence[float | None]
  note: str = ""


# Writes the heads of a video into an empty folder.
ClipFunction = Callable[[pathlib.Path, pathlib.Path], Written]


@dataclasses.dataclass(frozen=True)
class Report:
  """The result of a run over photos.

  Attributes:
    page: The first page; None without any head in the output folder.
    heads: Number of heads that this run wrote.
    photos: Number of photos that gave at least one head in this run.
    problems: Photos without a head and the reason for each, in the order of the photos.
    kept: Number of photos that were finished before, and skipped.
    unsure: Photos with heads that may be wrong in this run, and which these are.
    notes: Videos that were used in part in this run, and what is wrong with them.
  """

  page: pathlib.Path | None
  heads: int
  photos: int
  problems: Mapping[str, str]
  kept: int = 0
  unsure: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: MappingProxyType[str, str]({})
  )
  notes: Mapping[str, str] = dataclasses.field(
    default_factory=lambda: MappingProxyType[str, str]({})
  )


def write_heads(
  inputs: Inputs,
  out: pathlib.Path,
  reconstructor: PhotoReconstructor,
  options: OutputOptions,
  *,
  clips: ClipFunction | None = None,
  progress: Progress = lambda path, faces: None,
) -> Report:
  """Reconstructs every face of every photo and writes `OUT/<photo>/face<k>/...`.

  `<photo>` is the path of the photo below the folder that all of them share; see
  `affjax.names.folder_names`.

  The folder of a photo appears whole or not at all, and a photo that fails does not
  stop the others. The pages, of which `OUT/index.html` is the first, show all results
  of the folder; they are written last, also where the user interrupts the run or the
  disk is full. With AFFJAX_DEBUG=1 in the environment, the traceback of each failure is
  printed.

  Args:
    inputs: Photos, as `gather` returns them.
    out: An existing folder; see `affjax.export.prepared_folder`.
    reconstructor: The method.
    options: Options of writing.
    clips: Function that writes the heads of a video; None if videos are not taken.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    OutputError: `OUT/index.html` is not a page of affjax, or the disk is full.
    ValueError: A mesh format is unknown.
  """
  check_formats(options.formats)
  require_pages(out)
  run = _Run(out, reconstructor, options, dict(inputs.problems), clips)
  try:
    for path, name, folder in _foldered(inputs.photos, run.done):
      progress(path, run.add(path, name, folder))
  except BaseException:
    with contextlib.suppress(OSError):
      write_pages(out, run.problems)
    raise
  page = write_pages(out, run.problems)
  return Report(
    page, run.heads, run.photos, run.problems, run.kept, run.unsure, run.notes
  )


class _Run:
  """A run over photos, which keeps numbers only.

  Args:
    out: The output folder.
    reconstructor: The method.
    options: Options of writing.
    problems: Paths without photos, to which photos without a head are added.
    clips: Function that writes the heads of a video.
  """

  def __init__(
    self,
    out: pathlib.Path,
    reconstructor: PhotoReconstructor,
    options: OutputOptions,
    problems: dict[str, str],
    clips: ClipFunction | None,
  ) -> None:
    self.out, self.reconstructor, self.options = out, reconstructor, options
    self.problems, self.clips = problems, clips
    self.unsure, self.notes = dict[str, str](), dict[str, str]()
    self.done = {r.photo: r for r in results(out)} if options.resume else {}
    self.heads = self.photos = self.kept = 0

  def add(self, path: pathlib.Path, name: str, folder: str) -> int:
    """Returns the number of heads of a photo, after they are written."""
    if before := self.done.get(_key(path)):
      self.kept += 1
      return before.faces
    try:
      written = self._write(path, name, folder)
    except Exception as error:
      # Even a bug on one photo does not stop the others; the report tells them apart.
      bugs.show_traceback(error)
      if isinstance(error, OSError) and error.errno in _FULL:
        raise OutputError(
          f"cannot write to {str(self.out)!r}: {error.strerror}; finished photos are "
          "kept: make room and run the command again with --resume"
        ) from error
      self.problems[str(path)] = _reason(error, path)
      return 0
    if doubtful := _doubtful(written.confidences):
      self.unsure[str(path)] = doubtful
    if written.note:
      self.notes[str(path)] = written.note
    self.heads += len(written.confidences)
    self.photos += 1
    return len(written.confidences)

  def _write(self, path: pathlib.Path, name: str, folder: str) -> Written:
    """Writes the folder of a photo or video."""
    place = self.out / folder
    if place.exists() and not (place / "face1" / "pose.json").is_file():
      raise OutputError(f"{str(place)!r} is not a result of affjax; not replaced")
    with files.written_folder(place, overwrite=self.options.overwrite) as partial:
      if self.clips is not None and is_video(path.name):
        written = self.clips(path, partial)
      else:
        written = self._write_photo(path, name, partial)
      result = Result(
        folder=folder,
        photo=_key(path),
        name=_printable(name),
        size=written.size,
        faces=len(written.confidences),
        unsure=sum(map(_is_unsure, written.confidences)),
        about=self.reconstructor.about,
      )
      files.write_json(partial / RECORD, result.record)
    return written

  def _write_photo(
    self, path: pathlib.Path, name: str, folder: pathlib.Path
  ) -> Written:
    """Writes the heads of a photo into a folder."""
    pixels, options = read_photo(path), self.options
    heads = [_named(h, name) for h in self.reconstructor.heads_of(pixels, path)]
    if not heads:
      raise PhotoError("no face found")
    for k, head in enumerate(heads, start=1):
      contents = head_files(
        head,
        pixels,
        formats=options.formats,
        keep_original=options.keep_eyes_and_mouth,
      )
      card = card_files(head, pixels, contents, title=f"Face {k}")
      write_head(folder / f"face{k}", contents, card)
    size = pixels.shape[0], pixels.shape[1]
    return Written(size, [head.confidence for head in heads])


def write_head(
  folder: pathlib.Path, contents: Mapping[str, bytes], card: Mapping[str, bytes]
) -> None:
  """Writes the files of a head and those of its card into a new folder."""
  _write_files(folder, contents)
  _write_files(folder / CARD_FOLDER, card)


def _write_files(folder: pathlib.Path, contents: Mapping[str, bytes]) -> None:
  folder.mkdir()
  for name, content in contents.items():
    (folder / name).write_bytes(content)


def _key(path: pathlib.Path) -> str:
  """Returns the absolute path of a photo, which tells it apart."""
  return _printable(str(path.absolute()))


def _printable(text: str) -> str:
  """Returns a file name in valid UTF-8."""
  return text.encode("utf-8", "replace").decode("utf-8")


def _foldered(
  photos: Sequence[pathlib.Path], done: Mapping[str, Result]
) -> Iterator[tuple[pathlib.Path, str, str]]:
  """Yields photos, their names and the names of their folders.

  Finished photos keep theirs, and others do not take it.
  """
  taken = {result.folder.casefold() for result in done.values()}
  names = relative_names(photos)
  for path, name, folder in zip(photos, names, folder_names(names), strict=True):
    free, k = folder, 1
    while _key(path) not in done and free.casefold() in taken:
      k += 1
      free = f"{folder}-{k}"
    taken.add(free.casefold())
    yield path, name, free


def _named(head: Reconstruction, name: str) -> Reconstruction:
  """Returns a head whose notes name its photo by the path that tells it apart."""
  return dataclasses.replace(head, notes={**head.notes, "photo": name})


def _is_unsure(confidence: float | None) -> bool:
  return confidence is not None and confidence < SURE


def _doubtful(confidences: Sequence[float | None]) -> str:
  """Returns which heads of a photo are unsure, in words."""
  return ", ".join(
    f"face {k} (confidence {confidence:.2f})"
    for k, confidence in enumerate(confidences, start=1)
    if confidence is not None and _is_unsure(confidence)
  )


def face_facts(face: Face) -> dict[str, Any]:
  """Returns the facts about a detected face for pose.json."""
  return {
    "box_px": np.asarray(face.box, float).tolist(),
    "score": float(face.score),
    "landmarks68_px": np.round(np.asarray(face.landmarks68, float), 2).tolist(),
  }


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
