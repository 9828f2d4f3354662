"""Reads tensors from a .safetensors file, which is treated as hostile input.

The format: a little-endian uint64 header length, a JSON header `{name: {"dtype",
"shape", "data_offsets": [begin, end]}}`, then the tensors' bytes.
"""

import json
import math
import pathlib

import numpy as np

_DTYPES = {
  "F64": "<f8",
  "F32": "<f4",
  "F16": "<f2",
  "BF16": "<u2",
  "I64": "<i8",
  "I32": "<i4",
  "I16": "<i2",
  "I8": "|i1",
  "U8": "|u1",
  "BOOL": "|b1",
}
# The format's own limit.
_MAX_HEADER = 100_000_000


def read(path: pathlib.Path, *, prefix: str = "") -> dict[str, np.ndarray]:
  """Tensors whose names begin with `prefix`; bfloat16 becomes float32.

  Raises:
    ValueError: the file breaks the format anywhere that was looked at.
  """
  size = path.stat().st_size
  with path.open("rb") as file:
    header_size = int.from_bytes(file.read(8), "little")
    if size < 8 or header_size > min(size - 8, _MAX_HEADER):
      raise ValueError(f"{path} is truncated or not a safetensors file")
    entries = _header(file.read(header_size), path)
    tensors = {}
    for name, entry in entries.items():
      if name == "__metadata__" or not name.startswith(prefix):
        continue
      dtype, shape, begin, end = _checked(entry, name, size - 8 - header_size, path)
      file.seek(8 + header_size + begin)
      array = np.frombuffer(file.read(end - begin), dtype).reshape(shape)
      if entry["dtype"] == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
      tensors[name] = array
  return tensors


def _header(text: bytes, path: pathlib.Path) -> dict:
  try:
    header = json.loads(text)
  # A deeply nested header runs into the recursion limit.
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} has a damaged safetensors header") from error
  if not isinstance(header, dict):
    raise ValueError(f"{path} has a safetensors header that is not an object")
  return header


def _checked(entry, name: str, data_size: int, path: pathlib.Path):
  """`(dtype, shape, begin, end)` of a header entry that fits the file."""
  match entry:
    case {
      "dtype": str(dtype),
      "shape": [*shape],
      "data_offsets": [int(begin), int(end)],
    } if dtype in _DTYPES and all(type(n) is int and n >= 0 for n in shape):
      dtype = np.dtype(_DTYPES[dtype])
      if 0 <= begin <= end <= data_size and end - begin == dtype.itemsize * math.prod(
        shape
      ):
        return dtype, shape, begin, end
  raise ValueError(f"{path}: tensor {name!r} has a type, shape or place that can't be")
