"""UV coordinates for heads that have none, or that bring theirs in another file."""

import numpy as np
from jaxtyping import Float, Int

# Free border of the unit square, for what a filter or a dilation reads beyond an edge.
_BORDER = 0.01


def cylinder(
  vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> tuple[Float[np.ndarray, "u 2"], Int[np.ndarray, "t 3"]]:
  """Unrolls the cylinder about the y axis of head space.

  u grows with +x and v with +y, the face is upright in the middle, x = 0 at u = 0.5. A
  whole head is cut open behind; a mere face is stretched to the width of the square.
  Surface that lies behind other surface, seen from the axis (nostrils, inner lips,
  ears), overlaps with it: good enough to look at and to fit, not for a texture.

  Args:
    vertices: in head space, dm.
    faces: triangles.

  Returns:
    `(uvs, faces_uv)`. The first V uvs belong to the vertices; those of triangles across
    the cut follow.
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
