"""The place of texels in a photo, texel by texel in NumPy: the definition."""

import numpy as np

from affjax.types import Camera, Template


def triangle_under(template: Template, point: np.ndarray, size: int) -> int | None:
  """Returns the last triangle that covers a point of the map, or None.

  Args:
    template: The head.
    point: (column, row) of the point in a map of `size` x `size` texels.
    size: Side of the map.
  """
  found = None
  for triangle in range(len(template.faces)):
    weights = _weights(template, triangle, point, size)
    if weights is not None and (weights >= -1e-6).all():
      found = triangle
  return found


def photo_place(
  vertices: np.ndarray,
  template: Template,
  camera: Camera,
  triangle: int,
  point: np.ndarray,
  size: int,
  resolution: tuple[int, int],
) -> np.ndarray:
  """Returns the place (x, y) in the photo, px, of a point in the plane of a triangle.

  Args:
    vertices: Vertices in world space, `[V, 3]`.
    template: The head.
    camera: The camera.
    triangle: Number of the triangle.
    point: (column, row) of the point.
    size: Side of the map.
    resolution: (height, width) of the photo.
  """
  weights = _weights(template, triangle, point, size)
  x, y, z = weights @ vertices[template.faces[triangle]].astype(np.float64)
  height, width = resolution
  focal = height / 2 / np.tan(np.radians(camera.fov_deg) / 2)
  depth = max(camera.distance - z, camera.near)
  return np.array(
    [(width - 1) / 2 + focal * x / depth, (height - 1) / 2 - focal * y / depth]
  )


def projection_affine(
  vertices: np.ndarray,
  template: Template,
  camera: Camera,
  triangle: int,
  point: np.ndarray,
  size: int,
  resolution: tuple[int, int],
) -> np.ndarray:
  """Returns derivatives and place `[2, 3]` at a point in the plane of a triangle.

  The derivative is that of the projection, by the chain rule: of the photo by the
  point in space, of the point by the position along two edges, of that by the texel.
  """
  corners = vertices[template.faces[triangle]].astype(np.float64)
  edges = np.stack([corners[1] - corners[0], corners[2] - corners[0]], 1)
  texels = _corners(template, triangle, size)
  texel_edges = np.stack([texels[1] - texels[0], texels[2] - texels[0]], 1)
  x, y, z = _weights(template, triangle, point, size) @ corners
  focal = resolution[0] / 2 / np.tan(np.radians(camera.fov_deg) / 2)
  depth = camera.distance - z
  by_space = focal / depth * np.array([[1, 0, x / depth], [0, -1, -y / depth]])
  linear = by_space @ edges @ np.linalg.inv(texel_edges)
  place = photo_place(vertices, template, camera, triangle, point, size, resolution)
  return np.concatenate([linear, place[:, None]], 1)


def _corners(template: Template, triangle: int, size: int) -> np.ndarray:
  u, v = template.uvs[template.faces_uv[triangle]].astype(np.float64).T
  return np.stack([u * size - 0.5, (1 - v) * size - 0.5], -1)


def _weights(
  template: Template, triangle: int, point: np.ndarray, size: int
) -> np.ndarray | None:
  corners = _corners(template, triangle, size)
  matrix = np.concatenate([corners.T, np.ones((1, 3))])
  if abs(np.linalg.det(matrix)) < 1e-12:
    return None
  return np.linalg.solve(matrix, [*point, 1.0])
