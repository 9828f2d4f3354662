"""The 68 standard landmarks, placed by hand on the base mesh of MakeHuman."""

import numpy as np

from experiments.assets.head_types import SKIN, HeadMesh

# Landmarks of the figure's left side (+x) and the mid-line, in base-mesh dm. "front":
# (x, y) of the frontmost point of the skin; "side": (y, z) of the outermost point.
_FRONT = {
  8: (0.0, 6.172),
  22: (0.11, 7.486),
  23: (0.22, 7.504),
  24: (0.33, 7.5),
  25: (0.44, 7.466),
  26: (0.53, 7.41),
  27: (0.0, 7.355),
  28: (0.0, 7.225),
  29: (0.0, 7.085),
  30: (0.0, 6.975),
  33: (0.0, 6.815),
  34: (0.062, 6.812),
  35: (0.148, 6.848),
  42: (0.168, 7.272),
  43: (0.25, 7.323),
  44: (0.37, 7.33),
  45: (0.441, 7.288),
  46: (0.37, 7.241),
  47: (0.26, 7.241),
  51: (0.0, 6.683),
  52: (0.055, 6.697),
  53: (0.15, 6.68),
  54: (0.258, 6.611),
  55: (0.15, 6.545),
  56: (0.06, 6.53),
  57: (0.0, 6.525),
  62: (0.0, 6.622),
  63: (0.1, 6.622),
  64: (0.24, 6.612),
  65: (0.1, 6.602),
  66: (0.0, 6.602),
}
_SIDE = {
  9: (6.2, 1.3),
  10: (6.25, 1.16),
  11: (6.33, 1.0),
  12: (6.42, 0.86),
  13: (6.54, 0.76),
  14: (6.7, 0.7),
  15: (6.92, 0.69),
  16: (7.17, 0.7),
}
_MIRROR = (
  list(range(16, -1, -1))
  + list(range(26, 16, -1))
  + [27, 28, 29, 30]
  + [35, 34, 33, 32, 31]
  + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
  + [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
  + [64, 63, 62, 61, 60, 67, 66, 65]
)


def landmarks(mesh: HeadMesh, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Triangles `[68]` and barycentric weights `[68, 3]` of the landmarks.

  Args:
    mesh: the head.
    vertices: `[V, 3]`, the head of the base mesh.
  """
  faces, weights = np.zeros(68, np.int64), np.zeros((68, 3))
  right = (mesh.parts == SKIN) & (vertices[mesh.faces][..., 0].mean(1) > 0)
  for where, axes, depth in ((_FRONT, [0, 1], 2), (_SIDE, [1, 2], 0)):
    for number, point in where.items():
      face, weight = _hit(mesh, vertices, right, np.array(point), axes, depth)
      faces[number], weights[number] = face, weight
      other = _MIRROR[number]
      if other != number:
        faces[other] = mesh.face_mirror[face]
        weights[other] = weight[::-1]
  return faces, weights


def _hit(mesh, vertices, members, point, axes, depth):
  """The outermost triangle over `point` in the plane of `axes`."""
  numbers = np.flatnonzero(members)
  corner = vertices[mesh.faces[numbers]]
  flat = corner[..., axes]
  edge = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], -1)
  det = np.linalg.det(edge)
  fine = np.abs(det) > 1e-12
  solution = np.linalg.solve(
    np.where(fine[:, None, None], edge, np.eye(2)), (point - flat[:, 0])[..., None]
  )[..., 0]
  weight = np.concatenate([1 - solution.sum(1, keepdims=True), solution], 1)
  inside = fine & (weight.min(1) > -1e-6)
  if not inside.any():
    raise ValueError(f"no skin under the landmark at {point}")
  height = np.where(inside, (weight * corner[..., depth]).sum(1), -np.inf)
  best = int(height.argmax())
  clipped = np.clip(weight[best], 0, 1)
  return numbers[best], clipped / clipped.sum()
