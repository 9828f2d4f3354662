"""The mirror image of a head: reflection of x in head space."""

from typing import overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import KDTree

from affjax.geometry import surface, uv
from affjax.types import ArrayLike, Template, per_template

# Signs of the six numbers of a pose: an axis-angle vector is axial, so that reflecting
# x turns it the other way about y and z.
POSE_SIGNS = np.array([1, -1, -1, -1, 1, 1], np.float32)
# Signs of a head-space point.
POINT_SIGNS = np.array([-1, 1, 1], np.float32)
# A UV layout is symmetric if each uv has a twin within this distance.
_SAME = 2e-3


@per_template
def mirror_vertices(template: Template) -> Int[np.ndarray, " v"]:
  """Returns the vertex on the other side of each vertex, int32.

  Twins are found in UV space, where nothing lies upon anything else.

  Raises:
    ValueError: the template's UV layout is not mirror-symmetric about u = 0.5.
  """
  apart, twin = _uv_twins(template)
  vertex = np.zeros(len(template.uvs), np.int64)
  vertex[template.faces_uv.reshape(-1)] = template.faces.reshape(-1)
  used = np.unique(template.faces_uv)
  out = np.arange(len(template.vertices))
  out[vertex[used]] = vertex[twin[used]]
  if apart > _SAME or (out[out] != np.arange(len(out))).any():
    raise ValueError(
      f"the UV layout of template {template.name!r} is not mirror-symmetric about "
      f"u = 0.5 (largest deviation {apart:.2g})"
    )
  return out.astype(np.int32)


def is_symmetric(template: Template) -> bool:
  """Returns whether the UV layout is mirror-symmetric about u = 0.5."""
  return _uv_twins(template)[0] <= _SAME


@overload
def mirror_head(
  vertices: Float[np.ndarray, "*b v 3"], template: Template
) -> Float[np.ndarray, "*b v 3"]: ...


@overload
def mirror_head(
  vertices: Float[Array, "*b v 3"], template: Template
) -> Float[Array, "*b v 3"]: ...


def mirror_head(
  vertices: Float[ArrayLike, "*b v 3"], template: Template
) -> Float[ArrayLike, "*b v 3"]:
  """Returns the vertices of the mirrored head.

  Where mesh and layout are symmetric, vertices change places. Elsewhere each vertex
  reads the surface at the reflected place, so that the mirrored head is as exact as the
  mesh is fine.
  """
  corners, weights = _reflected_places(template)
  weights = weights[..., None] * POINT_SIGNS
  lead = (1,) * (vertices.ndim - 2)
  moved = vertices[..., corners, :] * weights.reshape(*lead, *weights.shape)
  return moved.sum(-2).astype(vertices.dtype)


def flip_map(
  values: Float[ArrayLike, "*b s s c"], texels: Int[np.ndarray, "s s"] | None
) -> Float[Array, "*b s s c"]:
  """Returns UV maps of the mirrored head.

  Args:
    values: maps of a head; positions still need `POINT_SIGNS`.
    texels: result of `mirror_texels`, or None where the layout is symmetric, so that a
      flip of the columns does it.
  """
  values = jnp.asarray(values)
  if texels is None:
    return values[..., ::-1, :]
  flat = values.reshape(*values.shape[:-3], -1, values.shape[-1])
  return flat[..., texels, :]


@per_template
def mirror_texels(template: Template, size: int) -> Int[np.ndarray, "s s"]:
  """Returns the texel that shows the mirror image of each texel's place, int32.

  Where the layout is mirror-symmetric about u = 0.5 this is a flip of the columns. In
  other layouts it is the texel whose place on the template is nearest to the reflected
  one; texels outside the map's support are their own twins.

  Args:
    template: the head.
    size: S, the side of the map.

  Returns:
    Indices into the flattened map: `flat_map[mirror_texels(template, size)]` is the map
    of the mirrored head.
  """
  own = np.arange(size * size, dtype=np.int32).reshape(size, size)
  if is_symmetric(template):
    return own[:, ::-1].copy()
  table = uv.uv_table(template, size)
  shown = table.support
  corners = template.vertices[table.corners[shown]]
  places = (corners * table.weights[shown][..., None]).sum(-2)
  _, twin = KDTree(places).query(places * POINT_SIGNS)
  own[shown] = np.flatnonzero(shown)[twin]
  return own


@per_template
def _reflected_places(
  template: Template,
) -> tuple[Int[np.ndarray, "v k"], Float[np.ndarray, "v k"]]:
  """Returns corners and weights of the reflected place of each vertex."""
  count = len(template.vertices)
  try:
    return mirror_vertices(template)[:, None], np.ones((count, 1), np.float32)
  except ValueError:
    corners = np.tile(np.arange(count)[:, None], 3)
    weights = np.full((count, 3), 1 / 3, np.float32)
  # Group by group, so that an eye stays an eye.
  for group in np.unique(template.face_groups):
    faces = template.faces[template.face_groups == group]
    used = np.unique(faces)
    places = template.vertices[used] * POINT_SIGNS
    triangle, share = surface.nearest_points(places, template.vertices, faces)
    corners[used], weights[used] = faces[triangle], share
  return corners, weights


@per_template
def _uv_twins(template: Template) -> tuple[float, Int[np.ndarray, " u"]]:
  """The largest distance of a uv's mirror image from another uv, and those uvs."""
  mirrored = template.uvs * [-1, 1] + [1, 0]
  distance, twin = KDTree(template.uvs).query(mirrored)
  return float(distance[np.unique(template.faces_uv)].max()), np.asarray(twin)
