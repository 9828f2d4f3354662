"""The trained networks that a command uses."""

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from affjax import build

EMBEDDED = pathlib.Path("embedded")
"""The networks that come with the package."""


def load_run(weights: pathlib.Path = EMBEDDED, *, best: bool = False) -> "build.Run":
  """Returns trained networks.

  Args:
    weights: Workdir of `affjax train`, or `EMBEDDED`.
    best: Whether to take the checkpoint with the lowest loss of held-out samples.

  Raises:
    ValueError: There are no weights, or they do not fit this version.
  """
  if weights != EMBEDDED and not weights.is_dir():
    raise ValueError(
      f"weights {str(weights)!r}: no such training workdir; without --weights the "
      f"networks that come with affjax are used"
    )
  from affjax import build

  return build.load_run(weights, best=best)
