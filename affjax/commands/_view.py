"""`affjax view`."""

import dataclasses
import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class View(_parsing.Command):
  """Shows the progress of a training run as a page.

  Writes nothing. Serves a page with the curves of losses, of errors against known
  geometry and of gradients, and the pictures of held-out samples; it follows a run that
  goes on. The address, which only this machine can open, is printed. Ctrl-C ends it.

  Exit status: 130 = ended by Ctrl-C, 2 = there is no run, or the port is taken.

  Example: affjax view runs/a

  Attributes:
    run_folder: Workdir of affjax train.
    port: Listen at this port; 0 takes a free one.
  """

  run_folder: Annotated[Positional[pathlib.Path], arg(metavar="WORKDIR")]
  port: int = 8300

  def run(self) -> None:
    """Runs the command."""
    from affjax.train import run_page

    if not self.run_folder.is_dir():
      raise ValueError(f"workdir {str(self.run_folder)!r}: no such folder")
    if not 0 <= self.port < 65536:
      raise ValueError(f"--port must be between 0 and 65535, got {self.port}")
    said = lambda address: _console.OUT.print(_console.escaped(address))
    try:
      run_page.serve(self.run_folder, self.port, said)
    except OSError as error:
      raise ValueError(f"--port {self.port}: {error.strerror}") from None
