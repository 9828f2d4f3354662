"""The one training loop."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from affjax import files
from affjax.models import FeatureNet
from affjax.train import interrupt, metrics, pictures, sharding, steps, workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.lock import Lock
from affjax.train.metrics import Clock, Meter, NonFiniteError, Writer
from affjax.train.retention import Checkpointing
from affjax.train.shapes import ShapeEvaluator
from affjax.train.start import Start
from affjax.train.states import TrainState
from affjax.train.steps import Learner, Record


class DataError(ValueError):
  """A training sample cannot be read; one line, for the user."""


@dataclasses.dataclass(frozen=True)
class Log:
  """Options of the log.

  Attributes:
    every: Steps between two progress lines and points on the curves.
    pictures_every: Steps between two sheets of pictures; 0 = only before and after the
      stage.
    shapes_every: Steps between two comparisons of the held-out samples with their
      known geometry, as `affjax evaluate` does them, beside the mean head; 0 = never.
    tensorboard: Whether to write event files, too.
  """

  every: int = 50
  pictures_every: int = 1000
  shapes_every: int = 0
  tensorboard: bool = True

  def __post_init__(self):
    if self.every < 1:
      raise ValueError(f"every must be at least 1, got {self.every}")
    for name in ("pictures_every", "shapes_every"):
      if getattr(self, name) < 0:
        raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Plan:
  """The length of a stage, and how often it reports and saves.

  Attributes:
    total_steps: Number of updates of the stage.
    batch_size: Photos in a batch.
    log: Options of the log.
    checkpoint: Options of the checkpoints.
  """

  total_steps: int
  batch_size: int
  log: Log
  checkpoint: Checkpointing

  def __post_init__(self):
    for name in ("total_steps", "batch_size"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """One stage, ready to run.

  Attributes:
    learner: The parts of a step.
    plan: The length of the stage, and how often it reports and saves.
    start: The state to continue from.
    data: The training iterator of records.
    held_out: The held-out samples as one record.
    feature_net: Network of the perceptual losses, or `None`.
    mesh: The devices.
    root: The workdir.
    meta: Description that goes into checkpoints and summary.
    shapes: Comparison of the held-out samples with their known geometry, or `None`.
    lock: Lock of the workdir, which the run releases.
  """

  learner: Learner
  plan: Plan
  start: Start
  data: Iterator[Record]
  held_out: Record
  feature_net: FeatureNet | None
  mesh: Mesh
  root: pathlib.Path
  meta: dict[str, Any]
  shapes: ShapeEvaluator | None = None
  lock: Lock | None = None

  def __post_init__(self):
    known = (steps.TOTAL, *self.learner.stage.weights.active)
    metric = self.plan.checkpoint.metric
    if metric not in known:
      raise ValueError(
        f"checkpoint.metric must be one of {', '.join(known)}, got {metric!r}"
      )

  def description(self, seconds: float) -> dict[str, Any]:
    """Returns the description that a checkpoint holds.

    Args:
      seconds: Time that the stage has taken so far.
    """
    trained = sorted({*self.start.trained, *self.learner.stage.trains})
    return {**self.meta, "seconds": seconds, "trained": trained}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a run of the loop.

  Attributes:
    step: Number of updates made.
    finished: Whether that is all of the stage.
    signal: Number of the signal that asked to stop, or `None`.
    summary: Content of `summary.json`.
  """

  step: int
  finished: bool
  signal: int | None
  summary: dict[str, Any]


def run(task: Task) -> Outcome:
  """Trains a stage to its end, or until a signal asks to stop.

  Each step: batch, update, log, checkpoint, picture, in this order.

  Raises:
    NonFiniteError: A loss or gradient was not finite; the newest checkpoint is older.
    DataError: A sample cannot be read.
    OSError: Something cannot be written; the checkpoints before it are whole.
  """
  try:
    return _run(task)
  finally:
    if task.lock is not None:
      task.lock.release()


