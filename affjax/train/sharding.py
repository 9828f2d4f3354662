"""All shardings: which device holds which part of weights, optimizers and batches.

The devices form a mesh of two axes. Every device computes its share of each batch.
Along the axis "data" the weights are copied. Along the axis "model" large arrays of
weights and optimizer states are divided among the devices, which send each other their
parts when a step needs the whole (fully sharded data parallelism, FSDP).
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "model")

# Smaller arrays are copied: to divide them would save little and cost a message each.
_LEAST_DIVIDED = 2**14


@dataclasses.dataclass(frozen=True)
class MeshShape:
  """The devices that share a batch.

  Attributes:
    data: Number of copies of the weights; -1 = as many as the devices allow.
    model: Number of devices among which each copy of the weights is divided.
  """

  data: int = -1
  model: int = 1

  def __post_init__(self):
    if self.data < 1 and self.data != -1:
      raise ValueError(f"data must be -1 or at least 1, got {self.data}")
    if self.model < 1:
      raise ValueError(f"model must be at least 1, got {self.model}")


def make_mesh(shape: MeshShape | None = None) -> Mesh:
  """Returns a mesh over the devices of all processes; default: every one has a copy.

  Raises:
    ValueError: There are fewer devices, or several processes and some are left out.
  """
  shape = shape or MeshShape()
  # Devices of a process stay together: it loads one contiguous part of each batch, and
  # the axis "model", along which most is sent, lies on its fast links.
  devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
  data = max(1, len(devices) // shape.model) if shape.data == -1 else shape.data
  count = data * shape.model
  found = f"{len(devices)} devices"
  if jax.process_count() > 1:
    found += f" of {jax.process_count()} processes, of which none may be left out"
  if count > len(devices) or (jax.process_count() > 1 and count != len(devices)):
    raise ValueError(
      f"data x model must fit the {found}, got {shape.data} x {shape.model}"
    )
  if shape.data == -1 and count != len(devices):
    raise ValueError(
      f"model must divide the number of devices, got {shape.model} for {len(devices)}"
    )
  grid = np.array(devices[:count]).reshape(data, shape.model)
  # Auto: batched gathers raise on Explicit axes.
  return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * 2)


def require_divisible(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
  """Raises a ValueError unless every device gets the same number of samples."""
  if batch_size % (mesh.size * accumulate):
    parts = f" x {accumulate} accumulated parts" if accumulate > 1 else ""
    raise ValueError(
      f"batch_size must be a multiple of {mesh.size} devices{parts}, got {batch_size}; "
      "--config.mesh.data chooses the number of devices"
    )


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding in which every device holds everything."""
  return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
  """Returns the sharding that divides the leading axis among all devices."""
  return NamedSharding(mesh, PartitionSpec(AXES))


def of_array(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array of weights or optimizer states.

  The longest axis that can be divided is, if the array is large.
  """
  count = mesh.shape["model"]
  axes = [axis for axis, length in enumerate(shape) if length % count == 0]
  if count == 1 or math.prod(shape) < _LEAST_DIVIDED or not axes:
    return replicated(mesh)
  longest = max(axes, key=lambda axis: shape[axis])
  return NamedSharding(mesh, PartitionSpec(*[None] * longest, "model"))


def put_state(state: Any, mesh: Mesh) -> Any:
  """Returns a copy of a tree on the devices; the original may be donated or kept.

  Each process must give the same numbers.
  """
  put = lambda leaf: _put(leaf, of_array(np.shape(leaf), mesh))
  return jax.tree.map(put, state)


def put_batch(record: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Divides a record of stacked arrays among the devices.

  Args:
    record: The records of this process: in the order of the processes, those of all are
      the batch.
    mesh: The devices.
  """
  place = batched(mesh)
  if jax.process_count() == 1:
    return jax.device_put(record, place)
  put = lambda rows: jax.make_array_from_process_local_data(place, rows)
  return jax.tree.map(put, record)


def put_shared(record: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """Puts a record that every process has whole on the devices, divided if possible."""
  count = len(next(iter(record.values())))
  place = batched(mesh) if count % mesh.size == 0 else replicated(mesh)
  return jax.tree.map(lambda rows: _put(rows, place), record)


def divided(state: Any, mesh: Mesh) -> Any:
  """Inside of a program, divides arrays as `put_state` does."""
  divide = lambda leaf: jax.lax.with_sharding_constraint(
    leaf, of_array(leaf.shape, mesh)
  )
  return jax.tree.map(divide, state)


def gathered(tree: Any, mesh: Mesh) -> Any:
  """Inside of a program, gathers the parts of arrays that are divided."""
  return jax.lax.with_sharding_constraint(tree, replicated(mesh))


def fetched(tree: Any, mesh: Mesh) -> Any:
  """Returns a tree as NumPy arrays in every process, all of which must call this."""
  if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree)):
    return jax.device_get(tree)
  everywhere = jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)
  return jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), everywhere)


def _put(leaf: Any, place: NamedSharding) -> jax.Array:
  if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
    return jax.device_put(leaf, place)
  host = np.asarray(leaf)
  if place.is_fully_addressable:
    return jax.device_put(host, place, may_alias=False)
  return jax.make_array_from_callback(host.shape, place, lambda index: host[index])
