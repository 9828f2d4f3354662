"""The trained networks that a command uses."""

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from affjax import build

# Workdir of the networks that `make demo` trains.
DEFAULT_RUN = pathlib.Path("out/demo/run")


def load_run(workdir: pathlib.Path, *, best: bool = False) -> "build.Run":
  """Returns the networks of a training workdir.

  Args:
    workdir: Workdir of `affjax train`.
    best: Whether to take the checkpoint with the lowest loss of held-out samples.

  Raises:
    ValueError: There are no weights, or they do not fit this version.
  """
  if not workdir.is_dir():
    if workdir == DEFAULT_RUN:
      raise ValueError(
        f"no weights: run `make demo`, which trains small networks into "
        f"{str(DEFAULT_RUN)!r}, or pass a training workdir with --weights"
      )
    raise ValueError(f"weights {str(workdir)!r}: no such training workdir")
  from affjax import build

  return build.load_run(workdir, best=best)
