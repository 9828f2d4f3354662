"""Several processes that train together, each with its own devices."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from affjax.train import sharding

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Processes:
  """The processes of a run, which all run the same command.

  Attributes:
    coordinator: "" = this process alone; "auto" = as JAX finds in the environment of
      SLURM, Open MPI, GKE or a TPU; or HOST:PORT of process 0.
    count: Number of processes, for HOST:PORT.
    index: Number of this process, from 0, for HOST:PORT.
  """

  coordinator: str = ""
  count: int = 0
  index: int = -1

  def __post_init__(self):
    if self.coordinator in ("", AUTO):
      if self.count or self.index != -1:
        raise ValueError(
          f"processes = {self.count} and process = {self.index} need coordinator = "
          f"HOST:PORT, got {self.coordinator!r}"
        )
    elif not (self.count >= 1 and 0 <= self.index < self.count):
      raise ValueError(
        f"coordinator {self.coordinator!r} needs processes >= 1 and process in [0, "
        f"processes), got {self.count} and {self.index}"
      )

  def connect(self) -> None:
    """Waits for all processes; before anything else uses JAX.

    Raises:
      ValueError: The environment does not say which processes there are, or they do
        not come together.
    """
    if not self.coordinator:
      return
    try:
      if self.coordinator == AUTO:
        jax.distributed.initialize()
      else:
        jax.distributed.initialize(self.coordinator, self.count, self.index)
    except (RuntimeError, ValueError) as error:
      raise ValueError(f"the processes did not connect: {error}") from error

  def disconnect(self) -> None:
    """Waits until all processes are done."""
    if self.coordinator:
      jax.distributed.shutdown()


def is_first() -> bool:
  """Returns whether this process writes logs and pictures."""
  return jax.process_index() == 0


def meet(name: str) -> None:
  """Waits until all processes are here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)


class Vote:
  """A question that all processes answer alike: yes, once one of them says yes.

  Of several processes the answer comes one step late, so that the devices need not be
  waited for.
  """

  def __init__(self, mesh: Mesh):
    self._mesh = mesh
    self._before: Any = None
    everywhere = sharding.replicated(mesh)
    self._any = jax.jit(lambda said: said.any(), out_shardings=everywhere)

  def __call__(self, said: bool) -> bool:
    """Returns the answer; every process must ask at every step."""
    if jax.process_count() == 1:
      return said
    local = np.full(self._mesh.local_mesh.size, said)
    place = sharding.batched(self._mesh)
    before, self._before = (
      self._before,
      self._any(jax.make_array_from_process_local_data(place, local)),
    )
    return before is not None and bool(np.asarray(before))
