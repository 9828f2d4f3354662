"""The crop that suits the networks, and the pose that suits the landmarks.

The networks were trained on heads before the standard camera, near the origin and
nearly upright. A photo is cropped so that its face lies like that: the pose of the mean
head that explains the landmarks tells where the head's origin is, how large a decimetre
is there, and the roll.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from scipy import optimize
from scipy.spatial.transform import Rotation

from affjax.faces import warp
from affjax.faces.find import Face
from affjax.heads import landmarks
from affjax.types import Camera, Template

# Yaws to start from, degrees: from a far start the fit may end in a mirrored pose.
_STARTS_DEG = (0.0, -40.0, 40.0)
# From this part of the image's size on, a landmark's error counts linearly only.
_OUTLIER = 0.02
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
  """The crop in which a face lies as in the training data.

  There the pose of the mean head has no roll and no translation: its origin lies in the
  middle, and a decimetre is as large as at the camera's distance.

  Args:
    face: of a photo.
    template: whose mean head is fitted to the 68 landmarks.
    camera: of the training data.
    size: width and height of the crop, px.
  """
  points = mean_landmarks(template)
  center = face.landmarks68[17:].mean(0)
  width = float(np.ptp(face.landmarks68, axis=0).max())
  matrix = warp.similarity(center, 1.8 * width, 0.0, size)
  for _ in range(2):  # Again where perspective is as it will be.
    px = warp.transform(matrix, face.landmarks68)
    matrix = _centred(solve_pose(points, px, camera, size), matrix, camera, size)
  return Crop(matrix, size)


def apply(
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
  points = landmarks.landmarks68(jnp.asarray(template.vertices), template)
  return np.asarray(points, np.float64)


def solve_pose(
  points: Float[np.ndarray, "k 3"],
  points_px: Float[np.ndarray, "k 2"],
  camera: Camera,
  size: int,
  *,
  weights: Float[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, " 6"]:
  """The pose in which 3D points project onto given pixels, robustly.

  Least squares under perspective with a soft L1 loss, from three yaws.

  Args:
    points: in head space, dm.
    points_px: where they are seen, (x, y) in px of a square image.
    camera: of the image.
    size: width and height of the image, px.
    weights: of the points; by default 1, and 0.2 for the jaw of 68 landmarks.

  Returns:
    Axis-angle rotation and translation (dm), as `geometry.camera.head_to_world` takes.

  Raises:
    ValueError: fewer than four points, other shapes, or coordinates that are not
      finite.
  """
  points, points_px = np.asarray(points, float), np.asarray(points_px, float)
  if points.shape[1:] != (3,) or points_px.shape != (len(points), 2) or len(points) < 4:
    raise ValueError(
      "points and points_px must be [K >= 4, 3] and [K, 2], got "
      f"{points.shape} and {points_px.shape}"
    )
  if not (np.isfinite(points).all() and np.isfinite(points_px).all()):
    raise ValueError("points and points_px must be finite, got NaN or infinity")
  if weights is None:
    weights = np.ones(len(points))
    if len(points) == 68:
      weights[landmarks.JAW] = _JAW_WEIGHT
  focal = size / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  share = np.sqrt(weights)[:, None] / (_OUTLIER * size)

  def residual(pose):
    px = _project(points, pose, camera, focal, size)
    return ((px - points_px) * share).reshape(-1)

  fits = [
    optimize.least_squares(residual, start, loss="soft_l1", x_scale=_SCALE)
    for start in _starts(points, points_px, camera, focal, size)
  ]
  return min(fits, key=lambda fit: fit.cost).x


# Typical changes of rotation (rad) and translation (dm).
_SCALE = np.array([0.3, 0.3, 0.3, 0.3, 0.3, 1.0])


def _project(points, pose, camera: Camera, focal: float, size: int):
  """Head space to px, in float64; agrees with `geometry.camera`."""
  world = Rotation.from_rotvec(pose[:3]).apply(points) + pose[3:]
  # Behind the camera there is no picture, but a fit may stray there on its way.
  depth = np.maximum(camera.distance - world[:, 2:], 0.1)
  px = focal * world[:, :2] * [1, -1] / depth
  return px + (size - 1) / 2


def _starts(points, points_px, camera: Camera, focal: float, size: int):
  """First guesses: size and place from the spread of the points, three yaws."""
  spread = np.linalg.norm(points_px - points_px.mean(0), axis=1).mean()
  actual = np.linalg.norm((points - points.mean(0))[:, :2], axis=1).mean()
  depth = focal * actual / max(spread, 1e-6)
  shift = (points_px.mean(0) - (size - 1) / 2) * [1, -1] * depth / focal
  for yaw in _STARTS_DEG:
    turn = Rotation.from_euler("y", yaw, degrees=True)
    place = np.array([*shift, camera.distance - depth])
    yield np.concatenate([turn.as_rotvec(), place - turn.apply(points.mean(0))])


def _centred(pose, matrix, camera: Camera, size: int):
  """The crop matrix after which a pose has no translation and no roll."""
  turn = Rotation.from_rotvec(pose[:3]).as_matrix()
  roll = math.atan2(turn[1, 0], turn[0, 0])
  focal = size / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  origin = _project(np.zeros((1, 3)), pose, camera, focal, size)[0]
  larger = (camera.distance - pose[5]) / camera.distance
  # Image y points down: a roll that is counter-clockwise is turned back clockwise.
  c, s = math.cos(roll), math.sin(roll)
  linear = larger * np.array([[c, -s], [s, c]])
  shift = (size - 1) / 2 - linear @ origin
  after = np.concatenate([linear, shift[:, None]], 1)
  return after @ np.concatenate([matrix, [[0, 0, 1]]])
