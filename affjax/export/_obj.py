"""Wavefront OBJ: welded positions in meters, UV indices, one material for each group.

The writer is our own because OBJ can keep a vertex on a UV seam welded, while general
exporters split it.
"""

import numpy as np

from affjax.export import _head_mesh
from affjax.export._head_mesh import HeadMesh

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
  lines = ["# affjax: meters, +y up, the face looks along +z", f"mtllib {mtl_name}"]
  lines += _rows("v", mesh.meters, 6)
  lines += _rows("vt", template.uvs, 6)
  lines += _rows("vn", mesh.normals, 4)
  # Indices start at 1; a normal has the index of its vertex.
  corner = np.stack([template.faces, template.faces_uv, template.faces], -1) + 1
  for name, triangles in _head_mesh.group_faces(corner, template).items():
    lines += [f"g {name}", f"usemtl {name}", "s 1"]
    lines += [
      "f " + " ".join(f"{v}/{t}/{n}" for v, t, n in triangle)
      for triangle in triangles.tolist()
    ]
  return "\n".join(lines) + "\n"


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


def _rows(key: str, values: np.ndarray, digits: int) -> list[str]:
  """Returns a line for each row of numbers."""
  return [
    f"{key} " + " ".join(f"{x:.{digits}f}" for x in row) for row in values.tolist()
  ]
