"""`affjax replay`."""

import dataclasses
import math
import pathlib
from typing import Annotated

from tyro.conf import Positional, arg

from affjax.commands import _console, _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replay(_parsing.Command):
  """Makes a training step again whose numbers were not finite.

  Writes nothing. Prints each value of the step: losses, norms of the networks'
  gradients, and of each loss term its weight (lambda/) and the norm of its gradient
  (term_gradient/). The step is made on the devices of this machine, with the weights,
  optimizer states and photos that were saved when training stopped.

  Exit status: 0 = every value is finite, 1 = some are not, 2 = the folder cannot be
  used.

  Example: affjax replay runs/a/stage3/failed/1234

  Attributes:
    failure: Folder that the message of the stopped training names.
  """

  failure: Annotated[Positional[pathlib.Path], arg(metavar="FAILURE")]

  def run(self) -> None:
    """Runs the command."""
    from affjax import build

    values = build.replay(self.failure)
    width = max(map(len, values))
    for name, value in values.items():
      _console.OUT.print(f"{name:{width}}  {value:.6g}")
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
      _console.print_error(f"not finite: {', '.join(bad)}")
      raise _console.Exit(1)
