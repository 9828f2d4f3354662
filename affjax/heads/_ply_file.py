"""A bounded reader of PLY files: vertices and polygons, ASCII and binary."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from affjax.heads._obj_file import MAX_BYTES, MAX_CORNERS, MAX_ROWS

_TYPES = {
  **dict.fromkeys(("char", "int8"), "i1"),
  **dict.fromkeys(("uchar", "uint8"), "u1"),
  **dict.fromkeys(("short", "int16"), "i2"),
  **dict.fromkeys(("ushort", "uint16"), "u2"),
  **dict.fromkeys(("int", "int32"), "i4"),
  **dict.fromkeys(("uint", "uint32"), "u4"),
  **dict.fromkeys(("float", "float32"), "f4"),
  **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


class PlyError(ValueError):
  """A file is not a usable PLY; the message names the file."""


@dataclasses.dataclass(frozen=True)
class _Header:
  """What the first lines of a file declare.

  Attributes:
    order: Byte order of numbers, "" for text.
    vertices: Number of vertices.
    fields: Names and types of a vertex's numbers.
    faces: Number of faces.
    lists: Types of the length and of the members of a face's list.
    start: Offset of the data, bytes.
  """

  order: str
  vertices: int
  fields: Sequence[tuple[str, str]]
  faces: int
  lists: tuple[str, str]
  start: int


def read_ply(
  path: str | pathlib.Path,
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"]]:
  """Reads vertices and triangles; polygons are cut as fans, other data is ignored.

  Raises:
    FileNotFoundError: There is no such file.
    PlyError: The file is too large or cut short, is no PLY, or has numbers that are not
      finite, indices out of range, or no faces.
  """
  path = pathlib.Path(path)
  if path.stat().st_size > MAX_BYTES:
    raise PlyError(f"{path}: at most {MAX_BYTES} bytes are read")
  data = path.read_bytes()
  try:
    header = _header(data)
    read = _binary if header.order else _text
    points, faces = read(data[header.start :], header)
  except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
    raise PlyError(f"{path}: {error}") from None
  if not np.isfinite(points).all():
    raise PlyError(f"{path}: vertices must be finite")
  if not len(faces):
    raise PlyError(f"{path}: no faces")
  if faces.min() < 0 or faces.max() >= len(points):
    raise PlyError(f"{path}: a face names a vertex beyond the {len(points)}")
  return points, faces.astype(np.int32)


def _header(data: bytes) -> _Header:
  end = data.find(b"end_header")
  if not data.startswith(b"ply") or not 0 <= end < 65_536:
    raise ValueError("not a PLY file")
  elements: list[tuple[str, int, list[list[str]]]] = []
  order = ""
  for words in (line.split() for line in data[:end].decode("ascii").splitlines()):
    if words[:1] == ["format"]:
      order = _ORDERS[words[1]]
    elif words[:1] == ["element"]:
      elements.append((words[1], int(words[2]), []))
    elif words[:1] == ["property"]:
      elements[-1][2].append(words[1:])
  if [name for name, _, _ in elements[:2]] != ["vertex", "face"]:
    raise ValueError("elements must be vertex, then face")
  (_, vertices, fields), (_, faces, lists) = elements[:2]
  if not 0 <= vertices <= MAX_ROWS or not 0 <= faces <= MAX_ROWS:
    raise ValueError(f"at most {MAX_ROWS} rows of a kind are read")
  if len(lists) != 1 or lists[0][0] != "list" or lists[0][3][:6] != "vertex":
    raise ValueError("faces must have one property, the list vertex_indices")
  return _Header(
    order,
    vertices,
    [(name, _TYPES[kind]) for kind, name in fields],
    faces,
    (_TYPES[lists[0][1]], _TYPES[lists[0][2]]),
    data.index(b"\n", end) + 1,
  )


def _text(data: bytes, header: _Header) -> tuple[np.ndarray, np.ndarray]:
  numbers = np.array(data.split(), np.float64)
  width = len(header.fields)
  split = header.vertices * width
  rows = numbers[:split].reshape(header.vertices, width)
  names = [name for name, _ in header.fields]
  points = rows[:, [names.index(axis) for axis in "xyz"]]
  return points, _fans(numbers[split:], header.faces)


def _binary(data: bytes, header: _Header) -> tuple[np.ndarray, np.ndarray]:
  record = np.dtype([(name, header.order + kind) for name, kind in header.fields])
  rows = np.frombuffer(data, record, header.vertices)
  points = np.stack([rows[axis].astype(np.float64) for axis in "xyz"], -1)
  length, member = (np.dtype(header.order + kind) for kind in header.lists)
  rest = data[header.vertices * record.itemsize :]
  triangle = np.dtype([("n", length), ("corners", member, (3,))])
  if len(rest) >= header.faces * triangle.itemsize:
    table = np.frombuffer(rest, triangle, header.faces)
    if (table["n"] == 3).all():
      return points, table["corners"].astype(np.int64)
  numbers, at = [], 0
  for _ in range(header.faces):
    count = int(np.frombuffer(rest, length, 1, at)[0])
    at += length.itemsize
    numbers += [count, *np.frombuffer(rest, member, _checked(count), at).tolist()]
    at += count * member.itemsize
  return points, _fans(np.array(numbers), header.faces)


def _fans(numbers: np.ndarray, faces: int) -> np.ndarray:
  """Returns triangles of polygons, each its number of corners and then these."""
  triangles = []
  at = 0
  for _ in range(faces):
    count = _checked(int(numbers[at]))
    corners = numbers[at + 1 : at + 1 + count].astype(np.int64)
    if len(corners) < count:
      raise ValueError("the file is cut short")
    triangles += [(corners[0], *corners[k : k + 2]) for k in range(1, count - 1)]
    at += 1 + count
  return np.array(triangles, np.int64).reshape(-1, 3)


def _checked(count: int) -> int:
  if not 3 <= count <= MAX_CORNERS:
    raise ValueError(f"a face has {count} corners, expected 3 to {MAX_CORNERS}")
  return count
