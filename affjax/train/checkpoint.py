"""Checkpoints of a stage: weights, optimizer, data position and description together.

Orbax writes each checkpoint beside its place and renames it, and saving waits until
that is done: a process may be killed at any moment and the newest checkpoint is whole.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from affjax.train.states import Params, TrainState

_KEPT = 2
_FOLDER = "checkpoints"


class CheckpointError(ValueError):
  """A checkpoint is missing, damaged or of other networks; one line, for the user."""


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

  def __init__(self, folder: pathlib.Path):
    """Opens a folder, which the first save makes."""
    self._folder = pathlib.Path(folder).absolute() / _FOLDER
    handlers: dict[str, Any] = {
      "params": ocp.StandardCheckpointHandler(),
      "training": ocp.StandardCheckpointHandler(),
      "meta": ocp.JsonCheckpointHandler(),
    }
    # Weights can be read without affjax[train].
    with contextlib.suppress(ImportError):
      import grain

      handlers["data"] = grain.checkpoint.CheckpointHandler()
    self._manager = ocp.CheckpointManager(
      self._folder,
      item_handlers=handlers,
      options=ocp.CheckpointManagerOptions(
        max_to_keep=_KEPT,
        cleanup_tmp_directories=True,
        # With donated states, and on CPU where host and device share memory, nothing
        # may still be reading a state when the next step begins.
        enable_async_checkpointing=False,
      ),
    )

  def latest(self) -> int | None:
    """Returns the step of the newest complete checkpoint, or `None`."""
    return self._manager.latest_step()

  def save(self, state: TrainState, data: Iterator[Any], meta: dict[str, Any]) -> None:
    """Saves a state, the data iterator's position, and a JSON description.

    A step that has been saved stays as it is: there is no moment without it.
    """
    import grain

    step = int(state.step)
    if step == self.latest():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        params=ocp.args.StandardSave(state.params),
        training=ocp.args.StandardSave(_training(state)),
        data=grain.checkpoint.CheckpointSave(data),
        meta=ocp.args.JsonSave(meta),
      ),
      force=True,
    )

  def restore(self, like: TrainState, data: Iterator[Any]) -> Saved:
    """Reads the newest checkpoint and brings `data` to the position it had.

    Args:
      like: A state of the same structure, whose shardings the result gets.
      data: The iterator to continue.

    Raises:
      CheckpointError: There is none, or it is damaged or of other networks than `like`.
    """
    import grain

    step = self._newest()
    require_shapes(self._shapes(step), like.params, str(self._folder))
    found = self._restore(
      step,
      params=ocp.args.StandardRestore(_abstract(like.params)),
      training=ocp.args.StandardRestore(_abstract(_training(like))),
      data=grain.checkpoint.CheckpointRestore(data),
      meta=ocp.args.JsonRestore(),
    )
    state = TrainState(params=found.params, **found.training)
    return Saved(step=step, meta=found.meta, state=state)

  def restore_params(self, like: Params) -> Params:
    """Reads only the weights of the newest checkpoint, on one device.

    Raises:
      CheckpointError: There is none, or it is damaged or of other networks than `like`.
    """
    step = self._newest()
    require_shapes(self._shapes(step), like, str(self._folder))
    args = ocp.args.StandardRestore(_abstract(like))
    return self._restore(step, params=args).params

  def meta(self) -> dict[str, Any]:
    """Reads the description in the newest checkpoint."""
    step = self._newest()
    return self._restore(step, meta=ocp.args.JsonRestore()).meta

  def _newest(self) -> int:
    step = self.latest()
    if step is None:
      raise CheckpointError(f"no checkpoint in {self._folder}")
    return step

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *_: object) -> None:
    self._manager.close()

  def _shapes(self, step: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each weight in a checkpoint without reading it."""
    try:
      tree = self._manager.item_metadata(step)["params"]
      return {
        _name(path): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree.tree)
      }
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
      raise _damaged(self._folder / str(step), error) from error

  def _restore(self, step: int, **items: Any) -> Any:
    try:
      return self._manager.restore(step, args=ocp.args.Composite(**items))
    except (KeyError, TypeError, ValueError, OSError) as error:
      raise _damaged(self._folder / str(step), error) from error


def exists(folder: pathlib.Path) -> bool:
  """Returns whether a stage's folder holds checkpoints; makes nothing."""
  found = pathlib.Path(folder) / _FOLDER
  return found.is_dir() and any(entry.name.isdigit() for entry in found.iterdir())


def require_shapes(found: dict[str, tuple[int, ...]], like: Params, where: str) -> None:
  """Raises a CheckpointError that names the first weight of another shape, if any.

  Args:
    found: Shape of each stored weight.
    like: Weights of the shapes that are needed.
    where: The folder, for the message.
  """
  wanted = {
    _name(path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(like)
  }
  for name in sorted(wanted | found):
    has, needs = found.get(name), wanted.get(name)
    if has != needs:
      has, needs = has or "no such weight", needs or "no such weight"
      raise CheckpointError(
        f"the weights in {where} are of another architecture: {name} has {has} there, "
        f"the config makes it {needs}"
      )


def _training(state: TrainState) -> dict[str, Any]:
  """Returns all of a state but the weights, which other programs read alone."""
  fields = dataclasses.fields(state)
  return {f.name: getattr(state, f.name) for f in fields if f.name != "params"}


def _abstract(tree: Any) -> Any:
  """Returns the shapes, types and shardings of a tree."""

  def describe(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
      sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

  return jax.tree.map(describe, tree)


def _name(path: tuple[Any, ...]) -> str:
  return "/".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def _damaged(where: pathlib.Path, error: Exception) -> CheckpointError:
  first = str(error).strip().splitlines() or [type(error).__name__]
  return CheckpointError(
    f"cannot read the checkpoint {where}: {first[0][:200]}; delete that folder to fall "
    "back to the one before"
  )
