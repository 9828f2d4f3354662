"""The part that `affjax fit` and `affjax reconstruct` share."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing
from affjax.photos import Inputs, OutputOptions, Progress, gather

if TYPE_CHECKING:
  from affjax.photos import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoCommand(_parsing.Command):
  """A command that takes photos and writes heads.

  Attributes:
    videos: Whether the command takes videos as well.
    photos: Photos, or folders of photos.
    out: Write into this folder, which is created where it is missing.
    recursive: Search folders inside of folders, too.
  """

  photos: Annotated[
    Positional[tuple[pathlib.Path, ...]],
    arg(metavar="PHOTO...", help_behavior_hint="(required)"),
  ]
  out: Annotated[pathlib.Path, arg(aliases=["-o"], metavar="FOLDER")]
  recursive: bool = False

  videos: ClassVar[bool] = False
  interrupted: ClassVar[str] = (
    "interrupted; finished photos are kept and on the page; "
    "the same command with --resume goes on"
  )

  def __post_init__(self) -> None:
    if not self.photos:
      raise ValueError("PHOTO is missing: name at least one photo or folder of photos")

  def run_with(
    self, options: OutputOptions, reconstruct: Callable[[Inputs, Progress], "Report"]
  ) -> None:
    """Prepares the output folder, reconstructs the photos and prints the summary.

    Args:
      options: Options of writing.
      reconstruct: Function that writes the heads of the photos.

    Raises:
      Exit: Some photos gave no head (1), or some heads are unsure (3).
      ValueError: Nothing could be started.
    """
    from affjax.export import prepared_folder

    used = options.overwrite or options.resume
    with prepared_folder(self.out, overwrite=used):
      inputs = gather(self.photos, recursive=self.recursive, videos=self.videos)
      with _console.photo_progress(len(inputs.photos)) as step:
        report = reconstruct(inputs, step)
    _print_summary(report, inputs)


def _print_summary(report: "Report", inputs: Inputs) -> None:
  for path, reason in report.problems.items():
    _console.print_error(f"{path}: {reason}")
  for path, which in report.unsure.items():
    _console.print_warning(f"{path}: unsure of {which}; look at it on the page")
  for path, note in report.notes.items():
    _console.print_warning(f"{path}: used as far as it can be read; {note}")
  if inputs.ignored:
    entries = "entry" if inputs.ignored == 1 else "entries"
    _console.ERR.print(
      f"note: {inputs.ignored} {entries} of the folders without the suffix of a photo"
    )
  heads = _console.count(report.heads, "head")
  photos = _console.count(report.photos, "photo")
  page = f": {_console.escaped(str(report.page))}" if report.page else ""
  _console.OUT.print(f"{heads} from {photos} ({_counts(report)}){page}")
  if report.problems or report.page is None:
    raise _console.Exit(1)
  if report.unsure or report.notes:
    raise _console.Exit(3)


def _counts(report: "Report") -> str:
  """Returns how many photos are good, unsure and failed, and which were done before."""
  doubtful = report.unsure.keys() | report.notes.keys()
  before = f", {report.kept} finished before" if report.kept else ""
  return (
    f"{report.photos - len(doubtful)} good, {len(doubtful)} unsure, "
    f"{len(report.problems)} failed{before}"
  )
