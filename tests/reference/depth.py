"""Depth maps in Unsup3D's camera, pixel by pixel and in float64: what they mean."""

import math

import numpy as np


def ray(column: float, row: float, size: int) -> np.ndarray:
  """The point at depth 1 that a pixel shows, written with the matrix of the camera."""
  focal = (size - 1) / 2 / math.tan(math.radians(5))
  middle = (size - 1) / 2
  camera = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
  return np.linalg.solve(camera, np.array([column, row, 1.0]))


def normals(depth: np.ndarray) -> np.ndarray:
  """Normals of one depth map."""
  size = len(depth)
  point = lambda row, column: depth[row, column] * ray(column, row, size)
  found = np.zeros((size, size, 3))
  found[..., 2] = 1
  for row in range(1, size - 1):
    for column in range(1, size - 1):
      across = point(row, column + 1) - point(row, column - 1)
      down = point(row + 1, column) - point(row - 1, column)
      normal = np.cross(across, down)
      found[row, column] = normal / np.linalg.norm(normal)
  return found


def rotation(angles) -> np.ndarray:
  """The matrix that turns about x, then y, then z."""
  (a, b, c), (d, e, f) = np.cos(angles), np.sin(angles)
  x = np.array([[1, 0, 0], [0, a, -d], [0, d, a]])
  y = np.array([[b, 0, e], [0, 1, 0], [-e, 0, b]])
  z = np.array([[c, -f, 0], [f, c, 0], [0, 0, 1]])
  return z @ y @ x


def plane_depth(normal, point, size: int) -> np.ndarray:
  """The depth of a plane through a point."""
  found = np.zeros((size, size))
  for row in range(size):
    for column in range(size):
      found[row, column] = np.dot(normal, point) / np.dot(
        normal, ray(column, row, size)
      )
  return found


def sphere_depth(center, radius: float, size: int, background: float) -> np.ndarray:
  """The depth of a sphere before a wall."""
  found = np.full((size, size), background)
  for row in range(size):
    for column in range(size):
      line = ray(column, row, size)
      # |t line - center|^2 = radius^2
      a, b = line @ line, line @ center
      root = b * b - a * (center @ center - radius**2)
      if root >= 0:
        found[row, column] = (b - math.sqrt(root)) / a
  return found
