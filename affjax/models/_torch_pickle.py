"""Interprets the pickle of a PyTorch state dict as data, never as a program.

`affjax.assets.pickled` is the interpreter. This module lists what a state dict may
mention: storages and tensors, which become the descriptions below.
"""

import dataclasses
from typing import Any

import numpy as np

from affjax.assets import pickled
from affjax.assets.pickled import Global, Machine

_STORAGE_DTYPES = {
  "torch DoubleStorage": "<f8",
  "torch FloatStorage": "<f4",
  "torch HalfStorage": "<f2",
  "torch LongStorage": "<i8",
  "torch IntStorage": "<i4",
  "torch ShortStorage": "<i2",
  "torch CharStorage": "|i1",
  "torch ByteStorage": "|u1",
  "torch BoolStorage": "|b1",
}


@dataclasses.dataclass(frozen=True)
class StorageRef:
  """A one-dimensional run of numbers elsewhere in the file.

  Attributes:
    dtype: Little-endian NumPy type.
    key: Name in the file.
    count: Number of elements.
  """

  dtype: np.dtype
  key: str
  count: int

  @property
  def nbytes(self) -> int:
    """Length in bytes."""
    return self.count * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class TensorRef:
  """A strided view of a storage; offset and strides count elements, from 0 up."""

  storage: StorageRef
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def load(data: bytes, storages: dict[str, StorageRef] | None = None) -> tuple[Any, int]:
  """Returns the value that a pickle describes, and the pickle's length in bytes.

  Args:
    data: Bytes that begin with a pickle; those after its end are ignored.
    storages: Receives every storage that the pickle mentions, by key.

  Raises:
    ValueError: The pickle is damaged or does anything that a state dict does not need.
  """
  known = {} if storages is None else storages
  machine = Machine(
    calls=_CALLS,
    names=_STORAGE_DTYPES.keys(),
    actions={
      "BINPERSID": lambda machine, _: _push_storage(machine, known),
      "BUILD": lambda machine, _: _build(machine),
    },
    purpose="state dict",
    content="tensors",
  )
  return machine.run(data)


def _push_storage(machine: Machine, storages: dict[str, StorageRef]) -> None:
  """Pushes the storage that a persistent id describes."""
  match machine.pop(tuple):
    case ("storage", Global(name), str(key), str(), int(count), *view) if (
      name in _STORAGE_DTYPES and count >= 0 and view in ([], [None])
    ):
      ref = StorageRef(np.dtype(_STORAGE_DTYPES[name]), key, count)
    case _:
      raise ValueError("its pickle refers to something that is not a storage")
  if storages.setdefault(key, ref) != ref:
    raise ValueError("its pickle describes one storage in two ways")
  machine.stack.append(ref)


def _build(machine: Machine) -> None:
  """Drops an OrderedDict's attributes: `_metadata`, the versions of modules."""
  machine.pop(dict)
  machine.top(dict)


def _tensor(arguments: tuple[Any, ...]) -> TensorRef:
  """Interprets `_rebuild_tensor(storage, offset, shape, strides, ...)`."""
  match arguments:
    case (StorageRef() as storage, int(offset), tuple(shape), tuple(strides), *_) if (
      len(shape) == len(strides)
      and all(
        type(number) is int and number >= 0 for number in (offset, *shape, *strides)
      )
    ):
      return TensorRef(storage, offset, shape, strides)
  raise ValueError("its pickle has a tensor without a proper storage, shape or strides")


def _parameter(arguments: tuple[Any, ...]) -> TensorRef:
  """Interprets `_rebuild_parameter(tensor, ...)`."""
  if not (arguments and isinstance(arguments[0], TensorRef)):
    raise ValueError("its pickle has a parameter that is not a tensor")
  return arguments[0]


_CALLS = {
  "collections OrderedDict": pickled.ordered_dict,
  "torch._utils _rebuild_tensor": _tensor,
  "torch._utils _rebuild_tensor_v2": _tensor,
  "torch._utils _rebuild_parameter": _parameter,
}
