"""The batch and the state at which a loss or gradient was not finite.

runs/a/stage3/failed/1234/batch.npz       records of the step
runs/a/stage3/failed/1234/failure.json    step, message, length of the stage, config
runs/a/stage3/failed/1234/checkpoints/    the state before the step
"""

import dataclasses
import io
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from affjax import files
from affjax.train import inspection, processes, sharding, steps, workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.retention import Checkpointing
from affjax.train.states import TrainState
from affjax.train.steps import Learner
from affjax.train.workdir import WorkdirError

_FOLDER, _BATCH, _ABOUT = "failed", "batch.npz", "failure.json"


@dataclasses.dataclass(frozen=True, eq=False)
class Failure:
  """A step that failed.

  Attributes:
    step: Number of the step.
    message: Name and value of the number that was not finite.
    total_steps: Length of the stage.
    record: Records of the step, those of all processes.
    config: Config of the stage, as JSON holds it.
  """

  step: int
  message: str
  total_steps: int
  record: dict[str, np.ndarray]
  config: dict[str, Any]

  def save(
    self,
    stage_folder: pathlib.Path,
    state: TrainState,
    data: Iterator[Any],
    meta: dict[str, Any],
  ) -> pathlib.Path:
    """Writes the failure and returns its folder; every process must call this.

    Args:
      stage_folder: Folder of the stage.
      state: The state before the step.
      data: The training iterator.
      meta: Description of the checkpoint.

    Raises:
      OSError: It cannot be written.
    """
    folder = stage_folder / _FOLDER / str(self.step)
    folder.mkdir(parents=True, exist_ok=True)
    if processes.is_first():
      archive, arrays = io.BytesIO(), cast(Any, self.record)
      np.savez_compressed(archive, **arrays)
      files.write_file(folder / _BATCH, archive.getvalue())
      about = {k: v for k, v in vars(self).items() if k != "record"}
      files.write_json(folder / _ABOUT, about)
    with Checkpoints(folder, Checkpointing(keep_best=0)) as checkpoints:
      checkpoints.save(state, data, meta)
    return folder


def read(folder: pathlib.Path) -> Failure:
  """Reads a failure.

  Raises:
    WorkdirError: The folder does not hold one, or it is damaged.
  """
  about = workdir.read_json(folder / _ABOUT)
  try:
    with np.load(folder / _BATCH, allow_pickle=False) as archive:
      record = {name: archive[name] for name in archive.files}
    return Failure(record=record, **about)
  except (
    EOFError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise WorkdirError(f"cannot read {folder / _BATCH}: {error}") from error


def replay(
  failure: Failure,
  folder: pathlib.Path,
  learner: Learner,
  like: TrainState,
  feature_net: Any,
  mesh: Mesh,
) -> dict[str, float]:
  """Makes the step again and returns all that it reports; writes nothing.

  Args:
    failure: The failure.
    folder: Its folder.
    learner: The parts of the step.
    like: A state of the same structure.
    feature_net: Network of the perceptual losses, or `None`.
    mesh: The devices.
  """
  with Checkpoints(folder) as checkpoints:
    saved = checkpoints.restore(like).state
  saved = dataclasses.replace(saved, healthy=jnp.ones((), bool))
  state = sharding.put_state(saved, mesh)
  feature_net = sharding.put_state(feature_net, mesh)
  record = sharding.put_shared(failure.record, mesh)
  found = inspection.make_inspect(learner, mesh)(state, feature_net, record)
  _, scalars = steps.make_update(learner, mesh)(state, feature_net, record)
  return {name: float(value) for name, value in {**scalars, **found}.items()}
