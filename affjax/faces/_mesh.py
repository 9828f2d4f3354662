"""FaceMesh: 468 landmarks of a face whose place is roughly known."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from affjax.faces import _network, warp

# Each of the 68 standard (iBUG) landmarks lies at a point of FaceMesh, or a share of
# the way to a second point (below 0: away from it), as
# experiments/assets/landmark_correspondence.py computes.
# FaceMesh's outline is that of the visible face in frontal poses only: 0-16 slide along
# the jaw.
# fmt: off
_FIRST68 = (
  234, 132, 58, 172, 136, 150, 176, 148, 152, 377, 400, 379, 365, 397, 288, 361, 454,
  46, 53, 66, 65, 107, 336, 295, 296, 283, 276, 168, 197, 5, 4, 98, 97, 2, 326, 327,
  33, 160, 157, 133, 153, 144, 362, 384, 387, 263, 373, 380, 61, 40, 37, 0, 267, 270,
  306, 405, 314, 17, 84, 181, 78, 81, 13, 271, 308, 402, 14, 178,
)
_SECOND68 = (
  234, 132, 58, 136, 150, 149, 149, 176, 152, 400, 378, 378, 379, 365, 288, 361, 454,
  71, 105, 52, 107, 55, 285, 336, 282, 334, 301, 168, 6, 195, 2, 98, 165, 164, 391,
  327, 113, 30, 158, 233, 231, 24, 453, 385, 260, 342, 254, 451, 61, 37, 0, 0, 0, 267,
  306, 321, 314, 17, 84, 91, 78, 81, 13, 271, 308, 317, 14, 87,
)
_SHARE68 = (
  0, 0, 0, 0.14, 0.16, 0.25, 0.4, 0.26, 0, 0.26, 0.4, 0.25, 0.16, 0.14, 0, 0, 0, 0.08,
  0.29, 0.46, 0.44, 0.35, 0.35, 0.44, 0.46, 0.29, 0.08, 0, 0.41, 0.32, 0.18, 0, 0.07,
  0.19, 0.07, 0, -0.19, -0.29, 0.48, 0.18, 0.18, 0.35, 0.18, 0.48, -0.29, -0.19, 0.35,
  0.18, 0, 0.3, 0.23, 0, 0.23, 0.3, 0, 0.18, 0, 0, 0, 0.18, 0, 0, 0, 0, 0, 0.15, 0,
  0.15,
)
# fmt: on
# Outer eye corners, the left one in the image first when the face is upright.
_EYES = (33, 263)
# Side of the network's square, in longer sides of the face's bounding box.
_MARGIN = 1.5


@dataclasses.dataclass(frozen=True)
class Square:
  """A rotated square of a photo, where a face is expected.

  Attributes:
    center: Center, px.
    size: Side, px.
    angle: Direction of the upper edge, radians, positive = clockwise on screen.
  """

  center: Float[np.ndarray, " 2"]
  size: float
  angle: float


def square_of_detection(
  box: Float[np.ndarray, " 4"], keypoints: Float[np.ndarray, "6 2"]
) -> Square:
  """Returns the square of a detected face: its box with a margin, along the eyes."""
  size = _MARGIN * max(box[2] - box[0], box[3] - box[1])
  return Square((box[:2] + box[2:]) / 2, size, direction(keypoints[0], keypoints[1]))


def square_of_landmarks(landmarks: Float[np.ndarray, "468 3"]) -> Square:
  """Returns the square in which the network sees a face of known landmarks best."""
  angle = direction(*landmarks[list(_EYES), :2])
  c, s = math.cos(angle), math.sin(angle)
  axes = np.array([[c, s], [-s, c]])
  upright = landmarks[:, :2] @ axes.T
  low, high = upright.min(0), upright.max(0)
  return Square((low + high) / 2 @ axes, _MARGIN * float((high - low).max()), angle)


def find_landmarks(
  net: _network.Network,
  photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
  squares: Sequence[Square],
) -> tuple[Float[np.ndarray, "n 468 3"], Float[np.ndarray, " n"]]:
  """Finds the landmarks of the faces in some squares.

  Args:
    net: Network "landmarks" of the asset.
    photos: Photo of each square, 8-bit RGB.
    squares: Squares with the faces.

  Returns:
    Points in px of the photo (z in the same unit, smaller = nearer, 0 about the depth
    of the ears), and the network's confidence in each face, in [0, 1].
  """
  points, flags = np.zeros((len(squares), 468, 3)), np.zeros(len(squares))
  matrices = [warp.similarity(s.center, s.size, s.angle, net.size) for s in squares]
  image = lambda k: warp.warp(photos[k], matrices[k], net.size)
  for k, outputs in enumerate(net.map(image, range(len(squares)))):
    mesh = outputs["mesh"].reshape(468, 3).astype(np.float64)
    # The network's coordinates count from the edge of the first pixel.
    mesh = mesh - np.array([0.5, 0.5, 0])
    points[k] = warp.transform(warp.invert(matrices[k]), mesh)
    flags[k] = outputs["flag"].item()
  return points, flags


def standard68(points: Float[np.ndarray, "468 d"]) -> Float[np.ndarray, "68 2"]:
  """Returns the 68 standard landmarks (x, y) of FaceMesh's points.

  They lie where templates have theirs; see docs/landmarks.md.
  """
  first, second = points[list(_FIRST68), :2], points[list(_SECOND68), :2]
  return first + np.array(_SHARE68)[:, None] * (second - first)


def direction(left: np.ndarray, right: np.ndarray) -> float:
  """Returns the direction from a point to another, radians, clockwise on screen."""
  dx, dy = (right - left)[:2]
  return math.atan2(dy, dx)
