"""Where a head lies in the photo it was taken from, as matrices.

All in float64 NumPy, for files and pictures; training goes through
`affjax.geometry.camera`, with which this agrees.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.types import Camera

Projection = Float[np.ndarray, "3 4"]


def head_to_photo(
  pose: Float[np.ndarray, " 6"],
  camera: Camera,
  *,
  crop: Float[np.ndarray, "2 3"],
  crop_size: int,
) -> Projection:
  """The matrix from head space to pixels of the photo.

  For a head-space point `p` (dm), `(a, b, w) = matrix @ (x, y, z, 1)` gives the pixel
  `(a / w, b / w)`, the centre of the first pixel being (0, 0), and `w`, its distance
  from the camera along the optical axis, dm.

  Args:
    pose: axis-angle rotation and translation, as predicted for the crop.
    camera: the camera of the crop.
    crop: affine map from photo px to crop px.
    crop_size: height and width of the crop, px.
  """
  to_crop = camera_matrix(camera, crop_size) @ rigid(pose)
  back = np.linalg.inv(np.concatenate([crop, [[0, 0, 1]]]))
  return back @ to_crop


def camera_matrix(camera: Camera, size: int) -> Projection:
  """World space to homogeneous px of a square image; the last row gives distance."""
  focal = size / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  middle = (size - 1) / 2
  far = camera.distance
  return np.array(
    [
      [focal, 0, -middle, middle * far],
      [0, -focal, -middle, middle * far],
      [0, 0, -1, far],
    ]
  )


def rigid(pose: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "4 4"]:
  """A pose as a homogeneous matrix, head space to world space."""
  matrix = np.eye(4)
  matrix[:3, :3] = _rotation(pose)
  matrix[:3, 3] = pose[3:]
  return matrix


def project(
  points: Float[np.ndarray, "n 3"], projection: Projection
) -> Float[np.ndarray, "n 2"]:
  """Pixels of head-space points."""
  image = points @ projection[:, :3].T + projection[:, 3]
  return image[:, :2] / image[:, 2:]


def to_clip(
  points: Float[np.ndarray, "v 3"], projection: Projection, camera: Camera, size: int
) -> Float[np.ndarray, "v 4"]:
  """Clip space of a square raster whose px the projection gives."""
  x, y, w = (points @ projection[:, :3].T + projection[:, 3]).T
  span = camera.far - camera.near
  z = (camera.far + camera.near) / span * w - 2 * camera.far * camera.near / span
  return np.stack([2 / size * (x + w / 2) - w, 2 / size * (y + w / 2) - w, z, w], -1)


def scaled(
  projection: Projection, factor: float, shift: tuple[float, float]
) -> Projection:
  """The projection into an image scaled by `factor` after moving `shift` to its corner.

  Args:
    projection: to px of one image.
    factor: px of the new image for one px of the old.
    shift: (x, y) of the old image, in edge coordinates, that is the new corner.
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
  """The head's rotation as the photo shows it: the crop's turn undone."""
  back = np.linalg.inv(crop[:, :2])
  back = back / math.sqrt(abs(np.linalg.det(back)))
  turn = np.eye(3)
  # Image rows grow downwards, +y upwards.
  turn[:2, :2] = [[back[0, 0], -back[0, 1]], [-back[1, 0], back[1, 1]]]
  return turn @ _rotation(pose)


def yaw_pitch_roll_deg(
  rotation: Float[np.ndarray, "3 3"],
) -> tuple[float, float, float]:
  """Angles as `affjax.geometry.rotation.euler_deg_to_axis_angle` takes them."""
  roll, yaw, pitch = Rotation.from_matrix(rotation).as_euler("ZYX", degrees=True)
  return float(yaw), float(pitch), float(roll)


def _rotation(pose: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "3 3"]:
  return Rotation.from_rotvec(np.asarray(pose, np.float64)[:3]).as_matrix()
