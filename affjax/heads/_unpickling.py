"""Reads pickled dicts of arrays, such as FLAME's files, without running anything.

`affjax.assets.pickled` interprets the pickle. This module lists the names that it may
mention: NumPy's arrays and numbers, SciPy's sparse matrices, and chumpy's `Ch`, a
wrapped array. Other objects are reduced to the name of their class.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.sparse

from affjax.assets import pickled
from affjax.assets.pickled import Global, Machine

_CH = "chumpy.ch Ch"
_SPARSE = {
  f"scipy.sparse{module} {layout}_{kind}": layout
  for layout in ("csc", "csr")
  for module in ("", f".{layout}", f"._{layout}")
  for kind in ("matrix", "array")
}


@dataclasses.dataclass(eq=False)
class _Shell:
  """An object of the pickle; the instruction BUILD sets its state."""

  name: str
  state: Any = None


def load(data: bytes) -> dict[str, Any]:
  """Returns the dict of arrays in a pickle.

  Args:
    data: a pickle of protocol 2 or later, also of Python 2.

  Returns:
    NumPy arrays, SciPy matrices, numbers and strings; chumpy's arrays become NumPy's,
    and sets become lists. Arrays in nested lists and dicts are not converted.

  Raises:
    ValueError: the pickle is damaged, or requests anything but arrays.
  """
  machine = Machine(
    calls=_CALLS,
    names=_CLASSES,
    actions={
      "BUILD": _build,
      "NEWOBJ": _new_object,
      "EMPTY_SET": lambda machine, _: machine.stack.append([]),
      "ADDITEMS": lambda machine, _: machine.append(machine.pop_items()),
      "BYTEARRAY8": lambda machine, content: machine.stack.append(bytes(content)),
    },
    purpose="dict of arrays",
    content="arrays",
  )
  value, _ = machine.run(data)
  if not isinstance(value, dict):
    raise ValueError(f"its pickle holds a {type(value).__name__}, not a dict")
  return {str(key): _filled(item) for key, item in value.items()}


def _filled(value: Any) -> Any:
  """The value of a shell."""
  if not isinstance(value, _Shell):
    return value
  state = value.state
  if value.name == "array" and isinstance(state, np.ndarray):
    return state
  if (
    value.name == _CH and isinstance(state, dict) and isinstance(state.get("x"), _Shell)
  ):
    return _filled(_Shell("array", state["x"].state))
  if value.name in _SPARSE and isinstance(state, dict):
    return _sparse(_SPARSE[value.name], state)
  raise ValueError(f"its pickle has an unfinished {value.name.replace(' ', '.')}")


def _sparse(layout: str, state: dict[str | int, Any]) -> Any:
  """A sparse matrix from its attributes."""
  parts = [_filled(state.get(key)) for key in ("data", "indices", "indptr")]
  shape = state.get("_shape", state.get("shape"))
  if not (all(isinstance(part, np.ndarray) for part in parts) and _is_shape(shape, 2)):
    raise ValueError("its pickle has a sparse matrix without data, indices or shape")
  # The constructor checks that indices lie within the shape.
  make = scipy.sparse.csc_matrix if layout == "csc" else scipy.sparse.csr_matrix
  matrix = make(tuple(parts), shape=shape)
  matrix.check_format(full_check=True)
  return matrix


def _is_shape(shape: Any, length: int | None = None) -> bool:
  return (
    isinstance(shape, tuple)
    and all(type(side) is int and side >= 0 for side in shape)
    and length in (None, len(shape))
  )


def _build(machine: Machine, _: Any) -> None:
  """Gives the object on the stack its state."""
  state = machine.pop()
  target = machine.top(_Shell)
  if target.name == "dtype":
    target.state = _ordered_dtype(target.state, state)
  elif target.name == "array":
    match state:
      case (int(), shape, _Shell("dtype", dtype), bool() | 0 | 1 as columns, content):
        target.state = _array(content, dtype, shape, "F" if columns else "C")
      case _:
        raise ValueError("its pickle has an array without a type, shape or content")
  elif isinstance(state, dict):
    target.state = state
  else:
    raise ValueError(f"its pickle gives {target.name!r} a state that is not a dict")


def _new_object(machine: Machine, _: Any) -> None:
  """Imitates `cls.__new__(cls)`; no class that is read needs the arguments."""
  machine.pop(tuple)
  machine.stack.append(_Shell(machine.pop(Global).name))


def _array(content: Any, dtype: np.dtype | None, shape: Any, order: Any) -> np.ndarray:
  """An array from its bytes."""
  if isinstance(content, str):
    # Python 2's strings are bytes; the interpreter reads them as Latin 1.
    content = content.encode("latin-1")
  if not isinstance(content, bytes) or dtype is None:
    raise ValueError("its pickle has an array of objects, not of numbers")
  if not _is_shape(shape) or order not in ("C", "F"):
    # The shape itself is not shown: lists within lists may have no end.
    raise ValueError("its pickle has an array whose shape is no tuple of lengths")
  if math.prod(shape) * dtype.itemsize != len(content):
    raise ValueError(
      f"its pickle has an array of shape {shape} and type {dtype} in {len(content)} "
      "bytes"
    )
  return np.frombuffer(content, dtype).reshape(shape, order=order)


def _dtype(arguments: tuple[Any, ...]) -> _Shell:
  """`numpy.dtype(code, align, copy)`."""
  match arguments:
    case (str(code), *_) if code[:1] in tuple("biuf") and code[1:] in ("1", *"248"):
      return _Shell("dtype", np.dtype(code))
    case (str(code), *_) if code[:1] in tuple("OSU"):
      return _Shell("dtype", None)
  raise ValueError("its pickle has an array of a type that is no number")


def _ordered_dtype(dtype: np.dtype | None, state: Any) -> np.dtype | None:
  """A number type with the byte order of its state."""
  match state:
    case (int(), "<" | ">" | "|" as order, *_):
      return None if dtype is None else dtype.newbyteorder(order)
  raise ValueError("its pickle has a number type without a byte order")


def _scalar(arguments: tuple[Any, ...]) -> Any:
  """`numpy.core.multiarray.scalar(dtype, bytes)`."""
  match arguments:
    case (_Shell("dtype", dtype), content):
      return _array(content, dtype, (), "C")[()]
  raise ValueError("its pickle has a number without a type")


def _from_buffer(arguments: tuple[Any, ...]) -> _Shell:
  """`numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`, protocol 5."""
  match arguments:
    case (content, _Shell("dtype", dtype), shape, order):
      return _Shell("array", _array(content, dtype, shape, order))
  raise ValueError("its pickle has an array without a type, shape or content")


def _empty_array(arguments: tuple[Any, ...]) -> _Shell:
  """`numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")`."""
  match arguments:
    case (Global("numpy ndarray"), *_):
      return _Shell("array")
  raise ValueError("its pickle has an array of a strange class")


def _reconstructed(arguments: tuple[Any, ...]) -> _Shell:
  """`copy_reg._reconstructor(cls, object, None)`: an object of protocols 0 and 1."""
  match arguments:
    case (Global(name), Global("__builtin__ object" | "builtins object"), None):
      return _Shell(name)
  raise ValueError("its pickle makes an object of something strange")


def _encoded(arguments: tuple[Any, ...]) -> bytes:
  """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes in protocol 2."""
  match arguments:
    case (str(text), "latin1"):
      return text.encode("latin-1")
  raise ValueError("its pickle encodes something strange")


def _no_bytes(arguments: tuple[Any, ...]) -> bytes:
  """`bytes()`: how Python 3 writes no bytes in protocol 2."""
  if arguments:
    raise ValueError("its pickle makes bytes of something strange")
  return b""


def _items(arguments: tuple[Any, ...]) -> list[Any]:
  """`set(items)`, as a list."""
  match arguments:
    case ([*items],):
      return items
  raise ValueError("its pickle makes a set of something strange")


_CLASSES = frozenset(
  {"numpy ndarray", "__builtin__ object", "builtins object", _CH, *_SPARSE}
)
_CALLS = {
  "collections OrderedDict": pickled.ordered_dict,
  "numpy dtype": _dtype,
  "_codecs encode": _encoded,
  "__builtin__ bytes": _no_bytes,
  "__builtin__ set": _items,
  "builtins set": _items,
  "copy_reg _reconstructor": _reconstructed,
  "copyreg _reconstructor": _reconstructed,
} | {
  # NumPy 2 gave `core` its underscore.
  f"numpy.{core}.{name}": call
  for core in ("core", "_core")
  for name, call in (
    ("multiarray _reconstruct", _empty_array),
    ("multiarray scalar", _scalar),
    ("numeric _frombuffer", _from_buffer),
  )
}