def _run(task: Task) -> Outcome:
  stage, plan = task.learner.stage, task.plan
  folder = workdir.stage_folder(task.root, stage.name)
  first = int(task.start.state.step)
  done = workdir.read_summary(task.root, stage.name)
  if first >= plan.total_steps and done.get("finished"):
    print(f"{stage.name}: complete since step {first}; nothing to do", flush=True)
    return Outcome(first, True, None, done)
  with (
    Checkpoints(folder, plan.checkpoint) as checkpoints,
    Writer(folder, resumed_at=first, tensorboard=plan.log.tensorboard) as writer,
    interrupt.watched() as asked,
  ):
    writer.say(f"{stage.name}: starts from {task.start.origin}")
    for note in task.start.notes:
      writer.say(f"{stage.name}: {note}")
    state = sharding.put_state(task.start.state, task.mesh)
    evaluator = _HeldOutEvaluator(task, writer)
    summary = _opened_summary(task, first, lambda: evaluator(state, first))
    if first == 0 and plan.log.shapes_every:
      evaluator.shapes(state, first)
    with _saying_what_is_saved(stage.name, checkpoints):
      state, report = _updates(task, state, checkpoints, writer, evaluator, asked)
      checkpoints.wait()
      best = checkpoints.best()
    step = int(state.step)
    finished = step >= plan.total_steps
    if finished:
      summary |= {"finished": True, "eval_after": evaluator(state, step)}
    else:
      writer.say(
        f"{stage.name}: stopped at step {step} of {plan.total_steps}, which is "
        "saved; the same command continues"
      )
  summary |= {"step": step, "best_step": best, **report}
  files.write_json(folder / workdir.SUMMARY, summary)
  return Outcome(step, finished, asked.signal, summary)


@contextlib.contextmanager
def _saying_what_is_saved(name: str, checkpoints: Checkpoints) -> Iterator[None]:
  """Adds to an error of the stage which checkpoint it can continue from."""
  try:
    yield
  except (NonFiniteError, OSError) as error:
    with contextlib.suppress(OSError):
      checkpoints.wait()
    kept = checkpoints.latest()
    kept = "there is no checkpoint yet" if kept is None else f"step {kept} is saved"
    hint = "make room, then the same command continues"
    if isinstance(error, NonFiniteError):
      hint = "A smaller optimizer.learning_rate or optimizer.clip_norm may help"
    raise type(error)(f"{name} stopped: {error}; {kept}. {hint}") from error


def _updates(
  task: Task,
  state: TrainState,
  checkpoints: Checkpoints,
  writer: Writer,
  evaluator: "_HeldOutEvaluator",
  asked: interrupt.Interrupt,
) -> tuple[TrainState, dict[str, float]]:
  """Makes all updates up to the last one or a signal; returns state and speed."""
  plan = task.plan
  update = steps.make_update(task.learner, task.mesh)
  feature_net = sharding.put_state(task.feature_net, task.mesh)
  step = first = int(state.step)
  meter, clock, began = Meter(), Clock(plan.batch_size), time.monotonic()
  seconds = lambda: round(task.start.seconds + time.monotonic() - began, 1)
  for step in range(first + 1, plan.total_steps + 1):
    record = sharding.put_batch(_next_record(task.data, step), task.mesh)
    state, scalars = update(state, feature_net, record)
    meter.add(step, scalars)
    # One step ahead keeps the device busy; more would only delay a signal.
    meter.wait(behind=1)
    clock.tick(step - 1)
    stop = bool(asked) or step == plan.total_steps
    if stop or step % plan.log.every == 0:
      _log(meter, writer, clock, task, step)
    if stop or step % plan.checkpoint.every == 0:
      meter.check()
      metric = evaluator.metric(state) if plan.checkpoint.keep_best else None
      checkpoints.save(state, task.data, task.description(seconds()), metric)
    if plan.log.pictures_every and step % plan.log.pictures_every == 0 and not stop:
      evaluator(state, step)
    if plan.log.shapes_every and step % plan.log.shapes_every == 0:
      evaluator.shapes(state, step)
    if stop:
      break
  speed = round(clock.speed(step), 2)
  return state, {"seconds": seconds(), "images_per_second": speed}


