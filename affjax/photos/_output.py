"""From photos to files and page, by any reconstructor."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from affjax import files, pool
from affjax.export import OutputError, check_formats
from affjax.faces import Face
from affjax.names import folder_names, relative_names
from affjax.photos._inputs import Inputs
from affjax.photos._options import OutputOptions, Progress
from affjax.photos._results import (
  Result,
  require_pages,
  results,
  write_pages,
)
from affjax.photos._writer import (
  ClipFunction,
  Outcome,
  PhotoReconstructor,
  PhotoWriter,
  Task,
  is_unsure,
  key,
)

# Number of photos for each process from which on its start pays, and the memory that a
# process needs, bytes.
_PAYS, _MEMORY = 16, 2 << 30


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
  make: Callable[[], PhotoReconstructor] | None = None,
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
    make: Picklable function that makes the reconstructor again, in worker processes;
      None does all photos in this process.
    clips: Function that writes the heads of a video; None if videos are not taken. With
      `make` it must be picklable, too.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    OutputError: `OUT/index.html` is not a page of affjax, or the disk is full.
    ValueError: A mesh format is unknown.
  """
  check_formats(options.formats)
  require_pages(out)
  run = _Run(inputs, out, options.resume)
  todo = list(run.unfinished(inputs.photos, progress))
  workers = _workers(options.workers, len(todo)) if make else 1
  try:
    with _work_folder(out) as work:
      parts = out, work, options, clips
      if make is None or workers == 1:
        writer = PhotoWriter(reconstructor, *parts)
        done = ((task, writer.outcome(task)) for task in todo)
      else:
        done = _spread(functools.partial(_made, make, *parts), todo, workers)
      for task, outcome in done:
        progress(pathlib.Path(task.path), run.count(task, outcome))
  except BaseException:
    with contextlib.suppress(OSError):
      write_pages(out, run.ordered(run.problems))
    raise
  problems, unsure, notes = map(run.ordered, (run.problems, run.unsure, run.notes))
  page = write_pages(out, problems)
  return Report(page, run.heads, run.photos, problems, run.kept, unsure, notes)


@contextlib.contextmanager
def _work_folder(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a folder for what is not finished, and removes it at the end."""
  work = pathlib.Path(tempfile.mkdtemp(prefix=files.PARTIAL_PREFIX, dir=out))
  try:
    yield work
  finally:
    shutil.rmtree(work, ignore_errors=True)


def _workers(asked: int, photos: int) -> int:
  """Returns the number of processes; 0 asks for one a core, where they pay."""
  if asked:
    return max(1, min(asked, photos))
  some = getattr(os, "sched_getaffinity", None)  # not on every system
  cores = len(some(0)) if some else os.cpu_count() or 1
  return max(1, min(cores, photos // _PAYS, _memory() // _MEMORY))


def _memory() -> int:
  """Returns the size of the machine's memory, bytes; a guess where it is not known."""
  try:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (AttributeError, OSError, ValueError):
    return 4 * _MEMORY


def _made(
  make: Callable[[], PhotoReconstructor],
  out: pathlib.Path,
  work: pathlib.Path,
  options: OutputOptions,
  clips: ClipFunction | None,
) -> Callable[[Any, pool.Tell], Any]:
  """Returns the function that does the tasks of a worker process."""
  writer = PhotoWriter(make(), out, work, options, clips)
  return lambda task, _: writer.outcome(Task(*task))


def _spread(
  make: Callable[[], Callable[[Any, pool.Tell], Any]],
  tasks: Iterable[Task],
  workers: int,
) -> Iterator[tuple[Task, Outcome]]:
  """Yields tasks and what became of them, done by worker processes."""
  with contextlib.closing(pool.survived(make, tasks, workers=workers)) as done:
    for task, result in done:
      if isinstance(result, pool.WorkerDied):
        yield task, Outcome(reason=str(result))
      else:
        yield task, Outcome(*result)


class _Run:
  """A run over photos, which keeps numbers only.

  Args:
    inputs: The photos.
    out: The output folder.
    resume: Whether photos whose results are there are skipped.
  """

  def __init__(self, inputs: Inputs, out: pathlib.Path, resume: bool) -> None:
    self.out, self.problems = out, dict(inputs.problems)
    self._order = [*inputs.problems, *map(str, inputs.photos)]
    self.unsure, self.notes = dict[str, str](), dict[str, str]()
    self.done = {r.photo: r for r in results(out)} if resume else {}
    self.heads = self.photos = self.kept = 0

  def unfinished(
    self, photos: Sequence[pathlib.Path], progress: Progress
  ) -> Iterator[Task]:
    """Yields the photos that are to be done; tells the progress of the others."""
    for path, name, folder in _foldered(photos, self.done):
      if before := self.done.get(key(path)):
        self.kept += 1
        progress(path, before.faces)
      else:
        yield Task(str(path), name, folder)

  def ordered(self, found: Mapping[str, str]) -> dict[str, str]:
    """Returns what is told of photos in their order; processes have another."""
    return {name: found[name] for name in self._order if name in found}

  def count(self, task: Task, outcome: Outcome) -> int:
    """Returns the number of heads of a photo, after it is counted.

    Raises:
      OutputError: The disk is full.
    """
    if outcome.full:
      raise OutputError(
        f"cannot write to {str(self.out)!r}: {outcome.full}; finished photos are "
        "kept: make room and run the command again with --resume"
      )
    if outcome.reason:
      self.problems[task.path] = outcome.reason
      return 0
    if doubtful := _doubtful(outcome.confidences):
      self.unsure[task.path] = doubtful
    if outcome.note:
      self.notes[task.path] = outcome.note
    self.heads += len(outcome.confidences)
    self.photos += 1
    return len(outcome.confidences)


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
    while key(path) not in done and free.casefold() in taken:
      k += 1
      free = f"{folder}-{k}"
    taken.add(free.casefold())
    yield path, name, free


def _doubtful(confidences: Sequence[float | None]) -> str:
  """Returns which heads of a photo are unsure, in words."""
  return ", ".join(
    f"face {k} (confidence {confidence:.2f})"
    for k, confidence in enumerate(confidences, start=1)
    if confidence is not None and is_unsure(confidence)
  )


def face_facts(face: Face) -> dict[str, Any]:
  """Returns the facts about a detected face for pose.json."""
  return {
    "box_px": np.asarray(face.box, float).tolist(),
    "score": float(face.score),
    "landmarks68_px": np.round(np.asarray(face.landmarks68, float), 2).tolist(),
  }
