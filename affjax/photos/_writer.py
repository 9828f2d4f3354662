"""The heads of one photo or video, as files."""

import dataclasses
import errno
import pathlib
from collections.abc import Callable, Mapping, Sequence
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
  head_files,
)
from affjax.faces import PhotoError, read_photo
from affjax.names import is_video
from affjax.photos import _stages
from affjax.photos._options import OutputOptions
from affjax.photos._results import RECORD, Result

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


# Writes the heads of a video into an empty folder, by a reconstructor.
ClipFunction = Callable[[pathlib.Path, pathlib.Path, Any], Written]


class Task(NamedTuple):
  """A photo or video to be done, which can be written as JSON.

  Attributes:
    path: The file.
    name: Its name for people, which tells it apart from the others.
    folder: Folder of its heads, relative to the output folder.
  """

  path: str
  name: str
  folder: str


class Outcome(NamedTuple):
  """The outcome of a photo or video, which can be written as JSON.

  Attributes:
    confidences: Confidence of each head; None where it is not known.
    note: The fault of a file that was used in part; "" without one.
    reason: Why there is no head; "" if there are some.
    full: Why nothing more can be written; "" if there is room.
  """

  confidences: Sequence[float | None] = ()
  note: str = ""
  reason: str = ""
  full: str = ""


@dataclasses.dataclass(frozen=True)
class PhotoWriter:
  """Writes the heads of photos and videos, each into a folder of its own.

  Attributes:
    reconstructor: The method.
    out: The output folder.
    work: Folder in it for what is not finished.
    options: Options of writing.
    clips: Function that writes the heads of a video; None if videos are not taken.
  """

  reconstructor: PhotoReconstructor
  out: pathlib.Path
  work: pathlib.Path
  options: OutputOptions
  clips: ClipFunction | None

  def outcome(self, task: Task) -> Outcome:
    """Returns what became of a photo or video.

    Even a bug on one photo does not stop the others; its reason tells it apart.
    """
    path = pathlib.Path(task.path)
    try:
      written = self._write(path, task.name, task.folder)
    except Exception as error:
      bugs.show_traceback(error)
      if isinstance(error, OSError) and error.errno in _FULL:
        return Outcome(full=error.strerror or type(error).__name__)
      return Outcome(reason=_reason(error, path))
    return Outcome(list(written.confidences), written.note)

  def _write(self, path: pathlib.Path, name: str, folder: str) -> Written:
    """Writes the folder of a photo or video."""
    place = self.out / folder
    if place.exists() and not (place / "face1" / "pose.json").is_file():
      raise OutputError(f"{str(place)!r} is not a result of affjax; not replaced")
    overwrite = self.options.overwrite
    with files.written_folder(place, overwrite=overwrite, work=self.work) as partial:
      if self.clips is not None and is_video(path.name):
        written = self.clips(path, partial, self.reconstructor)
      else:
        written = self._write_photo(path, name, partial)
      result = Result(
        folder=folder,
        photo=key(path),
        name=_printable(name),
        size=written.size,
        faces=len(written.confidences),
        unsure=sum(map(is_unsure, written.confidences)),
        about=self.reconstructor.about,
      )
      files.write_json(partial / RECORD, result.record)
    return written

  def _write_photo(
    self, path: pathlib.Path, name: str, folder: pathlib.Path
  ) -> Written:
    """Writes the heads of a photo into a folder."""
    _stages.enter_stage("read")
    pixels, options = read_photo(path), self.options
    heads = [_named(h, name) for h in self.reconstructor.heads_of(pixels, path)]
    if not heads:
      raise PhotoError("no face found")
    for k, head in enumerate(heads, start=1):
      _stages.enter_stage("write", k, len(heads))
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


def key(path: pathlib.Path) -> str:
  """Returns the absolute path of a photo, which tells it apart."""
  return _printable(str(path.absolute()))


def is_unsure(confidence: float | None) -> bool:
  """Returns whether a head may be wrong."""
  return confidence is not None and confidence < SURE


def _printable(text: str) -> str:
  """Returns a file name in valid UTF-8."""
  return text.encode("utf-8", "replace").decode("utf-8")


def _named(head: Reconstruction, name: str) -> Reconstruction:
  """Returns a head whose notes name its photo by the path that tells it apart."""
  return dataclasses.replace(head, notes={**head.notes, "photo": name})


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