def _next_record(data: Iterator[Record], step: int) -> Record:
  try:
    return next(data)
  except (OSError, ValueError) as error:
    raise DataError(f"no data for step {step}: {error}") from error


class _HeldOutEvaluator:
  """Evaluates the held-out samples and writes their pictures."""

  def __init__(self, task: Task, writer: Writer):
    self._task, self._writer = task, writer
    self._feature_net = sharding.put_state(task.feature_net, task.mesh)
    self._evaluate = steps.make_evaluate(task.learner)
    count = len(next(iter(task.held_out.values())))
    shares = count % task.mesh.size == 0
    place = sharding.batched(task.mesh) if shares else sharding.replicated(task.mesh)
    self._record = jax.device_put(task.held_out, place)

  def __call__(self, state: TrainState, step: int) -> dict[str, float]:
    """Returns the losses of the held-out samples, and writes a sheet of pictures."""
    stage = self._task.learner.stage
    found = self._evaluate(state, self._feature_net, self._record)
    first = lambda item: item[0] != steps.TOTAL
    scalars = sorted(found.scalars.items(), key=first)
    values = {name: float(value) for name, value in scalars}
    vertices = np.asarray(self._task.learner.regions.pose_points)
    sheet = pictures.sheet(found.pictures, low=vertices.min(0), high=vertices.max(0))
    path = self._task.root / "pictures" / f"{stage.name}_{step:06d}.png"
    pictures.save(path, sheet)
    self._writer.picture(step, sheet)
    self._writer.scalars(step, {f"held_out/{k}": v for k, v in values.items()})
    shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
    self._writer.say(f"{stage.name} {step} on held-out samples | {shown}")
    return values

  def metric(self, state: TrainState) -> float:
    """Returns the loss of the held-out samples that compares checkpoints."""
    found = self._evaluate(state, self._feature_net, self._record).scalars
    return float(found[self._task.plan.checkpoint.metric])

  def shapes(self, state: TrainState, step: int) -> None:
    """Logs the errors of the held-out heads beside those of the mean head."""
    if self._task.shapes is None:
      return
    errors = self._task.shapes(state.params)
    values = {f"held_out/{error.name}": error.value for error in errors}
    values |= {
      f"mean_head/{error.name}": error.baseline
      for error in errors
      if np.isfinite(error.baseline)
    }
    self._writer.scalars(step, values)
    shown = "; ".join(str(error) for error in errors)
    name = self._task.learner.stage.name
    self._writer.say(f"{name} {step} against known geometry | {shown}")


def _opened_summary(
  task: Task, first: int, evaluate: Callable[[], dict[str, float]]
) -> dict[str, Any]:
  """Writes and returns the summary with the losses before the stage."""
  stage = task.learner.stage
  before = workdir.read_summary(task.root, stage.name).get("eval_before")
  if first == 0 or before is None:
    before = evaluate() if first == 0 else None
  summary = {
    "stage": stage.name,
    "finished": False,
    "total_steps": task.plan.total_steps,
    "eval_before": before,
    "eval_after": None,
    **{key: value for key, value in task.meta.items() if key != "config"},
  }
  folder = workdir.stage_folder(task.root, stage.name)
  files.write_json(folder / workdir.SUMMARY, summary)
  return summary


def _log(meter: Meter, writer: Writer, clock: Clock, task: Task, step: int) -> None:
  """Averages, checks, writes and prints the scalars since the last time."""
  means, speed = meter.means(), clock.speed(step)
  writer.scalars(step, {**means, "images_per_second": speed})
  name, plan = task.learner.stage.name, task.plan
  writer.say(
    metrics.progress_line(name, step, plan.total_steps, means, speed, plan.batch_size)
  )
