"""Similarity transforms of photos, antialiased at any scale.

A matrix `[2, 3]` takes `(x, y, 1)` in photo px to px of the result, both with pixel
centers at integers.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

Matrix = Float[np.ndarray, "2 3"]


def invert(matrix: Matrix) -> Matrix:
  """Returns the inverse of an affine map."""
  linear = np.linalg.inv(matrix[:, :2])
  return np.concatenate([linear, -linear @ matrix[:, 2:]], 1)


def transform(
  matrix: Matrix, points: Float[np.ndarray, "*b d"]
) -> Float[np.ndarray, "*b d"]:
  """Returns mapped points; a third coordinate is scaled, as a depth is."""
  moved = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
  if points.shape[-1] == 2:
    return moved
  return np.concatenate([moved, points[..., 2:] * scale(matrix)], -1)


def scale(matrix: Matrix) -> float:
  """Returns the px of the result per px of the photo."""
  return math.sqrt(abs(np.linalg.det(matrix[:, :2])))


def similarity(
  center: Float[np.ndarray, " 2"], size: float, angle: float, to_size: int
) -> Matrix:
  """Returns the map from a rotated square of the photo to an upright image.

  Args:
    center: Center of the square, photo px.
    size: Side of the square, photo px.
    angle: Direction of its upper edge, radians, positive = clockwise on screen.
    to_size: Width and height of the image, px.
  """
  s = to_size / size
  linear = s * np.array(
    [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
  )
  shift = (to_size - 1) / 2 - linear @ center
  return np.concatenate([linear, shift[:, None]], 1)


def warp(
  photo: UInt8[np.ndarray, "h w 3"], matrix: Matrix, size: int
) -> Float[np.ndarray, "size size 3"]:
  """Resamples a photo; beyond its edge the edge pixels repeat.

  A photo larger than the result is first averaged over blocks of whole pixels, then
  read bilinearly at four points of each pixel. This antialiases at every scale, and the
  work grows with the part of the photo that is seen, not with the photo.

  Args:
    photo: Photo, 8-bit RGB.
    matrix: Similarity from photo px to px of the result.
    size: Width and height of the result, px.

  Returns:
    The image, float32 in [0, 1].
  """
  inverse = invert(matrix)
  block = max(1, int(1 / scale(matrix)))
  corners = transform(
    inverse, np.array([[0, 0], [0, size], [size, 0], [size, size]]) - 0.5
  )
  region, origin = _region(photo, corners, block)
  # For four samples a pixel the image is made at twice the size and averaged. Pillow
  # counts in edge coordinates (px + 0.5): x = inverse(u / 2 - 0.5) + 0.5.
  linear = inverse[:, :2] / (2 * block)
  shift = (inverse @ [-0.5, -0.5, 1] + 0.5 - origin) / block
  double = Image.fromarray(region).transform(
    (2 * size, 2 * size),
    Image.Transform.AFFINE,
    (*linear[0], shift[0], *linear[1], shift[1]),
    Image.Resampling.BILINEAR,
  )
  pixels = np.asarray(double).astype(np.uint16)
  rows = pixels[::2] + pixels[1::2]
  return (rows[:, ::2] + rows[:, 1::2]).astype(np.float32) / np.float32(4 * 255)


def _region(
  photo: np.ndarray, corners: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the part of the photo under the corners, shrunk by `block`, edges repeated.

  Also returns the corner of its first pixel in edge coordinates of the photo.
  """
  height, width = photo.shape[:2]
  low = np.floor(corners.min(0) / block).astype(int) - 2
  high = np.ceil(corners.max(0) / block).astype(int) + 3
  limit = np.array([math.ceil(width / block), math.ceil(height / block)])
  inner_low = np.clip(low, 0, limit - 1)
  inner_high = np.clip(high, inner_low + 1, limit)
  (x0, y0), (x1, y1) = inner_low * block, inner_high * block
  part = photo[y0:y1, x0:x1]
  if block > 1:
    part = np.asarray(Image.fromarray(part).reduce(block))
  before, after = inner_low - low, high - inner_high
  widths = [(before[1], after[1]), (before[0], after[0]), (0, 0)]
  return np.pad(part, np.maximum(widths, 0), "edge"), low * block
