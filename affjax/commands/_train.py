"""`affjax train`."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, ClassVar

from tyro.conf import Positional, Suppress, arg

from affjax.commands import _parsing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(_parsing.Command):
  """Trains a stage of the networks.

  Writes checkpoints, metrics and pictures into WORKDIR/STAGE. Stages that share a
  workdir continue from each other; the same command again continues a stage that was
  stopped. `python -m affjax.main --config=STAGE --workdir=WORKDIR` does the same.

  Any value of the config can be replaced by --config.KEY=VALUE, such as
  --config.data.batch_size=4; `python -m affjax.main --help` lists the keys.

  Exit status: 0 = the stage is complete, or SIGTERM stopped it and everything is
  saved, 1 = it failed, 2 = wrong usage, 130 = Ctrl-C and everything is saved.

  Example: affjax train stage1 --workdir=runs/a --config.data.batch_size=4

  Attributes:
    stage: Train this stage: the name of a config (stage1, stage2, stage3, demo:stage1),
      or the path of a config file.
    workdir: Keep checkpoints, logs and pictures in this folder.
    coordinator: HOST:PORT of process 0 where several processes train together, or auto,
      as SLURM, Open MPI, GKE or a TPU tells JAX (docs/scaling.md).
    processes: Number of processes, for HOST:PORT.
    process: Index of this process, for HOST:PORT.
    overrides: Values of the config that are replaced.
  """

  stage: Annotated[Positional[str], arg(metavar="STAGE")]
  workdir: Annotated[pathlib.Path, arg(metavar="WORKDIR")]
  coordinator: Annotated[str, arg(metavar="HOST:PORT")] = ""
  processes: Annotated[int, arg(metavar="COUNT")] = 0
  process: Annotated[int, arg(metavar="INDEX")] = -1
  overrides: Suppress[tuple[str, ...]] = ()

  interrupted: ClassVar[str] = "interrupted before the first step; nothing was lost"

  @classmethod
  def parse(cls, arguments: Sequence[str], *, name: str) -> _parsing.Command:
    """Returns the command; each `--config.KEY=VALUE` is left to the config."""
    overrides = tuple(word for word in arguments if word.startswith("--config."))
    own = [word for word in arguments if word not in overrides]
    return dataclasses.replace(super().parse(own, name=name), overrides=overrides)

  def run(self) -> None:
    """Runs the command."""
    from affjax import main

    flags = (f"--config={self.stage}", f"--workdir={self.workdir}")
    together = [
      f"--{field.name}={getattr(self, field.name)}"
      for field in dataclasses.fields(self)
      if field.name in ("coordinator", "processes", "process")
      and getattr(self, field.name) != field.default
    ]
    main.leave(main.main(["affjax train", *flags, *together, *self.overrides]))
