"""A reconstructed head as files want it: metres, normals, and seams cut open."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from affjax.geometry import mesh
from affjax.types import Template

# Head space is in decimetres; OBJ and GLB are written in metres, as glTF demands.
METRES_PER_UNIT = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMesh:
  """One head over a template's topology.

  Attributes:
    template: faces, uvs and groups.
    vertices: float32 `[V, 3]`, head space, dm.
    normals: float32 `[V, 3]`, unit length, averaged over the welded surface, so that
      no UV seam shows in the shading.
  """

  template: Template
  vertices: Float[np.ndarray, "v 3"]
  normals: Float[np.ndarray, "v 3"]

  @property
  def metres(self) -> Float[np.ndarray, "v 3"]:
    """The vertices in metres, same axes and origin."""
    return (self.vertices * METRES_PER_UNIT).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Corners:
  """The distinct pairs of vertex and uv, for formats with one index a corner.

  Attributes:
    vertex: int32 `[P]`, vertex of each pair.
    uv: int32 `[P]`, uv of each pair.
    faces: int32 `[T, 3]`, triangles as indices of pairs.
  """

  vertex: Int[np.ndarray, " p"]
  uv: Int[np.ndarray, " p"]
  faces: Int[np.ndarray, "t 3"]


def head_mesh(vertices: np.ndarray, template: Template) -> HeadMesh:
  """A mesh of head-space vertices, dm, with normals.

  Raises:
    ValueError: the vertices are not those of the template, or not finite.
  """
  vertices = np.asarray(vertices, np.float32)
  if vertices.shape != template.vertices.shape:
    raise ValueError(
      f"vertices of template {template.name!r} must be {template.vertices.shape}, "
      f"got {vertices.shape}"
    )
  if not np.isfinite(vertices).all():
    raise ValueError("vertices must be finite, got NaN or infinity")
  normals = np.array(
    mesh.vertex_normals(jnp.asarray(vertices), jnp.asarray(template.faces)), np.float32
  )
  # A vertex without area around it has no normal, and glTF wants unit length.
  normals[np.sum(normals * normals, -1) < 0.5] = (0, 0, 1)
  normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
  return HeadMesh(template=template, vertices=vertices, normals=normals)


@functools.lru_cache(maxsize=8)
def split_at_seams(template: Template) -> Corners:
  """Cuts the welded mesh along its UV seams; cached by identity of the template."""
  pairs = np.stack([template.faces.reshape(-1), template.faces_uv.reshape(-1)], -1)
  distinct, index = np.unique(pairs, axis=0, return_inverse=True)
  return Corners(
    vertex=distinct[:, 0].astype(np.int32),
    uv=distinct[:, 1].astype(np.int32),
    faces=index.reshape(-1, 3).astype(np.int32),
  )


def group_faces(faces: np.ndarray, template: Template) -> dict[str, np.ndarray]:
  """The triangles of each group that has any, in the template's order of groups."""
  parts = {
    name: faces[template.face_groups == k]
    for k, name in enumerate(template.group_names)
  }
  return {name: part for name, part in parts.items() if len(part)}
