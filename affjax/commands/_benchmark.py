"""`affjax benchmark`."""

import dataclasses
import pathlib
from typing import Annotated, ClassVar

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark(_parsing.Command):
  """Makes a benchmark set: photos of heads whose geometry is known.

  Writes the set into the user's cache folder, or FOLDER: photos/, truth/ and set.json
  with the hash of each sample. The set "embedded" shows 1,000 heads of the embedded
  model; "ict" shows 1,000 of the light-stage statistics of ICT-FaceKit. A run that was
  interrupted continues when the same command is given again.

  Exit status: 0 = all samples are there, 2 = they cannot be made, 130 = interrupted.

  Example: affjax benchmark embedded --limit 60 --workers 4

  Attributes:
    name: Make this set: embedded or ict.
    folder: Write into this folder instead of the user's cache.
    limit: Make only so many samples, the first ones; 0 makes all.
    workers: Use so many processes; each needs about 2 GB of memory.
    ict: Read ICT-FaceKit from this folder; needed by "ict".
    overwrite: Replace a set of another version in the folder.
  """

  name: Annotated[Positional[str], arg(metavar="SET")]
  folder: Annotated[pathlib.Path | None, arg(metavar="FOLDER")] = None
  limit: int = 0
  workers: int = 1
  ict: Annotated[pathlib.Path | None, arg(metavar="FOLDER")] = None
  overwrite: bool = False

  interrupted: ClassVar[str] = "interrupted; run the command again to continue"

  def __post_init__(self) -> None:
    if self.limit < 0:
      raise ValueError(f"limit must not be negative, got {self.limit}")
    if self.workers < 1:
      raise ValueError(f"workers must be at least 1, got {self.workers}")

  def run(self) -> None:
    """Runs the command."""
    from affjax import benchmark

    with _console.counting_progress("samples") as step:
      made = benchmark.make_set(
        benchmark.recipe(self.name),
        self.folder,
        limit=self.limit,
        workers=self.workers,
        ict=self.ict,
        overwrite=self.overwrite,
        progress=step,
      )
    samples = _console.count(len(made), "sample")
    text = f"{samples}, SHA-256 {made.sha256[:12]}: {made.folder}"
    _console.OUT.print(_console.escaped(text))
