"""Data parallelism: the state on every device, each batch divided among them."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(device_count: int = 0) -> Mesh:
  """Returns a mesh of one axis over the first `device_count` devices (0 = all)."""
  devices = jax.devices()
  if not 0 <= device_count <= len(devices):
    raise ValueError(
      f"devices must lie in [0, {len(devices)}] (0 = all here), got {device_count}"
    )
  chosen = np.array(devices[: device_count or len(devices)])
  # Auto: batched gathers raise on the Explicit axes that jax.make_mesh makes.
  return Mesh(chosen, (AXIS,), axis_types=(AxisType.Auto,))


def require_divisible(batch_size: int, mesh: Mesh) -> None:
  """Raises a ValueError unless every device gets the same number of samples."""
  if batch_size % mesh.size:
    raise ValueError(
      f"batch_size must be a multiple of the number of devices, got {batch_size} for "
      f"{mesh.size}; choose fewer with --config.devices"
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding in which every device holds everything."""
  return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
  """Returns the sharding that divides the leading axis among the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def put_state(state: Any, mesh: Mesh) -> Any:
  """Returns a copy of a tree on every device; the original may be donated or kept."""
  return jax.device_put(jax.tree.map(np.asarray, state), replicated(mesh))


def put_batch(record: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Divides a record of stacked arrays among the devices."""
  return jax.device_put(record, batched(mesh))
