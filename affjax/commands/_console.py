"""Messages of the commands: one-line errors, progress, exit codes."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich import console, markup, progress

from affjax import bugs

OUT = console.Console(highlight=False, soft_wrap=True)
ERR = console.Console(stderr=True, highlight=False, soft_wrap=True)


class Exit(Exception):
  """Ends the command with a status, after all messages are printed."""

  def __init__(self, status: int) -> None:
    super().__init__(status)
    self.status = status


def status_of(run: Callable[[], None], *, interrupted: str) -> int:
  """Runs a command and returns its exit status, with one line for an error.

  Args:
    run: The command.
    interrupted: Message when the user interrupts it.

  Returns:
    0 = everything is done; 1 = something failed, by a bug or for some of the photos;
    2 = the command cannot start; 3 = some heads are unsure; 130 = interrupted.
  """
  try:
    run()
  except Exit as end:
    return end.status
  except KeyboardInterrupt:
    print_error(interrupted)
    return 130
  except Exception as error:
    bugs.show_traceback(error)
    # An import error says how to get optional software.
    if isinstance(error, ValueError | OSError | ImportError):
      print_error(" ".join(str(error).split()) or type(error).__name__)
      return 2
    print_error(bugs.bug_message(error))
    return 1
  return 0


def print_error(message: str) -> None:
  """Prints one line on stderr."""
  ERR.print(f"[bold red]error:[/] {escaped(message)}")


def print_warning(message: str) -> None:
  """Prints one line on stderr about something that may be wrong."""
  ERR.print(f"[bold yellow]warning:[/] {escaped(message)}")


def escaped(text: str) -> str:
  """Returns text that rich prints as it is: without markup, in valid UTF-8."""
  return markup.escape(text.encode("utf-8", "replace").decode("utf-8"))


def count(number: int, noun: str) -> str:
  """Returns a number with its noun, such as "2 heads"."""
  return f"{number} {noun}" + ("" if number == 1 else "s")


@contextlib.contextmanager
def photo_progress(total: int) -> Iterator[Callable[[pathlib.Path, int], None]]:
  """Yields a function to call after each photo, with its path and number of faces.

  It moves a progress bar on a terminal, and prints a line for each photo elsewhere.
  """
  with _bar() as bar:
    task = bar.add_task("photos", total=total)

    def step(path: pathlib.Path, faces: int) -> None:
      bar.advance(task)
      if faces and not ERR.is_terminal:
        ERR.print(escaped(f"{path}: {count(faces, 'face')}"))

    yield step


@contextlib.contextmanager
def preparation_progress() -> Iterator[Callable[[Any, int], None]]:
  """Yields a function to call with the counts so far and the number of all photos.

  It moves a progress bar on a terminal, and prints a line for each call elsewhere.
  """
  with _bar() as bar:
    task = bar.add_task("photos", total=None)
    first: list[tuple[float, int]] = []

    def step(tally: Any, total: int) -> None:
      first.append((time.monotonic(), tally.photos))
      (since, before), (now, photos) = first[0], first[-1]
      del first[1:]
      rate = f", {(photos - before) / (now - since):.1f}/s" if photos > before else ""
      skipped = sum(tally.skipped.values())
      about = f"photos{rate}, {tally.kept} kept, {skipped} skipped"
      bar.update(task, completed=photos, total=total, description=about)
      if not ERR.is_terminal:
        ERR.print(f"{photos} of {total} {about}")

    yield step


@contextlib.contextmanager
def counting_progress(
  noun: str, every: int = 20
) -> Iterator[Callable[[int, int], None]]:
  """Yields a function to call with the numbers of finished things and of all.

  It moves a progress bar on a terminal, and prints a line now and then elsewhere.

  Args:
    noun: Word for the things.
    every: Number of things between two lines.
  """
  with _bar() as bar:
    task = bar.add_task(noun, total=None)

    def step(done: int, total: int) -> None:
      bar.update(task, completed=done, total=total)
      if not ERR.is_terminal and (done % every == 0 or done == total):
        ERR.print(f"{done} of {total} {noun}")

    yield step


def _bar() -> progress.Progress:
  columns = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeRemainingColumn(),
  )
  return progress.Progress(
    *columns, console=ERR, transient=True, disable=not ERR.is_terminal
  )
