"""Where a stage's first weights come from."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from affjax.train import checkpoint, workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.stage import Stage
from affjax.train.state import Params, TrainState
from affjax.train.workdir import WorkdirError


@dataclasses.dataclass(frozen=True)
class Start:
  """The state to go on from.

  Attributes:
    state: weights and optimizers.
    seconds: time that the stage has taken so far.
    origin: where they come from, for the log.
  """

  state: TrainState
  seconds: float
  origin: str


def begin(
  stage: Stage,
  root: pathlib.Path,
  *,
  create: Callable[[Params], TrainState],
  fresh_params: Params,
  data: Iterator[Any],
  init_from: str = "",
  command: str = "",
) -> Start:
  """Looks for the weights that a stage starts with, in this order:

  1. Its own newest checkpoint: training goes on exactly, data position included.
  2. `init_from`: the weights of another run.
  3. The weights with which the previous stage of this workdir ended.
  4. The first stage starts with fresh weights; any other is an error.

  Args:
    stage: the stage.
    root: the workdir.
    create: from weights to the state before the first update.
    fresh_params: fresh weights of all networks.
    data: the training iterator, brought to the saved position in case 1.
    init_from: a workdir or the folder of a stage, or empty.
    command: the command line that was typed, for the error to name the one before.
  """
  root = pathlib.Path(root)
  own = workdir.stage_folder(root, stage.name)
  if checkpoint.exists(own):
    with Checkpoints(own) as checkpoints:
      saved = checkpoints.restore(create(fresh_params), data)
    seconds = float(saved.meta.get("seconds", 0.0))
    return Start(saved.state, seconds, f"its checkpoint of step {saved.step}")
  if init_from:
    folder = workdir.latest_stage(pathlib.Path(init_from))
    if folder is None:
      raise WorkdirError(f"init_from {init_from!r} holds no checkpoint of any stage")
    return _start_with(folder, create, fresh_params)
  if stage.previous is not None:
    _require_finished(root, stage, command)
    previous = workdir.stage_folder(root, stage.previous)
    return _start_with(previous, create, fresh_params)
  return Start(create(fresh_params), 0.0, "fresh weights")


def _start_with(folder: pathlib.Path, create, fresh_params: Params) -> Start:
  with Checkpoints(folder) as checkpoints:
    params = checkpoints.restore_params(fresh_params)
    step = checkpoints.latest()
  return Start(create(params), 0.0, f"the weights of {folder}, step {step}")


def _require_finished(root: pathlib.Path, stage: Stage, command: str):
  """Raises a WorkdirError that says what to run before a stage."""
  previous = stage.previous or ""
  summary = workdir.read_summary(root, previous)
  has_weights = checkpoint.exists(workdir.stage_folder(root, previous))
  if has_weights and summary.get("finished"):
    return
  found = f"{previous} has not run in {root}"
  if has_weights:
    found = (
      f"{previous} in {root} has not reached its last step "
      f"{summary.get('total_steps', '')}".rstrip()
    )
  before = command.replace(stage.name, previous)
  raise WorkdirError(
    f"{stage.name} starts from {previous}, but {found}; run first: {before} (or give "
    "the weights of another run by --config.init_from=WORKDIR)"
  )
