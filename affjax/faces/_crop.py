"""The crop that suits the networks, and the pose that suits the landmarks.

The networks were trained on heads before the standard camera, near the origin and
nearly upright. A photo is cropped so that its face lies like that: the pose of the mean
head that explains the landmarks tells where the head's origin is, how large a decimetre
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
from affjax.heads import landmarks
from affjax.types import Camera, Template

# The jaw's landmarks slide along the outline as the head turns.
_JAW_WEIGHT = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
  """A square part of a photo, perhaps turned.

  Attributes:
    matrix: similarity from photo px to crop px.
    size: width and height of the crop, px.
  """

  matrix: Float[np.ndarray, "2 3"]
  size: int


def face_crop(face: Face, template: Template, camera: Camera, size: int) -> Crop:
  """The crop of one face: `face_crops` of it alone."""
  return face_crops([face], template, camera, size)[0]


def face_crops(
  faces: Sequence[Face], template: Template, camera: Camera, size: int
) -> list[Crop]:
  """The crops in which faces lie as in the training data.

  There the pose of the mean head has no roll and no translation: its origin lies in the
  middle, and a decimetre is as large as at the camera's distance.

  Args:
    faces: of any photos; many at once take less time than one by one.
    template: whose mean head is fitted to the 68 landmarks.
    camera: of the training data.
    size: width and height of the crops, px.
  """
  points = mean_landmarks(template)
  matrices = [_first_guess(face, size) for face in faces]
  for _ in range(2):  # Again where perspective is as it will be.
    px = [
      warp.transform(matrix, face.landmarks68)
      for matrix, face in zip(matrices, faces, strict=True)
    ]
    found = solve_poses(points, np.reshape(px, (-1, 68, 2)), camera, size)
    matrices = [
      _centred(pose, matrix, camera, size)
      for pose, matrix in zip(found, matrices, strict=True)
    ]
  return [Crop(matrix, size) for matrix in matrices]


def _first_guess(face: Face, size: int) -> warp.Matrix:
  center = face.landmarks68[17:].mean(0)
  width = float(np.ptp(face.landmarks68, axis=0).max())
  return warp.similarity(center, 1.8 * max(width, 1e-3), 0.0, size)


def apply_crop(
  photo: UInt8[np.ndarray, "h w 3"], crop: Crop
) -> Float[np.ndarray, "size size 3"]:
  """The crop's pixels in [0, 1], antialiased; beyond the photo its edge repeats."""
  return warp.warp(photo, crop.matrix, crop.size)


def initial_pose(
  face: Face, template: Template, camera: Camera, crop: Crop
) -> Float[np.ndarray, " 6"]:
  """The pose of the mean head that explains a face's landmarks in a crop."""
  px = warp.transform(crop.matrix, face.landmarks68)
  return solve_pose(mean_landmarks(template), px, camera, crop.size)


def mean_landmarks(template: Template) -> Float[np.ndarray, "68 3"]:
  """The 68 landmarks of the template's mean head, dm."""
  corners = template.vertices[template.faces[template.landmark_faces]]
  weights = template.landmark_weights[..., None].astype(np.float64)
  return np.sum(corners * weights, 1)


def solve_pose(
  points: Float[np.ndarray, "k 3"],
  points_px: Float[np.ndarray, "k 2"],
  camera: Camera,
  size: int,
  *,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, " 6"]:
  """The pose of one head: `solve_poses` of it alone."""
  many = np.asarray(points_px, float)[None]
  return solve_poses(points, many, camera, size, weights=weights)[0]


def solve_poses(
  points: Float[np.ndarray, "k 3"],
  points_px: Float[np.ndarray, "n k 2"],
  camera: Camera,
  size: int,
  *,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, "n 6"]:
  """The poses in which 3D points project onto given pixels, robustly.

  Least squares under perspective with a soft L1 loss, from three yaws.

  Args:
    points: in head space, dm.
    points_px: where they are seen, (x, y) in px of a square image, for each head.
    camera: of the images.
    size: width and height of the images, px.
    weights: of the points; by default 1, and 0.2 for the jaw of 68 landmarks.

  Returns:
    Axis-angle rotation and translation (dm), as `geometry.camera.head_to_world` takes.

  Raises:
    ValueError: fewer than four points, other shapes, or coordinates that are not
      finite.
  """
  points, points_px = np.asarray(points, float), np.asarray(points_px, float)
  if (
    points.shape[1:] != (3,)
    or points_px.shape[1:] != (len(points), 2)
    or len(points) < 4
  ):
    raise ValueError(
      "points and points_px must be [K >= 4, 3] and [N, K, 2], got "
      f"{points.shape} and {points_px.shape}"
    )
  if not (np.isfinite(points).all() and np.isfinite(points_px).all()):
    raise ValueError("points and points_px must be finite, got NaN or infinity")
  if weights is None:
    weights = np.ones(len(points))
    if len(points) == 68:
      weights[landmarks.JAW] = _JAW_WEIGHT
  return _pose.solve(points, points_px, camera, size, weights)


def _centred(pose, matrix, camera: Camera, size: int):
  """The crop matrix after which a pose has no translation and no roll."""
  turn = Rotation.from_rotvec(pose[:3]).as_matrix()
  roll = math.atan2(turn[1, 0], turn[0, 0])
  focal = size / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  depth = max(camera.distance - pose[5], _pose.NEAREST)
  origin = focal * pose[3:5] * [1, -1] / depth + (size - 1) / 2
  larger = depth / camera.distance
  # Image y points down: a roll that is counter-clockwise is turned back clockwise.
  c, s = math.cos(roll), math.sin(roll)
  linear = larger * np.array([[c, -s], [s, c]])
  shift = (size - 1) / 2 - linear @ origin
  after = np.concatenate([linear, shift[:, None]], 1)
  return after @ np.concatenate([matrix, [[0, 0, 1]]])
