"""The place of a head in its photo, as float64 matrices for files and pictures.

Every matrix is read off the functions of `affjax.geometry.camera`, by applying them in
64 bits to the origin and to the unit vectors.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.geometry.camera import ndc_to_px, world_to_clip
from affjax.types import Camera

Projection = Float[np.ndarray, "3 4"]


def head_to_photo(
  pose: Float[np.ndarray, " 6"],
  camera: Camera,
  *,
  crop: Float[np.ndarray, "2 3"],
  crop_size: int,
) -> Projection:
  """Returns the matrix from head space to pixels of the photo.

  For a head-space point `p` (dm), `(a, b, w) = matrix @ (x, y, z, 1)` gives the pixel
  `(a / w, b / w)`, where the center of the first pixel is (0, 0), and `w`, the distance
  from the camera along the optical axis, dm.

  Args:
    pose: Axis-angle rotation and translation, as predicted for the crop.
    camera: Camera of the crop.
    crop: Affine map from photo px to crop px.
    crop_size: Height and width of the crop, px.
  """
  to_crop = camera_matrix(camera, crop_size) @ rigid(pose)
  to_photo = np.linalg.inv(np.concatenate([crop, [[0, 0, 1]]]))
  return to_photo @ to_crop


def camera_matrix(camera: Camera, size: int) -> Projection:
  """Returns the matrix from world space to homogeneous px of a square image."""
  return _ndc_to_px(size) @ _world_to_clip(camera)[[0, 1, 3]]


def rigid(pose: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "4 4"]:
  """Returns a pose as a homogeneous matrix, head space to world space."""
  matrix = np.eye(4)
  matrix[:3, :3] = Rotation.from_rotvec(pose[:3]).as_matrix()
  matrix[:3, 3] = pose[3:]
  return matrix


def project(
  points: Float[np.ndarray, "n 3"], projection: Projection
) -> Float[np.ndarray, "n 2"]:
  """Returns the pixels of head-space points."""
  image = points @ projection[:, :3].T + projection[:, 3]
  return image[:, :2] / image[:, 2:]


def to_clip(
  points: Float[np.ndarray, "v 3"], projection: Projection, camera: Camera, size: int
) -> Float[np.ndarray, "v 4"]:
  """Returns points in the clip space of a square raster.

  Args:
    points: Head-space points, dm.
    projection: Matrix from head space to px of the raster.
    camera: Camera, whose near and far planes are used.
    size: Height and width of the raster, px.
  """
  x, y, w = np.linalg.inv(_ndc_to_px(size)) @ projection
  # Clip-space z is an affine function of the distance w.
  world_z, world_w = _world_to_clip(camera)[2:]
  slope = world_z[2] / world_w[2]
  z = slope * w
  z[3] += world_z[3] - slope * world_w[3]
  matrix = np.stack([x, y, z, w])
  return points @ matrix[:, :3].T + matrix[:, 3]


def scaled(
  projection: Projection, factor: float, shift: tuple[float, float]
) -> Projection:
  """Returns the projection into a scaled part of an image.

  Args:
    projection: Matrix to px of the image.
    factor: Number of px of the new image for one px of the old.
    shift: Place (x, y) in the old image, in edge coordinates, of the new corner.
  """
  x, y = shift
  change = np.array(
    [
      [factor, 0, factor * (0.5 - x) - 0.5],
      [0, factor, factor * (0.5 - y) - 0.5],
      [0, 0, 1],
    ]
  )
  return change @ projection


def photo_rotation(
  pose: Float[np.ndarray, " 6"], crop: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "3 3"]:
  """Returns the rotation of the head in the photo: the turn of the crop is undone."""
  back = np.linalg.inv(crop[:, :2])
  back = back / math.sqrt(abs(np.linalg.det(back)))
  turn = np.eye(3)
  # Image rows grow downwards, +y upwards.
  turn[:2, :2] = [[back[0, 0], -back[0, 1]], [-back[1, 0], back[1, 1]]]
  return turn @ rigid(pose)[:3, :3]


def yaw_pitch_roll_deg(
  rotation: Float[np.ndarray, "3 3"],
) -> tuple[float, float, float]:
  """Returns the angles that `rotation.euler_deg_to_axis_angle` takes."""
  roll, yaw, pitch = Rotation.from_matrix(rotation).as_euler("ZYX", degrees=True)
  return float(yaw), float(pitch), float(roll)


@functools.lru_cache(maxsize=8)
def _world_to_clip(camera: Camera) -> Float[np.ndarray, "4 4"]:
  return _matrix(lambda points: world_to_clip(points, camera))


@functools.lru_cache(maxsize=8)
def _ndc_to_px(size: int) -> Float[np.ndarray, "3 3"]:
  """Returns the homogeneous matrix from (x, y) in ndc to px of a square image."""
  rows = _matrix(lambda points: ndc_to_px(points, size, size))
  return np.concatenate([rows[:, [0, 1, 3]], [[0, 0, 1]]])


def _matrix(
  function: Callable[[Float[np.ndarray, "4 3"]], Float[np.ndarray, "4 m"]],
) -> Float[np.ndarray, "m 4"]:
  """Returns the matrix of an affine function of points."""
  values = function(np.eye(4, 3))
  return np.concatenate([values[:3] - values[3], values[3:]]).T
