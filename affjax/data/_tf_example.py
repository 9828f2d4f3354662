"""A codec of `tf.train.Example` without TensorFlow.

The message maps names to lists, here of bytes or of float32, in the wire format of
protocol buffers (https://protobuf.dev/programming-guides/encoding). Every training
sample is parsed, so this parser copies nothing: values are views of the input.
"""

import struct
from collections.abc import Iterator, Mapping

import numpy as np

Value = bytes | memoryview | np.ndarray

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_BYTES, _FLOAT = 1, 2


def pack(features: Mapping[str, bytes | np.ndarray]) -> bytes:
  """Returns features as a message; the same features give the same bytes.

  Args:
    features: Bytes, or float32 vectors, by name.

  Raises:
    ValueError: A value has another type.
  """
  entries = []
  for name in sorted(features):
    value = features[name]
    if isinstance(value, bytes):
      feature = _field(_BYTES, _field(1, value))
    elif isinstance(value, np.ndarray) and value.dtype == np.float32:
      feature = _field(_FLOAT, _field(1, value.astype("<f4").tobytes()))
    else:
      raise ValueError(f"feature {name!r} must be bytes or float32, got {type(value)}")
    entries.append(_field(1, _field(1, name.encode()) + _field(2, feature)))
  return _field(1, b"".join(entries))


def unpack(data: bytes) -> dict[str, Value]:
  """Returns the features of a message: bytes as views, floats as float32 vectors.

  Lists of bytes must have one element, as TFDS writes features without a sequence.

  Raises:
    ValueError: The bytes are no such message.
  """
  found = {}
  for number, features in _fields(memoryview(data)):
    if number != 1:
      raise ValueError(f"example has an unknown field {number}")
    for inner, entry in _fields(_nested(features)):
      if inner != 1:
        raise ValueError(f"features have an unknown field {inner}")
      parts = dict(_fields(_nested(entry)))
      name = _name(parts.get(1))
      if name in found:
        raise ValueError(f"feature {name!r} occurs twice")
      found[name] = _value(name, _nested(parts.get(2)))
  return found


def _value(name: str, feature: memoryview) -> Value:
  kinds = list(_fields(feature))
  if len(kinds) != 1:
    raise ValueError(f"feature {name!r} must hold one list, got {len(kinds)}")
  kind, packed = kinds[0]
  values = list(_fields(_nested(packed)))
  if any(number != 1 for number, _ in values):
    raise ValueError(f"feature {name!r} has an unknown field")
  items = [value for _, value in values]
  if kind == _BYTES:
    if len(items) != 1 or not isinstance(items[0], memoryview):
      raise ValueError(f"feature {name!r} must hold one string, got {len(items)}")
    return items[0]
  if kind == _FLOAT:
    return _floats(name, items)
  raise ValueError(f"feature {name!r} must hold bytes or floats, got kind {kind}")


def _floats(name: str, items: list[memoryview | int]) -> np.ndarray:
  """Returns floats that are packed, as is usual, or stored one by one."""
  pieces = []
  for item in items:
    if isinstance(item, int):
      item = memoryview(struct.pack("<I", item & 0xFFFFFFFF))
    if len(item) % 4:
      raise ValueError(f"feature {name!r} holds {len(item)} bytes of float32")
    pieces.append(np.frombuffer(item, "<f4"))
  return pieces[0] if len(pieces) == 1 else np.concatenate([*pieces, np.zeros(0, "f4")])


def _name(value: memoryview | int | None) -> str:
  try:
    return bytes(_nested(value)).decode()
  except UnicodeDecodeError as error:
    raise ValueError(f"the name of a feature is no UTF-8 text: {error}") from error


def _nested(value: memoryview | int | None) -> memoryview:
  if not isinstance(value, memoryview):
    raise ValueError(f"a nested message is missing; found {value!r}")
  return value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
  """Yields number and value of each field of a message."""
  place, end = 0, len(data)
  while place < end:
    key, place = _varint(data, place)
    kind, number = key & 7, key >> 3
    if kind == _LENGTH:
      length, place = _varint(data, place)
      if length > end - place:
        raise ValueError(f"a field of {length} bytes ends after the message")
      yield number, data[place : place + length]
      place += length
    elif kind == _VARINT:
      value, place = _varint(data, place)
      yield number, value
    elif kind in (_FIXED32, _FIXED64):
      length = 4 if kind == _FIXED32 else 8
      if length > end - place:
        raise ValueError("a number ends after the message")
      yield number, int.from_bytes(data[place : place + length], "little")
      place += length
    else:
      raise ValueError(f"wire type {kind} is not supported")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
  """Returns a number stored as seven bits a byte, and the place after it."""
  value = shift = 0
  while place < len(data) and shift < 64:
    byte = data[place]
    value |= (byte & 0x7F) << shift
    place, shift = place + 1, shift + 7
    if byte < 0x80:
      return value, place
  raise ValueError("a number has no end")


def _field(number: int, value: bytes) -> bytes:
  """Returns a field of bytes, preceded by its key and length."""
  return _number(number << 3 | _LENGTH) + _number(len(value)) + value


def _number(value: int) -> bytes:
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)
