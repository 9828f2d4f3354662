"""UV coordinates for heads without any, or with theirs in another file."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from affjax.heads._morphable import MorphableModel

# Free border of the unit square, into which filters and dilations reach.
_BORDER = 0.01


def cylinder(
  vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> tuple[Float[np.ndarray, "u 2"], Int[np.ndarray, "t 3"]]:
  """Returns UV coordinates of a cylinder about the y axis of head space.

  u grows with +x and v with +y; the face is upright in the middle, with x = 0 at
  u = 0.5. A whole head is cut open at the back; a face alone is stretched to the width
  of the square. Surfaces behind each other, seen from the axis (nostrils, inner lips,
  ears), overlap: sufficient for display and fitting, but not for a texture.

  Args:
    vertices: head-space vertices, dm.
    faces: triangles.

  Returns:
    `(uvs, faces_uv)`. The first V uvs are those of the vertices; those of the triangles
    across the cut follow.
  """
  angle = np.arctan2(vertices[:, 0], vertices[:, 2])
  half = np.abs(angle).max()
  across = np.ptp(angle[faces], axis=1) > np.pi
  # The corners on the lesser side of a triangle across the cut stay at its edge.
  corners = angle[faces[across]]
  side = np.where((corners > 0).sum(1) >= 2, half, -half)
  corners = np.where(corners * side[:, None] > 0, corners, side[:, None])
  y = vertices[:, 1]
  low, height = y.min(), np.ptp(y)
  place = lambda angle, y: np.stack([0.5 + angle / (2 * half), (y - low) / height], -1)
  uvs = np.concatenate(
    [place(angle, y), place(corners.ravel(), y[faces[across]].ravel())]
  )
  faces_uv = np.array(faces)
  faces_uv[across] = len(vertices) + np.arange(corners.size).reshape(-1, 3)
  return _BORDER + (1 - 2 * _BORDER) * uvs, faces_uv


def with_uvs(
  model: MorphableModel,
  *,
  faces: Int[np.ndarray, "t 3"],
  uvs: Float[np.ndarray, "u 2"],
  faces_uv: Int[np.ndarray, "t 3"],
) -> MorphableModel:
  """Returns the model with the UV coordinates of another file of the same mesh.

  Args:
    model: the model without UV coordinates.
    faces: the model's triangles as indices of its vertices, in any order, starting at
      any corner, in either orientation; additional triangles are ignored.
    uvs: UV coordinates in [0, 1].
    faces_uv: the triangles as indices into `uvs`.

  Raises:
    ValueError: a triangle of the model is not among `faces`, or UVs leave the square.
  """
  if uvs.min() < 0 or uvs.max() > 1:
    raise ValueError(f"uvs must lie in [0, 1], got [{uvs.min()}, {uvs.max()}]")
  own = model.template.faces
  order, own_order = np.argsort(faces, 1), np.argsort(own, 1)
  base = np.int64(max(own.max(), faces.max()) + 1)
  key = lambda faces, order: (
    np.take_along_axis(faces, order, 1) @ np.array([base * base, base, 1])
  )
  keys, own_keys = key(faces, order), key(own, own_order)
  rank = np.argsort(keys)
  found = rank[np.minimum(np.searchsorted(keys[rank], own_keys), len(keys) - 1)]
  lost = np.flatnonzero(keys[found] != own_keys)
  if len(lost):
    raise ValueError(
      f"faces must hold all triangles of {model.template.name!r}; {len(lost)} are "
      f"missing, the first is {own[lost[0]].tolist()}"
    )
  new = np.empty(own.shape, np.int32)
  sorted_uv = np.take_along_axis(faces_uv, order, 1)[found]
  np.put_along_axis(new, own_order, sorted_uv.astype(np.int32), 1)
  template = dataclasses.replace(
    model.template, uvs=uvs.astype(np.float32), faces_uv=new
  )
  return dataclasses.replace(model, template=template)
