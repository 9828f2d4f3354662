"""A head as mesh files need it: in meters, with normals, cut along its UV seams."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from affjax.geometry import mesh
from affjax.types import Template, per_template

# Head space is in decimeters; OBJ and GLB are written in meters, as glTF demands.
METERS_PER_UNIT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMesh:
  """A head in the topology of a template.

  Attributes:
    template: Triangles, UVs and groups.
    vertices: float32 `[V, 3]`, head space, dm.
    normals: float32 `[V, 3]`, unit length, averaged over the welded surface so that no
      UV seam shows in the shading.
    scale: Size of the person's head over that of head space, where eyes are as far
      apart as in the mean head.
  """

  template: Template
  vertices: Float[np.ndarray, "v 3"]
  normals: Float[np.ndarray, "v 3"]
  scale: float = 1.0

  @property
  def meters_per_unit(self) -> float:
    """The length of a unit of head space, meters."""
    return METERS_PER_UNIT * self.scale

  @property
  def meters(self) -> Float[np.ndarray, "v 3"]:
    """The vertices in meters, with the same axes and origin."""
    return (self.vertices * self.meters_per_unit).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Corners:
  """The distinct pairs of vertex and UV, for formats with one index for each corner.

  Attributes:
    vertex: int32 `[P]`, index of the vertex of each pair.
    uv: int32 `[P]`, index of the UV of each pair.
    faces: int32 `[T, 3]`, triangles as indices of pairs.
  """

  vertex: Int[np.ndarray, " p"]
  uv: Int[np.ndarray, " p"]
  faces: Int[np.ndarray, "t 3"]


def head_mesh(
  vertices: np.ndarray, template: Template, *, scale: float = 1.0
) -> HeadMesh:
  """Returns head-space vertices, dm, as a mesh with normals.

  Args:
    vertices: Vertices of the template.
    template: Triangles, UVs and groups.
    scale: Size of the person's head over that of head space.

  Raises:
    ValueError: The vertices are not those of the template, or not finite.
  """
  vertices = np.asarray(vertices, np.float32)
  if vertices.shape != template.vertices.shape:
    raise ValueError(
      f"vertices of template {template.name!r} must be {template.vertices.shape}, "
      f"got {vertices.shape}"
    )
  if not np.isfinite(vertices).all():
    raise ValueError("vertices must be finite, got NaN or infinity")
  normals = mesh.vertex_normals(vertices, template.faces)
  # A vertex without area around it has no normal, but glTF demands unit length.
  normals[np.sum(normals * normals, -1) < 0.5] = (0, 0, 1)
  normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
  return HeadMesh(template, vertices, normals, scale)


@per_template
def split_at_seams(template: Template) -> Corners:
  """Returns the mesh cut along its UV seams."""
  pairs = np.stack([template.faces.reshape(-1), template.faces_uv.reshape(-1)], -1)
  distinct, index = np.unique(pairs, axis=0, return_inverse=True)
  return Corners(
    vertex=distinct[:, 0].astype(np.int32),
    uv=distinct[:, 1].astype(np.int32),
    faces=index.reshape(-1, 3).astype(np.int32),
  )


def group_faces(faces: np.ndarray, template: Template) -> dict[str, np.ndarray]:
  """Returns the triangles of each group that has any, in the order of the template."""
  parts = {
    name: faces[template.face_groups == k]
    for k, name in enumerate(template.group_names)
  }
  return {name: part for name, part in parts.items() if len(part)}
