"""The crop of a face that suits the networks, and the pose of the head in it.

The networks were trained on heads before the standard camera, near the origin and
nearly upright. A photo is cropped so that its face lies like that: the pose of the mean
head that explains the landmarks tells where the head's origin is, how large a decimeter
is there, and the roll.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from affjax.faces import _pose, warp
from affjax.faces._find import Face
from affjax.types import Camera, Template


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
  """A square part of a photo, rotated or not.

  Attributes:
    matrix: Similarity from photo px to crop px.
    size: Width and height of the crop, px.
  """

  matrix: Float[np.ndarray, "2 3"]
  size: int


def face_crop(face: Face, template: Template, camera: Camera, size: int) -> Crop:
  """Returns the crop of one face, as `face_crops` does for many."""
  return face_crops([face], template, camera, size)[0]


def face_crops(
  faces: Sequence[Face], template: Template, camera: Camera, size: int
) -> list[Crop]:
  """Returns the crops in which faces lie as in the training data.

  There the pose of the mean head has no roll and no translation: its origin lies in the
  middle, and a decimeter is as large as at the camera's distance.

  Args:
    faces: Faces of any photos; many at once take less time than one by one.
    template: Template whose mean head is fitted to the 68 landmarks.
    camera: Camera of the training data.
    size: Width and height of the crops, px.
  """
  points = mean_landmarks(template)
  matrices = [_first_guess(face, size) for face in faces]
  for _ in range(2):  # The second time perspective is as it will be.
    px = [
      warp.transform(matrix, face.landmarks68)
      for matrix, face in zip(matrices, faces, strict=True)
    ]
    found = _pose.solve(points, np.reshape(px, (-1, 68, 2)), camera, size)
    matrices = [
      _centered(pose, origin, camera, size) @ np.concatenate([matrix, [[0, 0, 1]]])
      for pose, origin, matrix in zip(*found, matrices, strict=True)
    ]
  return [Crop(matrix, size) for matrix in matrices]


def _first_guess(face: Face, size: int) -> warp.Matrix:
  center = face.landmarks68[17:].mean(0)
  width = float(np.ptp(face.landmarks68, axis=0).max())
  return warp.similarity(center, 1.8 * max(width, 1e-3), 0.0, size)


def apply_crop(
  photo: UInt8[np.ndarray, "h w 3"], crop: Crop
) -> Float[np.ndarray, "size size 3"]:
  """Returns a crop's pixels in [0, 1], antialiased; the photo's edge repeats."""
  return warp.warp(photo, crop.matrix, crop.size)


def inside_photo(
  photo: UInt8[np.ndarray, "h w 3"], crop: Crop
) -> Float[np.ndarray, "size size 1"]:
  """Returns 1 for pixels of a crop that lie within the photo, 0 beyond its border."""
  grid = np.stack(np.meshgrid(*[np.arange(float(crop.size))] * 2), -1)
  place = warp.transform(warp.invert(crop.matrix), grid)
  within = (place >= -0.5) & (place <= np.array(photo.shape[1::-1]) - 0.5)
  return np.all(within, axis=-1, keepdims=True).astype(np.float32)


def initial_pose(
  face: Face, template: Template, camera: Camera, crop: Crop
) -> Float[np.ndarray, " 6"]:
  """Returns the pose of the mean head that explains a face's landmarks in a crop."""
  px = warp.transform(crop.matrix, face.landmarks68)
  return _pose.solve_pose(mean_landmarks(template), px, camera, crop.size)


def mean_landmarks(template: Template) -> Float[np.ndarray, "68 3"]:
  """Returns the 68 landmarks of the template's mean head, dm."""
  return template.landmark_positions(template.vertices.astype(np.float64))


def _centered(
  pose: Float[np.ndarray, " 6"],
  origin: Float[np.ndarray, " 2"],
  camera: Camera,
  size: int,
) -> warp.Matrix:
  """Returns the map of an image after which a pose has no translation and no roll.

  Args:
    pose: Axis-angle rotation and translation (dm).
    origin: Place of the head's origin, image coordinates in [-1, 1].
    camera: Camera of the image.
    size: Width and height of the image, px.
  """
  turn = Rotation.from_rotvec(pose[:3]).as_matrix()
  roll = math.atan2(turn[1, 0], turn[0, 0])
  larger = max(camera.distance - pose[5], _pose.NEAREST) / camera.distance
  # Image y points down: a roll that is counter-clockwise is turned back clockwise.
  c, s = math.cos(roll), math.sin(roll)
  linear = larger * np.array([[c, -s], [s, c]])
  middle = np.full(2, (size - 1) / 2)
  shift = middle - linear @ (middle + size / 2 * origin)
  return np.concatenate([linear, shift[:, None]], 1)
