"""Binary glTF 2.0 of a head: meters, one texture, morph targets, eyes that turn."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from affjax.export import _expression, _head_mesh
from affjax.export._expression import Expression, Eye
from affjax.export._gltf_file import Chunks, file_bytes
from affjax.export._head_mesh import HeadMesh

_CLAMP, _LINEAR, _LINEAR_MIPMAP_LINEAR = 33071, 9729, 9987
_ROUGHNESS = {"skin": 0.55, "eyes": 0.12, "teeth": 0.3}
# Smaller displacements (meters) and changes of normals are left out of morph targets.
_LEAST_MOVE, _LEAST_BEND = 1e-5, 5e-3
_ORIGIN = np.zeros(3)


def glb_bytes(
  mesh: HeadMesh,
  *,
  texture_png: bytes,
  extras: Mapping[str, Any],
  expression: Expression | None = None,
) -> bytes:
  """Returns the content of a `.glb` file.

  The head is upright in its own space: the origin is its center, +y is up, and the face
  looks along +z, as glTF demands. Pose and camera can be given as `extras` of its node.

  With `expression`, its units become morph targets, named in `extras.targetNames` of
  the mesh, and its weights the default weights of the mesh. Eyeballs that turn are the
  nodes `eyeLeft` and `eyeRight`, whose `extras.turns` holds the rotation (axis-angle,
  radians) at weight 1 of each gaze unit.

  Args:
    mesh: Head to write; with `expression`, the neutral head.
    texture_png: Base color as a PNG file, sRGB, row 0 at v = 1.
    extras: JSON-able facts that are attached to the node of the head.
    expression: Expression units and their weights.
  """
  parts = _Parts(mesh, Chunks())
  eyes = [] if expression is None else _expression.find_eyes(mesh, expression)
  number = np.zeros(len(mesh.vertices), int)
  for k, eye in enumerate(eyes, start=1):
    number[eye.vertices] = k
  head: dict[str, Any] = {"name": "head", "mesh": 0, "extras": dict(extras)}
  if eyes:
    head["children"] = list(range(1, 1 + len(eyes)))
  meshes = [parts.mesh("head", number == 0, expression=expression)]
  nodes = [head]
  for k, eye in enumerate(eyes, start=1):
    assert expression is not None
    center = eye.center * mesh.meters_per_unit
    meshes.append(parts.mesh(f"eye{eye.side}", number == k, center=center))
    nodes.append(_eye_node(eye, expression, center, k))
  picture = parts.chunks.add_view(texture_png)
  document = {
    "asset": {"version": "2.0", "generator": "affjax"},
    "scene": 0,
    "scenes": [{"name": "head", "nodes": [0]}],
    "nodes": nodes,
    "meshes": meshes,
    "materials": [_material(name) for name in parts.materials],
    "textures": [{"sampler": 0, "source": 0}],
    "images": [{"name": "diffuse", "mimeType": "image/png", "bufferView": picture}],
    "samplers": [
      {
        "magFilter": _LINEAR,
        "minFilter": _LINEAR_MIPMAP_LINEAR,
        "wrapS": _CLAMP,
        "wrapT": _CLAMP,
      }
    ],
    "accessors": parts.chunks.accessors,
    "bufferViews": parts.chunks.views,
    "buffers": [{"byteLength": len(parts.chunks.data)}],
  }
  return file_bytes(document, bytes(parts.chunks.data))


@dataclasses.dataclass(frozen=True, eq=False)
class _Parts:
  """The meshes of a file.

  Attributes:
    head: The whole head.
    chunks: Buffer of the file.
    materials: Names of the materials, in the order of their first use.
  """

  head: HeadMesh
  chunks: Chunks
  materials: list[str] = dataclasses.field(default_factory=list)

  def mesh(
    self,
    name: str,
    chosen: Bool[np.ndarray, " v"],
    *,
    center: Float[np.ndarray, " 3"] = _ORIGIN,
    expression: Expression | None = None,
  ) -> dict[str, Any]:
    """Adds the triangles of chosen vertices, and returns their mesh.

    Args:
      name: Name of the mesh.
      chosen: Whether each vertex of the head belongs to it.
      center: Origin of the mesh in the head, meters.
      expression: Expression units of the mesh.
    """
    corners = _head_mesh.split_at_seams(self.head.template)
    used = chosen[corners.vertex]
    new = np.cumsum(used) - 1
    vertex = corners.vertex[used]
    primitive: dict[str, Any] = {
      "attributes": self._attributes(vertex, corners.uv[used], center)
    }
    if expression is not None:
      primitive["targets"] = self._targets(vertex, expression)
    groups = _head_mesh.group_faces(corners.faces, self.head.template)
    primitives = []
    for group, triangles in groups.items():
      mine = new[triangles[used[triangles].all(1)]]
      if len(mine):
        indices = self.chunks.add_indices(mine, len(vertex))
        material = self._material(group)
        primitives.append({**primitive, "indices": indices, "material": material})
    result: dict[str, Any] = {"name": name, "primitives": primitives}
    if expression is not None:
      result["weights"] = np.round(expression.weights.astype(float), 5).tolist()
      result["extras"] = {"targetNames": list(expression.names)}
    return result

  def _attributes(
    self,
    vertex: Int[np.ndarray, " p"],
    uv: Int[np.ndarray, " p"],
    center: Float[np.ndarray, " 3"],
  ) -> dict[str, int]:
    uvs = self.head.template.uvs[uv].astype(np.float32)
    add = self.chunks.add_vertices
    return {
      "POSITION": add(self.head.meters[vertex] - center, bounds=True),
      "NORMAL": add(self.head.normals[vertex]),
      # glTF's v grows downwards.
      "TEXCOORD_0": add(np.stack([uvs[:, 0], 1 - uvs[:, 1]], -1)),
    }

  def _targets(
    self, vertex: Int[np.ndarray, " p"], expression: Expression
  ) -> list[dict[str, int]]:
    moves = expression.moves * self.head.meters_per_unit
    bends = _expression.target_normals(self.head, expression)
    add = self.chunks.add_target
    return [
      {
        "POSITION": add(move[vertex], least=_LEAST_MOVE, bounds=True),
        "NORMAL": add(bend[vertex], least=_LEAST_BEND, bounds=False),
      }
      for move, bend in zip(moves, bends, strict=True)
    ]

  def _material(self, name: str) -> int:
    if name not in self.materials:
      self.materials.append(name)
    return self.materials.index(name)


def _eye_node(
  eye: Eye, expression: Expression, center: Float[np.ndarray, " 3"], mesh: int
) -> dict[str, Any]:
  rotation = eye.quaternions(expression.names, expression.weights)
  turns = {name: np.round(turn, 5).tolist() for name, turn in eye.turns.items()}
  return {
    "name": f"eye{eye.side}",
    "mesh": mesh,
    "translation": center.tolist(),
    "rotation": rotation.tolist(),
    "extras": {"turns": turns},
  }


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
