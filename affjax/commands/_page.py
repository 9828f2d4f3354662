"""`affjax page`."""

import dataclasses
import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page(_parsing.Command):
  """Makes the pages of an output folder again, from its results.

  Writes OUT/index.html, and OUT/index-2.html and so on for many heads. Use it after
  results were added, moved or deleted, or after a run that was killed.

  Exit status: 0 = the pages are written, 2 = there are no results.

  Example: affjax page heads

  Attributes:
    out: Output folder of affjax fit or affjax reconstruct.
  """

  out: Annotated[Positional[pathlib.Path], arg(metavar="OUT")]

  def run(self) -> None:
    """Runs the command."""
    from affjax.photos import write_pages

    if not self.out.is_dir():
      raise ValueError(f"output {str(self.out)!r}: no such folder")
    page = write_pages(self.out)
    if page is None:
      raise ValueError(f"output folder {str(self.out)!r} holds no results of affjax")
    _console.OUT.print(_console.escaped(str(page)))
