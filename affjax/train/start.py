"""The choice of the weights that a stage starts from."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from affjax.train import checkpoint, provenance, workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.retention import Checkpointing
from affjax.train.stages import Stage
from affjax.train.states import Params, TrainState
from affjax.train.workdir import WorkdirError


@dataclasses.dataclass(frozen=True)
class Start:
  """The state that training continues from.

  Attributes:
    state: Weights and optimizer states.
    seconds: Time that the stage has taken so far.
    origin: Their origin, for the log.
    trained: Names of the networks that were trained before this stage.
    notes: Lines for the log: what is not as it was when the stage was begun.
  """

  state: TrainState
  seconds: float
  origin: str
  trained: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


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
  """Returns the weights that a stage starts with, looked for in this order:

  1. Its own newest checkpoint: training continues exactly, data position included.
  2. The weights of another run, `init_from`.
  3. The weights with which the previous stage of this workdir ended.
  4. The first stage starts with fresh weights; any other is an error.

  Args:
    stage: The stage.
    root: The workdir.
    create: Makes the state before the first update from weights.
    fresh_params: Fresh weights of all networks.
    data: The training iterator, brought to the saved position in case 1.
    init_from: A workdir or the folder of a stage, or empty.
    command: The command line of this stage, from which an error derives the one to run
      before.

  Raises:
    CheckpointError: A checkpoint is damaged or of other networks.
    WorkdirError: The previous stage is missing or not complete.
  """
  root = pathlib.Path(root)
  own = workdir.stage_folder(root, stage.name)
  if checkpoint.exists(own):
    with Checkpoints(own, Checkpointing()) as checkpoints:
      saved = checkpoints.restore(create(fresh_params), data)
    changes = provenance.changes(saved.meta.get("software", {}), provenance.describe())
    return Start(
      saved.state,
      float(saved.meta.get("seconds", 0.0)),
      f"its checkpoint of step {saved.step}",
      tuple(saved.meta.get("trained", ())),
      tuple(f"begun with other software: {line}" for line in changes),
    )
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


def _start_with(
  folder: pathlib.Path, create: Callable[[Params], TrainState], fresh_params: Params
) -> Start:
  with Checkpoints(folder) as checkpoints:
    params, step, meta = checkpoints.restore_params(fresh_params)
  origin = f"the weights of {folder}, step {step}"
  return Start(create(params), 0.0, origin, tuple(meta.get("trained", ())))


def _require_finished(root: pathlib.Path, stage: Stage, command: str) -> None:
  """Raises a WorkdirError unless the previous stage is complete."""
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
