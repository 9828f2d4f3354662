"""The container of binary glTF 2.0, and the numbers in it.

The writer is our own because trimesh's (5.2) stores the texture once for each material,
leaves `bufferView.target` and the sampler unset, writes a file that the validator
rejects when positions equal normals, and knows neither morph targets nor animations.
"""

import json
import struct
from typing import Any

import numpy as np

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_UINT16, _UINT32, _FLOAT32 = 5123, 5125, 5126
_VERTICES, _INDICES = 34962, 34963
# Lists of a document that are read or extended.
_LISTS = ("buffers", "bufferViews", "accessors", "nodes", "meshes", "animations")
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}


def file_bytes(document: dict[str, Any], data: bytes) -> bytes:
  """Returns the header, the JSON chunk padded with spaces, and the binary chunk."""
  text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
  text += b" " * (-len(text) % 4)
  length = 12 + 8 + len(text) + 8 + len(data)
  return b"".join(
    [
      struct.pack("<III", _MAGIC, 2, length),
      struct.pack("<II", len(text), _JSON),
      text,
      struct.pack("<II", len(data), _BIN),
      data,
    ]
  )


def parsed(content: bytes) -> tuple[dict[str, Any], bytes]:
  """Returns the JSON document and the binary chunk of a `.glb` file.

  Raises:
    ValueError: The content is not a whole glTF 2.0 file with one buffer inside of it.
  """
  if content and not content.startswith(struct.pack("<I", _MAGIC)[: len(content)]):
    raise ValueError("not a .glb file")
  try:
    magic, version, length = struct.unpack_from("<III", content)
    size, kind = struct.unpack_from("<II", content, 12)
    rest, second = struct.unpack_from("<II", content, 20 + size)
  except struct.error:
    raise ValueError("not a whole .glb file") from None
  if (magic, version, kind, second) != (_MAGIC, 2, _JSON, _BIN):
    raise ValueError("not a .glb file of glTF 2.0 with a binary chunk")
  if length != len(content) or 28 + size + rest > length:
    raise ValueError(f"not a whole .glb file: {len(content)} bytes of {length}")
  try:
    document = json.loads(content[20 : 20 + size])
  except (ValueError, RecursionError):
    raise ValueError("a .glb file whose document is no JSON") from None
  if not isinstance(document, dict):
    raise ValueError("a .glb file whose document is no object")
  for name in _LISTS:
    if not _is_list_of_objects(document.get(name, [])):
      raise ValueError(f"a .glb file whose {name} are no list of objects")
  if len(document.get("buffers", [])) != 1:
    raise ValueError("a .glb file must have one buffer")
  return document, content[28 + size : 28 + size + rest]


def _is_list_of_objects(value: Any) -> bool:
  return isinstance(value, list) and all(isinstance(item, dict) for item in value)


class Chunks:
  """A growing binary buffer with its views and accessors.

  Args:
    document: A document to continue, whose lists are extended.
    data: Its buffer.
  """

  def __init__(self, document: dict[str, Any] | None = None, data: bytes = b"") -> None:
    document = {} if document is None else document
    self.data = bytearray(data)
    self.views: list[dict[str, Any]] = document.setdefault("bufferViews", [])
    self.accessors: list[dict[str, Any]] = document.setdefault("accessors", [])

  def add_view(self, content: bytes, target: int | None = None) -> int:
    """Appends bytes at a multiple of four and returns the index of their view."""
    self.data += b"\0" * (-len(self.data) % 4)
    view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
    self.views.append(view if target is None else {**view, "target": target})
    self.data += content + b"\0" * (-len(content) % 4)
    return len(self.views) - 1

  def add_vertices(self, values: np.ndarray, *, bounds: bool = False) -> int:
    """Appends float32 vectors of vertices and returns the index of their accessor."""
    return self._add_floats(values, bounds, _VERTICES)

  def add_track(self, values: np.ndarray, *, bounds: bool = False) -> int:
    """Appends float32 numbers or vectors of an animation; returns their accessor."""
    return self._add_floats(values.reshape(len(values), -1), bounds, None)

  def add_target(self, moves: np.ndarray, *, least: float, bounds: bool) -> int:
    """Appends the displacements of a morph target and returns their accessor.

    Only vertices that move are stored where that takes fewer bytes.

    Args:
      moves: float32 vectors.
      least: Shorter vectors count as zero.
      bounds: Whether the accessor gets bounds, as positions need.
    """
    moves = np.ascontiguousarray(moves, "<f4")
    moved = np.flatnonzero((moves**2).sum(1) >= least**2)
    small = len(moves) <= 65535
    width = 14 if small else 16
    if width * len(moved) >= moves.nbytes:
      return self._add_floats(moves, bounds, _VERTICES)
    kept = np.zeros_like(moves)
    kept[moved] = moves[moved]
    accessor = _accessor(kept, bounds)
    if len(moved):
      indices = moved.astype("<u2" if small else "<u4")
      accessor["sparse"] = {
        "count": len(moved),
        "indices": {
          "bufferView": self.add_view(indices.tobytes()),
          "componentType": _UINT16 if small else _UINT32,
        },
        "values": {"bufferView": self.add_view(moves[moved].tobytes())},
      }
    self.accessors.append(accessor)
    return len(self.accessors) - 1

  def add_indices(self, triangles: np.ndarray, vertex_count: int) -> int:
    """Appends triangles, in 16 bits for each index where they suffice."""
    # 65535 itself means "primitive restart" in glTF.
    small = vertex_count < 65535
    values = np.ascontiguousarray(triangles.reshape(-1), "<u2" if small else "<u4")
    self.accessors.append(
      {
        "bufferView": self.add_view(values.tobytes(), _INDICES),
        "componentType": _UINT16 if small else _UINT32,
        "count": len(values),
        "type": "SCALAR",
      }
    )
    return len(self.accessors) - 1

  def _add_floats(self, values: np.ndarray, bounds: bool, target: int | None) -> int:
    values = np.ascontiguousarray(values, "<f4")
    view = self.add_view(values.tobytes(), target)
    self.accessors.append({"bufferView": view, **_accessor(values, bounds)})
    return len(self.accessors) - 1


def _accessor(values: np.ndarray, bounds: bool) -> dict[str, Any]:
  """Returns the accessor of float32 vectors, without the place of its numbers."""
  accessor = {
    "componentType": _FLOAT32,
    "count": len(values),
    "type": _KINDS[values.shape[1]],
  }
  if bounds:
    accessor["min"] = values.min(0).tolist()
    accessor["max"] = values.max(0).tolist()
  return accessor
