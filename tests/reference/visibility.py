"""What hides a point from the camera: rays against every triangle, in NumPy."""

import numpy as np


def nearest_hit(
  points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, eye: np.ndarray
) -> np.ndarray:
  """Returns how far before each point the ray from the eye meets a mesh, dm.

  Args:
    points: Points `[P, 3]`.
    vertices: Vertices `[V, 3]`.
    faces: Triangles `[T, 3]`.
    eye: Place of the camera `[3]`.

  Returns:
    Distance along the ray from the first triangle that is met to the point, `[P]`; zero
    or below where nothing lies before it.
  """
  a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
  before = np.full(len(points), -np.inf)
  for k, point in enumerate(points.astype(np.float64)):
    way = point - eye
    p = np.cross(way, c - a)
    scale = np.sum((b - a) * p, -1)
    scale = np.where(np.abs(scale) < 1e-14, np.inf, scale)
    u = np.sum((eye - a) * p, -1) / scale
    q = np.cross(eye - a, b - a)
    v = q @ way / scale
    share = np.sum((c - a) * q, -1) / scale
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (share > 0)
    if hit.any():
      before[k] = (1 - share[hit].min()) * np.linalg.norm(way)
  return before
