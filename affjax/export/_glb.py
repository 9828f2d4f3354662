"""Binary glTF 2.0: one mesh in meters, one texture, one material for each group.

The writer is our own because trimesh's (5.2) stores the texture once for each material,
leaves `bufferView.target` and the sampler unset, and writes a file that the validator
rejects when positions equal normals.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from affjax.export import _head_mesh
from affjax.export._head_mesh import HeadMesh

_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942
_UINT16, _UINT32, _FLOAT32 = 5123, 5125, 5126
_VERTICES, _INDICES = 34962, 34963
_CLAMP, _LINEAR, _LINEAR_MIPMAP_LINEAR = 33071, 9729, 9987

_ROUGHNESS = {"skin": 0.55, "eyes": 0.12, "teeth": 0.3}


def glb_bytes(
  mesh: HeadMesh, *, texture_png: bytes, extras: Mapping[str, Any]
) -> bytes:
  """Returns the content of a `.glb` file.

  The head is upright in its own space: the origin is its center, +y is up, and the face
  looks along +z, as glTF demands. Pose and camera can be given as `extras` of its node.

  Args:
    mesh: Head to write.
    texture_png: Base color as a PNG file, sRGB, row 0 at v = 1.
    extras: JSON-able facts that are attached to the node of the head.
  """
  corners = _head_mesh.split_at_seams(mesh.template)
  uvs = mesh.template.uvs[corners.uv].astype(np.float32)
  chunks = _Chunks()
  attributes = {
    "POSITION": chunks.add_vertices(mesh.meters[corners.vertex], bounds=True),
    "NORMAL": chunks.add_vertices(mesh.normals[corners.vertex]),
    # glTF's v grows downwards.
    "TEXCOORD_0": chunks.add_vertices(np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1)),
  }
  groups = _head_mesh.group_faces(corners.faces, mesh.template)
  primitives = [
    {
      "attributes": attributes,
      "indices": chunks.add_indices(triangles, len(corners.vertex)),
      "material": k,
      "mode": 4,
    }
    for k, triangles in enumerate(groups.values())
  ]
  document = {
    "asset": {"version": "2.0", "generator": "affjax"},
    "scene": 0,
    "scenes": [{"name": "head", "nodes": [0]}],
    "nodes": [{"name": "head", "mesh": 0, "extras": dict(extras)}],
    "meshes": [{"name": "head", "primitives": primitives}],
    "materials": [_material(name) for name in groups],
    "textures": [{"sampler": 0, "source": 0}],
    "images": [
      {
        "name": "diffuse",
        "mimeType": "image/png",
        "bufferView": chunks.add_view(texture_png),
      }
    ],
    "samplers": [
      {
        "magFilter": _LINEAR,
        "minFilter": _LINEAR_MIPMAP_LINEAR,
        "wrapS": _CLAMP,
        "wrapT": _CLAMP,
      }
    ],
    "accessors": chunks.accessors,
    "bufferViews": chunks.views,
    "buffers": [{"byteLength": len(chunks.data)}],
  }
  return _container(document, bytes(chunks.data))


def _material(name: str) -> dict[str, Any]:
  """Returns a dielectric material whose base color is the diffuse map."""
  return {
    "name": name,
    "pbrMetallicRoughness": {
      "baseColorTexture": {"index": 0},
      "metallicFactor": 0.0,
      "roughnessFactor": _ROUGHNESS.get(name, _ROUGHNESS["skin"]),
    },
  }


def _container(document: dict[str, Any], data: bytes) -> bytes:
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


class _Chunks:
  """A growing binary buffer with its views and accessors."""

  def __init__(self) -> None:
    self.data = bytearray()
    self.views: list[dict[str, Any]] = []
    self.accessors: list[dict[str, Any]] = []

  def add_view(self, content: bytes, target: int | None = None) -> int:
    """Appends bytes at a multiple of four and returns the index of their view."""
    view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
    self.views.append(view if target is None else {**view, "target": target})
    self.data += content + b"\0" * (-len(content) % 4)
    return len(self.views) - 1

  def add_vertices(self, values: np.ndarray, *, bounds: bool = False) -> int:
    """Appends float32 vectors and returns the index of their accessor."""
    values = np.ascontiguousarray(values, "<f4")
    accessor = {
      "bufferView": self.add_view(values.tobytes(), _VERTICES),
      "componentType": _FLOAT32,
      "count": len(values),
      "type": f"VEC{values.shape[1]}",
    }
    if bounds:
      accessor["min"] = values.min(0).tolist()
      accessor["max"] = values.max(0).tolist()
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
