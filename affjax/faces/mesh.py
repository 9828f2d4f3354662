"""FaceMesh: 468 landmarks of a face that has been found roughly."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from affjax.faces import network, warp

# The landmarks of FaceMesh that stand for the 68 standard (iBUG) ones. Its outline is
# that of the visible face in no pose but the frontal one: 0-16 slide along the jaw.
STANDARD68 = np.array(
  [
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454),
    *(389, 71, 63, 105, 66, 107, 336, 296, 334, 293, 301, 168, 197, 5, 4, 75, 97, 2),
    *(326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37),
    *(0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
  ]
)
# Outer eye corners, the left one in the image first when the face is upright.
_EYES = (33, 263)
# Side of the square that the network sees, in longer sides of the face's bounding box.
_MARGIN = 1.5


@dataclasses.dataclass(frozen=True)
class Square:
  """A turned square of a photo, where a face is expected.

  Attributes:
    center: its centre, px.
    size: its side, px.
    angle: direction of the upper edge, radians, positive = clockwise on screen.
  """

  center: Float[np.ndarray, " 2"]
  size: float
  angle: float


def square_of_detection(
  box: Float[np.ndarray, " 4"], keypoints: Float[np.ndarray, "6 2"]
) -> Square:
  """The square of a detected face: its box with a margin, turned as the eyes are."""
  size = _MARGIN * max(box[2] - box[0], box[3] - box[1])
  return Square((box[:2] + box[2:]) / 2, size, _angle(keypoints[0], keypoints[1]))


def square_of_landmarks(landmarks: Float[np.ndarray, "468 3"]) -> Square:
  """The square in which the network sees a face best, once its landmarks are known."""
  angle = _angle(*landmarks[list(_EYES), :2])
  c, s = math.cos(angle), math.sin(angle)
  axes = np.array([[c, s], [-s, c]])
  upright = landmarks[:, :2] @ axes.T
  low, high = upright.min(0), upright.max(0)
  return Square((low + high) / 2 @ axes, _MARGIN * float((high - low).max()), angle)


def landmarks(
  net: network.Network, photo: UInt8[np.ndarray, "h w 3"], squares: Sequence[Square]
) -> tuple[Float[np.ndarray, "n 468 3"], Float[np.ndarray, " n"]]:
  """Landmarks of the faces in some squares.

  Args:
    net: the network "landmarks" of the asset.
    photo: 8-bit RGB.
    squares: where the faces are.

  Returns:
    Points in px of the photo (z in the same unit, smaller = nearer, 0 about the depth
    of the ears), and how sure the network is of each face, in [0, 1].
  """
  points, flags = np.zeros((len(squares), 468, 3)), np.zeros(len(squares))
  for k, square in enumerate(squares):
    matrix = warp.similarity(square.center, square.size, square.angle, net.size)
    # One at a time: batches are hardly faster, and each size would be compiled.
    outputs = net(warp.warp(photo, matrix, net.size)[None])
    mesh = np.asarray(outputs["mesh"], np.float64).reshape(468, 3)
    # The network's coordinates count from the edge of the first pixel.
    mesh = mesh - np.array([0.5, 0.5, 0])
    points[k] = warp.transform(warp.invert(matrix), mesh)
    flags[k] = np.asarray(outputs["flag"]).item()
  return points, flags


def _angle(left: np.ndarray, right: np.ndarray) -> float:
  dx, dy = (right - left)[:2]
  return math.atan2(dy, dx)
