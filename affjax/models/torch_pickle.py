"""Interprets the pickle of a PyTorch state dict as data, never as a program.

A pickle is a program for a stack machine; its instruction REDUCE calls any function
that it names. Python's own unpickler, even with an allow list, gives such a program
real objects to work on. This interpreter has no objects but dicts, lists, tuples,
numbers, strings and the descriptions below, and no call but the few that it imitates.
"""

import dataclasses
import pickletools
from typing import Any

import numpy as np

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
    dtype: little-endian NumPy type.
    key: its name in the file.
    count: number of elements.
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


@dataclasses.dataclass(frozen=True)
class _Global:
  """A name that the pickle mentions, "module name"; nothing is imported."""

  name: str


class _Mark:
  """Where on the stack the items of a tuple, list or dict begin."""


def load(data: bytes, storages: dict[str, StorageRef] | None = None):
  """The value that a pickle describes, and the pickle's length in bytes.

  Args:
    data: begins with a pickle; what follows its end is ignored.
    storages: takes every storage that the pickle mentions, by key.

  Raises:
    ValueError: the pickle is damaged or does anything that a state dict does not need.
  """
  machine = _Machine({} if storages is None else storages)
  for opcode, argument, position in pickletools.genops(data):
    if opcode.name == "STOP":
      return machine.pop(), (position or 0) + 1
    machine.do(opcode.name, argument)
  raise ValueError("its pickle has no end")


class _Machine:
  """Stack and memo of a pickle, and the instructions that a state dict uses."""

  def __init__(self, storages: dict[str, StorageRef]):
    self.storages = storages
    self.stack: list[Any] = []
    self.memo = {}

  def do(self, instruction: str, argument):
    """Carries out one instruction."""
    if instruction in _LITERALS:
      self.stack.append(argument)
    elif instruction in _FRESH:
      self.stack.append(_FRESH[instruction]())
    elif instruction in _ACTIONS:
      _ACTIONS[instruction](self, argument)
    elif instruction not in _IGNORED:
      raise ValueError(f"its pickle uses {instruction}, which no state dict needs")

  def pop(self, kind: type = object) -> Any:
    """Takes the top of the stack, which must be of a kind."""
    value = self.top(kind)
    self.stack.pop()
    return value

  def top(self, kind: type = object) -> Any:
    """Looks at the top of the stack, which must be of a kind."""
    if not self.stack or not isinstance(self.stack[-1], kind):
      wanted = kind.__name__.strip("_").lower()
      raise ValueError(f"its pickle is damaged: no {wanted} on the stack")
    if isinstance(self.stack[-1], _Mark) and kind is not _Mark:
      raise ValueError("its pickle is damaged: a mark is no value")
    return self.stack[-1]

  def pop_items(self) -> list:
    """Takes everything down to the last mark."""
    items = []
    while not (self.stack and isinstance(self.stack[-1], _Mark)):
      items.append(self.pop())
    self.stack.pop()
    return items[::-1]

  def put(self, key):
    """Remembers the top of the stack."""
    self.memo[key] = self.top()

  def get(self, key):
    """Pushes what was remembered."""
    if key not in self.memo:
      raise ValueError("its pickle reads a value that it never stored")
    self.stack.append(self.memo[key])

  def push_tuple(self, length: int):
    """Packs the top of the stack."""
    self.stack.append(tuple([self.pop() for _ in range(length)][::-1]))

  def append(self, items: list):
    """Adds items to the list below them."""
    self.top(list).extend(items)

  def set_items(self, items: list):
    """Adds keys and values, alternating, to the dict below them."""
    if len(items) % 2:
      raise ValueError("its pickle is damaged: a key without a value")
    _update(self.top(dict), zip(items[::2], items[1::2], strict=True))

  def push_global(self, name: str):
    """Pushes a name that PyTorch's files mention."""
    if name not in _STORAGE_DTYPES and name not in _CALLS:
      raise ValueError(
        f"its pickle wants {name.replace(' ', '.')[:80]!r}, but only tensors are read"
      )
    self.stack.append(_Global(name))

  def push_storage(self, description: tuple):
    """Pushes the storage that a persistent id describes."""
    match description:
      case ("storage", _Global(name), str(key), str(), int(count), *view) if (
        name in _STORAGE_DTYPES and count >= 0 and view in ([], [None])
      ):
        ref = StorageRef(np.dtype(_STORAGE_DTYPES[name]), key, count)
      case _:
        raise ValueError("its pickle refers to something that is not a storage")
    if self.storages.setdefault(key, ref) != ref:
      raise ValueError("its pickle describes one storage in two ways")
    self.stack.append(ref)

  def reduce(self, arguments: tuple):
    """Imitates a call."""
    name = self.pop(_Global).name
    if name not in _CALLS:
      raise ValueError(f"its pickle wants to call {name.replace(' ', '.')!r}")
    self.stack.append(_CALLS[name](arguments))

  def build(self):
    """Drops an OrderedDict's attributes: `_metadata`, the versions of modules."""
    self.pop(dict)
    self.top(dict)


