"""Wavefront OBJ: welded positions in meters, UV indices, one material for each group.

The writer is our own because OBJ can keep a vertex on a UV seam welded, while general
exporters split it.
"""

import numpy as np

from affjax.export import _head_mesh
from affjax.export._head_mesh import HeadMesh
from affjax.types import Template, per_template

# Blinn-Phong highlights: exponent and strength of each group; other groups are as skin.
_SHINE = {"skin": (20, 0.06), "eyes": (200, 0.5), "teeth": (80, 0.25)}


def obj_text(mesh: HeadMesh, *, mtl_name: str) -> str:
  """Returns the content of an `.obj` file.

  Positions are in meters, with the origin and the axes of the head (+x right, +y up, +z
  to the front); `vt` is (0, 0) at the bottom left of the texture, as OBJ defines it.

  Args:
    mesh: Head to write.
    mtl_name: Name of the material file in the same folder, without spaces.
  """
  template = mesh.template
  uvs, faces = _unchanging(template)
  parts = [
    f"# affjax: meters, +y up, the face looks along +z\nmtllib {mtl_name}\n",
    _rows("v %.6f %.6f %.6f", mesh.meters),
    uvs,
    _rows("vn %.4f %.4f %.4f", mesh.normals),
    faces,
  ]
  return "".join(parts)


def mtl_text(mesh: HeadMesh, *, texture_name: str) -> str:
  """Returns an `.mtl` file: the diffuse map on every group, shinier eyes and teeth."""
  lines = ["# affjax"]
  for name in _head_mesh.group_faces(mesh.template.faces, mesh.template):
    exponent, strength = _SHINE.get(name, _SHINE["skin"])
    lines += [
      f"newmtl {name}",
      "Ka 0 0 0",
      "Kd 1 1 1",
      f"Ks {strength} {strength} {strength}",
      f"Ns {exponent}",
      "d 1",
      "illum 2",
      f"map_Kd {texture_name}",
    ]
  return "\n".join(lines) + "\n"


@per_template
def _unchanging(template: Template) -> tuple[str, str]:
  """Returns the lines that all heads of a template share: UVs, and triangles."""
  # Indices start at 1; a normal has the index of its vertex.
  corner = np.stack([template.faces, template.faces_uv, template.faces], -1) + 1
  faces = [
    f"g {name}\nusemtl {name}\ns 1\n" + _rows("f" + " %d/%d/%d" * 3, triangles)
    for name, triangles in _head_mesh.group_faces(corner, template).items()
  ]
  return _rows("vt %.6f %.6f", template.uvs), "".join(faces)


def _rows(line: str, values: np.ndarray) -> str:
  """Returns a line for each row of numbers; all are formatted at once."""
  return f"{line}\n" * len(values) % tuple(values.ravel().tolist())
