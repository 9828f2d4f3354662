"""Stanford PLY, binary: positions in meters, normals, UVs and colors of vertices."""

import numpy as np
from jaxtyping import Float

from affjax.export import _head_mesh, _images
from affjax.export._head_mesh import HeadMesh

_FLOATS = ("x", "y", "z", "nx", "ny", "nz", "s", "t")
_COLORS = ("red", "green", "blue")


def ply_bytes(
  mesh: HeadMesh, *, diffuse: Float[np.ndarray, "s s 3"], texture_name: str
) -> bytes:
  """Returns the content of a `.ply` file.

  The mesh is cut along its UV seams. Axes are those of the head: +x right, +y up, +z to
  the front; `(s, t)` is (0, 0) at the bottom left of the texture.

  Args:
    mesh: Head to write.
    diffuse: Diffuse map, which gives the colors of the vertices.
    texture_name: Name of the texture in the same folder, which MeshLab reads.
  """
  corners = _head_mesh.split_at_seams(mesh.template)
  uvs = mesh.template.uvs[corners.uv]
  fields = [(name, "<f4") for name in _FLOATS] + [(name, "u1") for name in _COLORS]
  vertices = np.zeros(len(uvs), fields)
  numbers = (mesh.meters[corners.vertex], mesh.normals[corners.vertex], uvs)
  for name, column in zip(_FLOATS, np.concatenate(numbers, 1).T, strict=True):
    vertices[name] = column
  for name, column in zip(_COLORS, _colors(diffuse, uvs).T, strict=True):
    vertices[name] = column
  faces = np.zeros(len(corners.faces), [("count", "u1"), ("corners", "<i4", 3)])
  faces["count"], faces["corners"] = 3, corners.faces
  header = [
    "ply",
    "format binary_little_endian 1.0",
    "comment affjax: meters, +y up, the face looks along +z",
    f"comment TextureFile {texture_name}",
    f"element vertex {len(vertices)}",
    *(f"property float {name}" for name in _FLOATS),
    *(f"property uchar {name}" for name in _COLORS),
    f"element face {len(faces)}",
    "property list uchar int vertex_indices",
    "end_header\n",
  ]
  return "\n".join(header).encode() + vertices.tobytes() + faces.tobytes()


def _colors(
  diffuse: Float[np.ndarray, "s s 3"], uvs: Float[np.ndarray, "p 2"]
) -> np.ndarray:
  """Returns the color of the texel under each UV, uint8 `[P, 3]`."""
  size = len(diffuse)
  row = np.clip((1 - uvs[:, 1]) * size, 0, size - 1).astype(int)
  column = np.clip(uvs[:, 0] * size, 0, size - 1).astype(int)
  return _images.to_uint8(diffuse[row, column])