def _update(target: dict, pairs):
  for key, value in pairs:
    if not isinstance(key, str | int):
      raise ValueError("its pickle has a dict with keys other than names and numbers")
    target[key] = value


def _ordered_dict(arguments: tuple) -> dict:
  """`collections.OrderedDict()`, or of a list of pairs."""
  result = {}
  match arguments:
    case ():
      pass
    case ([*pairs],) if all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
      _update(result, pairs)
    case _:
      raise ValueError("its pickle makes a dict of something strange")
  return result


def _tensor(arguments: tuple) -> TensorRef:
  """`_rebuild_tensor(storage, offset, shape, strides, ...)`."""
  match arguments:
    case (StorageRef() as storage, int(offset), tuple(shape), tuple(strides), *_) if (
      len(shape) == len(strides)
      and all(
        type(number) is int and number >= 0 for number in (offset, *shape, *strides)
      )
    ):
      return TensorRef(storage, offset, shape, strides)
  raise ValueError("its pickle has a tensor without a proper storage, shape or strides")


def _parameter(arguments: tuple) -> TensorRef:
  """`_rebuild_parameter(tensor, ...)`."""
  if not (arguments and isinstance(arguments[0], TensorRef)):
    raise ValueError("its pickle has a parameter that is not a tensor")
  return arguments[0]


_CALLS = {
  "collections OrderedDict": _ordered_dict,
  "torch._utils _rebuild_tensor": _tensor,
  "torch._utils _rebuild_tensor_v2": _tensor,
  "torch._utils _rebuild_parameter": _parameter,
}
_IGNORED = frozenset({"PROTO", "FRAME"})
_LITERALS = frozenset(
  {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
  | {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
)
_FRESH = {
  "MARK": _Mark,
  "EMPTY_TUPLE": tuple,
  "EMPTY_LIST": list,
  "EMPTY_DICT": dict,
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
}
_ACTIONS = {
  "BINPUT": lambda machine, key: machine.put(key),
  "LONG_BINPUT": lambda machine, key: machine.put(key),
  "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
  "BINGET": lambda machine, key: machine.get(key),
  "LONG_BINGET": lambda machine, key: machine.get(key),
  "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_items())),
  "TUPLE1": lambda machine, _: machine.push_tuple(1),
  "TUPLE2": lambda machine, _: machine.push_tuple(2),
  "TUPLE3": lambda machine, _: machine.push_tuple(3),
  "APPEND": lambda machine, _: machine.append([machine.pop()]),
  "APPENDS": lambda machine, _: machine.append(machine.pop_items()),
  "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
  "SETITEMS": lambda machine, _: machine.set_items(machine.pop_items()),
  "GLOBAL": lambda machine, name: machine.push_global(name),
  "STACK_GLOBAL": lambda machine, _: machine.push_global(
    " ".join([machine.pop(str), machine.pop(str)][::-1])
  ),
  "BINPERSID": lambda machine, _: machine.push_storage(machine.pop(tuple)),
  "REDUCE": lambda machine, _: machine.reduce(machine.pop(tuple)),
  "BUILD": lambda machine, _: machine.build(),
}
