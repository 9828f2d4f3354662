"""`affjax prepare`."""

import dataclasses
import pathlib
from typing import Annotated, ClassVar

from tyro.conf import Positional, UseAppendAction, arg

from affjax.commands import _console, _parsing
from affjax.data import PrepareOptions, PrepareRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare(_parsing.Command):
  """Prepares a data set for training from photos.

  Every face of the photos is detected, aligned, and given its geometry.

  Writes OUT/NAME/1.0.0/, a TFDS data set, with summary.json, which counts and names the
  skipped photos, and worst.html, which shows the samples of lowest quality. A run that
  was interrupted continues when the same command is given again.

  Exit status: 0 = the data set is complete, 2 = it cannot be prepared, 130 =
  interrupted.

  Example: affjax prepare photos/ -o data --name family --licence "CC BY 4.0"

  Attributes:
    source: Photos: a folder, a zip or tar archive (such as CelebA-HQ's
      data512x512.tar), an installed TFDS data set (its folder, or tfds:NAME), or
      synthetic:COUNT.
    out: Write into this folder, which is created where it is missing.
    options: Options that determine the records.
    run_options: Options of carrying out the preparation.
  """

  source: Annotated[Positional[str], arg(metavar="INPUT")]
  out: Annotated[pathlib.Path, arg(aliases=["-o"], metavar="FOLDER")]
  options: Annotated[PrepareOptions, arg(name="")] = PrepareOptions()  # noqa: RUF009
  run_options: Annotated[UseAppendAction[PrepareRun], arg(name="")] = PrepareRun()  # noqa: RUF009

  interrupted: ClassVar[str] = "interrupted; run the command again to continue"

  def run(self) -> None:
    """Runs the command."""
    from affjax.data import prepare

    with _console.preparation_progress() as step:
      report = prepare(
        self.source, self.out, self.options, self.run_options, progress=step
      )
    for line in report.lines():
      _console.OUT.print(_console.escaped(line))
