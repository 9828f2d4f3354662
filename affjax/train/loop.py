"""The one training loop."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from jax.sharding import Mesh

from affjax import files
from affjax.models import FeatureNet
from affjax.train import (
  discriminators,
  inspection,
  interrupt,
  metrics,
  processes,
  sharding,
  steps,
  workdir,
)
from affjax.train.checkpoint import Checkpoints
from affjax.train.failures import Failure
from affjax.train.held_out import HeldOut, HeldOutEvaluator
from affjax.train.lock import Lock
from affjax.train.metrics import Clock, Meter, NonFiniteError, Writer
from affjax.train.processes import Vote
from affjax.train.retention import Checkpointing
from affjax.train.shapes import ShapeEvaluator
from affjax.train.start import Start
from affjax.train.states import TrainState
from affjax.train.steps import Learner, Record
from affjax.train.terminal import Length, Terminal


class DataError(ValueError):
  """A training sample cannot be read; one line, for the user."""


@dataclasses.dataclass(frozen=True)
class Log:
  """Options of the log.

  Attributes:
    every: Steps between two progress lines and points on the curves.
    pictures_every: Steps between two sheets of pictures; 0 = only before and after the
      stage.
    inspect_every: Steps between two looks at each loss term, its weight and the norm of
      its gradient, and at light against albedo; 0 = never. Each costs a backward pass
      for each term, and the first one a compilation.
    shapes_every: Steps between two comparisons of the held-out samples with their
      known geometry, as `affjax evaluate` does them, beside the mean head; 0 = never.
    histograms_every: Steps between two histograms of the weights of each layer that
      trains and of the held-out samples' maps; 0 = never.
    tensorboard: Whether to write event files, too.
  """

  every: int = 50
  pictures_every: int = 1000
  shapes_every: int = 0
  inspect_every: int = 0
  histograms_every: int = 0
  tensorboard: bool = True

  def __post_init__(self):
    if self.every < 1:
      raise ValueError(f"every must be at least 1, got {self.every}")
    for name in ("pictures", "shapes", "inspect", "histograms"):
      name = f"{name}_every"
      if getattr(self, name) < 0:
        raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Plan:
  """The length of a stage, and how often it reports and saves.

  Attributes:
    total_steps: Number of updates of the stage.
    epoch_steps: Number of updates in which each sample is seen once.
    batch_size: Photos in a batch.
    log: Options of the log.
    checkpoint: Options of the checkpoints.
  """

  total_steps: int
  epoch_steps: int
  batch_size: int
  log: Log
  checkpoint: Checkpointing

  def __post_init__(self):
    for name in ("total_steps", "epoch_steps", "batch_size"):
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

  def held_out_samples(self) -> HeldOut:
    """Returns the held-out samples with the feature network on the devices."""
    feature_net = sharding.put_state(self.feature_net, self.mesh)
    return HeldOut(self.learner, self.mesh, self.held_out, feature_net, self.shapes)

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
    if processes.is_first():
      print(f"{stage.name}: complete since step {first}; nothing to do", flush=True)
    return Outcome(first, True, None, done)
  with (
    Checkpoints(folder, plan.checkpoint) as checkpoints,
    Writer(
      folder,
      Terminal(Length(stage.name, plan.total_steps, plan.epoch_steps)),
      resumed_at=first,
      tensorboard=plan.log.tensorboard,
    ) as writer,
    interrupt.watched() as asked,
  ):
    writer.say(f"{stage.name}: starts from {task.start.origin}")
    for note in task.start.notes:
      writer.say(f"{stage.name}: {note}")
    state = sharding.put_state(task.start.state, task.mesh)
    held_out = task.held_out_samples()
    evaluator = HeldOutEvaluator(held_out, writer, task.root / "pictures")
    summary = _opened_summary(task, first, lambda: evaluator(state, first))
    if first == 0 and plan.log.shapes_every:
      evaluator.shapes(state, first)
    with _saying_what_is_saved(stage.name, checkpoints):
      updates = _Updates(task, held_out.feature_net, checkpoints, writer, evaluator)
      state, report = updates.run(state, asked)
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
  _write_summary(folder, summary)
  processes.meet("the stage has ended")
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


class _Updates:
  """The updates of a stage, with all that they report and save."""

  def __init__(
    self,
    task: Task,
    feature_net: FeatureNet | None,
    checkpoints: Checkpoints,
    writer: Writer,
    evaluator: HeldOutEvaluator,
  ):
    self._task, self._plan, self._feature_net = task, task.plan, feature_net
    self._checkpoints, self._writer, self._evaluator = checkpoints, writer, evaluator
    self._meter, self._clock = Meter(), Clock(task.plan.batch_size)
    self._watch, self._vote = discriminators.Watch(), Vote(task.mesh)
    self._began = time.monotonic()

  def run(
    self, state: TrainState, asked: interrupt.Interrupt
  ) -> tuple[TrainState, dict[str, float]]:
    """Makes all updates up to the last one or a signal; returns state and speed."""
    task, plan, mesh = self._task, self._plan, self._task.mesh
    update = steps.make_update(task.learner, mesh)
    inspect = inspection.make_inspect(task.learner, mesh)
    step = first = int(state.step)
    recent: dict[int, Record] = {}
    try:
      for step in range(first + 1, plan.total_steps + 1):
        record = sharding.put_batch(_next_record(task.data, step), mesh)
        recent = {step: record, **{k: r for k, r in recent.items() if k == step - 1}}
        if _due(step, plan.log.inspect_every):
          found = inspect(state, self._feature_net, record)
          self._writer.scalars(step, {k: float(v) for k, v in found.items()})
        state, scalars = update(state, self._feature_net, record)
        self._meter.add(step, scalars)
        # One step ahead keeps the device busy; more would only delay a signal.
        self._meter.check(behind=1)
        self._clock.tick(step - 1)
        self._show(step - 1)
        stop = self._vote(bool(asked)) or step == plan.total_steps
        self._report(state, step, stop=stop)
        if stop:
          break
    except NonFiniteError as error:
      record = sharding.fetched(recent[error.step], mesh)
      raise self._saved_failure(error, state, record) from error
    speed = round(self._clock.speed(step), 2)
    return state, {"seconds": self._seconds(), "images_per_second": speed}

  def _report(self, state: TrainState, step: int, *, stop: bool) -> None:
    """Logs and saves what is due after a step."""
    task, plan = self._task, self._plan
    if stop or _due(step, plan.log.every):
      self._log(step)
    if stop or _due(step, plan.checkpoint.every):
      self._meter.check()
      metric = None
      if plan.checkpoint.keep_best:
        metric = self._evaluator.metric(state, plan.checkpoint.metric)
      described = task.description(self._seconds())
      self._checkpoints.save(state, task.data, described, metric)
    if _due(step, plan.log.pictures_every) and not stop:
      self._evaluator(state, step)
    if _due(step, plan.log.shapes_every):
      self._evaluator.shapes(state, step)
    if _due(step, plan.log.histograms_every):
      self._evaluator.histograms(state, step)

  def _show(self, step: int) -> None:
    """Moves the bar on the terminal to a step that is known to be computed."""
    terms = (steps.TOTAL, *self._task.learner.stage.weights.active)
    losses = {k: v for k, v in self._meter.newest.items() if k in terms}
    self._writer.terminal.show(step, losses, self._clock.speed(step))

  def _log(self, step: int) -> None:
    """Averages, checks, writes and prints the scalars since the last time."""
    means, speed = self._meter.means(), self._clock.speed(step)
    self._writer.scalars(step, {**means, "images_per_second": speed})
    name, plan = self._task.learner.stage.name, self._plan
    self._writer.say(
      metrics.progress_line(name, step, plan.total_steps, means, speed, plan.batch_size)
    )
    warning = self._watch(step, means)
    if warning:
      self._writer.say(f"{name}: {warning}")

  def _seconds(self) -> float:
    return round(self._task.start.seconds + time.monotonic() - self._began, 1)

  def _saved_failure(
    self, error: NonFiniteError, state: TrainState, record: Record
  ) -> NonFiniteError:
    """Writes a failed step and returns the error with a hint at it."""
    task, name = self._task, self._task.learner.stage.name
    failure = Failure(
      error.step, str(error), self._plan.total_steps, record, task.meta["config"]
    )
    folder = workdir.stage_folder(task.root, name)
    try:
      there = failure.save(folder, state, task.data, task.description(self._seconds()))
    except OSError as problem:
      return NonFiniteError(f"{error} (the batch is lost: {problem})", error.step)
    return NonFiniteError(f"{error} (affjax replay {there})", error.step)


def _due(step: int, every: int) -> bool:
  return every > 0 and step % every == 0


def _next_record(data: Iterator[Record], step: int) -> Record:
  try:
    return next(data)
  except (OSError, ValueError) as error:
    raise DataError(f"no data for step {step}: {error}") from error


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
  _write_summary(workdir.stage_folder(task.root, stage.name), summary)
  return summary


def _write_summary(folder: pathlib.Path, summary: dict[str, Any]) -> None:
  if processes.is_first():
    files.write_json(folder / workdir.SUMMARY, summary)
