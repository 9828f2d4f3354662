"""Checkpoints of a stage: weights, optimizer, data position and description together.

Orbax writes a checkpoint in the background, beside its place, and renames it when it is
whole: a process may be killed at any moment. Then its checksums are written, and only
then the oldest checkpoint is removed. A checkpoint that turns out to be damaged is
passed over for the one before.
"""

import contextlib
import dataclasses
import errno
import functools
import logging
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import jax
import numpy as np
import orbax.checkpoint as ocp

from affjax import files
from affjax.train import checksums, processes, states, trees
from affjax.train.retention import Checkpointing, Kept
from affjax.train.states import Params, TrainState

_FOLDER, _DAMAGED = "checkpoints", "damaged"
_METRIC = "metric"
_LOG = logging.getLogger(__name__)

Found = TypeVar("Found")


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged or of other networks; one line, for the user."""


class DamageError(CheckpointError):
  """A checkpoint cannot be read; the one before may be whole."""


@dataclasses.dataclass(frozen=True)
class Saved:
  """A restored checkpoint.

  Attributes:
    step: Number of updates made.
    meta: The description given to `save`.
    state: The saved state.
  """

  step: int
  meta: dict[str, Any]
  state: TrainState


class Checkpoints:
  """The checkpoints in one stage's folder."""

  def __init__(self, folder: pathlib.Path, options: Checkpointing | None = None):
    """Opens a folder.

    Args:
      folder: Folder of a stage.
      options: Options of the checkpoints that are written; the first save makes the
        folder. `None` = checkpoints are only read, perhaps while another process
        trains.
    """
    self._stage = pathlib.Path(folder).absolute()
    self._folder = self._stage / _FOLDER
    self._read_only = options is None
    handlers: dict[str, Any] = {
      "params": ocp.StandardCheckpointHandler(),
      "training": ocp.StandardCheckpointHandler(),
      "meta": ocp.JsonCheckpointHandler(),
      # The position counts batches, so that it is the same in every process.
      "data": ocp.JsonCheckpointHandler("process_0-of-1.json"),
    }
    self._manager = ocp.CheckpointManager(
      self._folder,
      item_handlers=handlers,
      options=(
        # Orbax's own `read_only` warns about each option that it changes.
        ocp.CheckpointManagerOptions(
          create=False, enable_async_checkpointing=False, lightweight_initialize=True
        )
        if options is None
        else ocp.CheckpointManagerOptions(
          preservation_policy=Kept(options, lambda: self._metrics),
          cleanup_tmp_directories=True,
          # Metadata of a damaged checkpoint must not keep us from opening the others.
          lightweight_initialize=True,
          async_options=ocp.AsyncOptions(
            post_finalization_callback=self._add_checksums
          ),
        )
      ),
    )
    self._saving: int | None = None

  def latest(self) -> int | None:
    """Returns the step of the newest checkpoint, or `None`.

    Call `wait` before, so that one that is being written counts only when it is whole.
    """
    return self._manager.latest_step()

  def best(self) -> int | None:
    """Returns the step of the checkpoint with the lowest metric, or `None`."""
    return min(self._metrics, key=self._metrics.__getitem__, default=None)

  def save(
    self,
    state: TrainState,
    data: Iterator[Any],
    meta: dict[str, Any],
    metric: float | None = None,
  ) -> None:
    """Begins to save a state, the data iterator's position, and a JSON description.

    Returns when the state has been copied; training goes on while it is written. A
    step that has been saved stays as it is: there is no moment without it.

    Args:
      state: The state.
      data: The training iterator.
      meta: Description that JSON can hold.
      metric: Number by which the best checkpoints are chosen; lower is better.

    Raises:
      OSError: This checkpoint, or the one before it, could not be written.
    """
    self.wait()
    step = int(state.step)
    if step == self.latest():
      return
    self._saving = step
    position: Any = data  # Grain's iterators have one
    copied, metrics = states.exchanged(_copied(state)), self._metrics
    if metric is not None and math.isfinite(metric):
      meta = {**meta, _METRIC: metric}
      metrics[step] = metric
    with _writing(self._folder):
      self._manager.save(
        step,
        args=ocp.args.Composite(
          params=ocp.args.StandardSave(copied.params),
          training=ocp.args.StandardSave(_training(copied)),
          data=ocp.args.JsonSave(position.get_state()),
          meta=ocp.args.JsonSave(meta),
        ),
        force=True,
      )

  def wait(self) -> None:
    """Waits until the checkpoint that is being written is whole.

    Raises:
      OSError: It could not be written; those before it are as they were.
    """
    with _writing(self._folder):
      self._manager.wait_until_finished()

  def restore(self, like: TrainState, data: Iterator[Any] | None = None) -> Saved:
    """Reads the newest whole checkpoint and brings `data` to the position it had.

    Args:
      like: A state of the same structure, whose shardings the result gets.
      data: The training iterator, if it is to be continued.

    Raises:
      CheckpointError: There is none, or it is of other networks than `like`.
    """
    like, position = states.exchanged(like), cast(Any, data)

    def read(step: int) -> Saved:
      self._require(step, params=like.params, training=_training(like))
      found = self._restore(
        step,
        params=ocp.args.StandardRestore(_abstract(like.params)),
        training=ocp.args.StandardRestore(_abstract(_training(like))),
        data=ocp.args.JsonRestore(),
        meta=ocp.args.JsonRestore(),
      )
      if position is not None:
        position.set_state(found.data)
      state = TrainState(params=found.params, **found.training)
      return Saved(step=step, meta=found.meta, state=states.exchanged(state))

    return self._newest_whole(read)

  def restore_params(
    self, like: Params, *, best: bool = False
  ) -> tuple[Params, int, dict[str, Any]]:
    """Reads only the weights of a checkpoint, on one device.

    Args:
      like: Weights, or their shapes.
      best: Whether to read the checkpoint with the lowest metric, not the newest one.

    Returns:
      The weights, the number of updates they have had, and the description.

    Raises:
      CheckpointError: There is none, or it is damaged or of other networks than `like`.
    """

    def read(step: int) -> tuple[Params, int, dict[str, Any]]:
      self._require(step, params=like)
      args = ocp.args.StandardRestore(_abstract(like))
      found = self._restore(step, params=args, meta=ocp.args.JsonRestore())
      return found.params, step, found.meta

    if not best:
      return self._newest_whole(read)
    step = self.best()
    if step is None:
      raise CheckpointError(
        f"no checkpoint in {self._folder} has a metric (checkpoint.keep_best was 0)"
      )
    return read(step)

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    """Waits for the checkpoint that is being written."""
    try:
      with _writing(self._folder):
        self._manager.close()
    except OSError:
      # An error that ends the block says more than this one.
      if kind is None:
        raise

  def _newest_whole(self, read: Callable[[int], Found]) -> Found:
    """Returns what `read` returns for the newest checkpoint that is not damaged."""
    steps = sorted(self._manager.all_steps(), reverse=True)
    if not steps:
      raise CheckpointError(f"no checkpoint in {self._folder}")
    problems: list[str] = []
    for step in steps:
      try:
        found = read(step)
      except DamageError as error:
        problems.append(str(error))
        continue
      for problem in problems:
        _LOG.warning("%s; step %d is taken instead", problem, step)
      if not self._read_only:
        self._set_aside([later for later in steps if later > step])
      return found
    raise DamageError("; ".join(problems))

  def _set_aside(self, steps: list[int]) -> None:
    """Moves damaged checkpoints out of the way of the steps that come again."""
    processes.meet("damaged checkpoints are known")
    for step in steps if processes.is_first() else ():
      place = self._stage / _DAMAGED / str(step)
      place.parent.mkdir(exist_ok=True)
      files.replace_folder(self._folder / str(step), place)
    processes.meet("damaged checkpoints are moved")
    if steps:
      self._manager.reload()

  def _require(self, step: int, **items: Any) -> None:
    """Raises a CheckpointError unless a checkpoint is whole and of the right shapes."""
    where = self._folder / str(step)
    damage = checksums.first_damage(where)
    if damage:
      raise DamageError(f"checkpoint {where} is damaged: {damage}")
    try:
      items_found = self._manager.item_metadata(step)
      found = {name: trees.shapes(items_found[name].tree) for name in items}
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
      raise _damaged(where, error) from error
    differences = [
      line
      for name, like in items.items()
      for line in trees.differences(found[name], trees.shapes(like))
    ]
    if differences:
      raise CheckpointError(
        f"the weights in {where} are of another architecture: "
        f"{trees.listed(differences)}"
      )

  @functools.cached_property
  def _metrics(self) -> dict[int, float]:
    """The metric of each checkpoint that has one; reading them waits for a save."""
    found: dict[int, float] = {}
    for step in self._manager.all_steps():
      with contextlib.suppress(DamageError):
        meta = self._restore(step, meta=ocp.args.JsonRestore()).meta
        if _METRIC in meta:
          found[step] = meta[_METRIC]
    return found

  def _restore(self, step: int, **items: Any) -> Any:
    try:
      return self._manager.restore(step, args=ocp.args.Composite(**items))
    except (KeyError, TypeError, ValueError, OSError) as error:
      raise _damaged(self._folder / str(step), error) from error

  def _add_checksums(self) -> None:
    """Writes the checksums of the checkpoint that is about to get its final name."""
    if not processes.is_first():
      return
    for path in self._folder.glob(f"{self._saving}.*"):
      checksums.write(path)


def exists(folder: pathlib.Path) -> bool:
  """Returns whether a stage's folder holds checkpoints; makes nothing."""
  found = pathlib.Path(folder) / _FOLDER
  return found.is_dir() and any(entry.name.isdigit() for entry in found.iterdir())


def _copied(state: TrainState) -> TrainState:
  """Returns a copy that nothing else uses.

  The next update is donated the state while the checkpoint is written, and on CPUs host
  and device share memory.
  """

  def copied(leaf: jax.Array) -> jax.Array:
    return jax.device_put(leaf, leaf.sharding, may_alias=False)

  return jax.tree.map(copied, state)


def _training(state: TrainState) -> dict[str, Any]:
  """Returns all of a state but the weights, which other programs read alone."""
  fields = dataclasses.fields(state)
  return {f.name: getattr(state, f.name) for f in fields if f.name != "params"}


def _abstract(tree: Any) -> Any:
  """Returns the shapes, types and shardings of a tree."""

  def describe(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
      sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

  return jax.tree.map(describe, tree)


def _damaged(where: pathlib.Path, error: Exception) -> DamageError:
  return DamageError(f"cannot read the checkpoint {where}: {_first_line(error)}")


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
  """Turns each way in which Orbax and TensorStore fail to write into an OSError."""
  try:
    yield
  except (OSError, RuntimeError, ValueError) as error:
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(
      error
    )
    reason = "no space is left on the disk" if full else _first_line(error)
    raise OSError(f"cannot write a checkpoint into {folder}: {reason}") from error


def _first_line(error: Exception) -> str:
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return lines[0][:200]
