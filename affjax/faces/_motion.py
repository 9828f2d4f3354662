"""A head in the frames of a video: where it is, its expression, and their smoothing."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.faces import smoothing, warp
from affjax.faces._crop import Crop
from affjax.geometry.camera import focal_ndc
from affjax.types import Camera

# One-Euro filters of the pose (radians and dm) and of the weights, see
# `smoothing.step`; chosen by `experiments/tables/video_truth.py`.
_POSE = {"min_cutoff": 1.0, "beta": 10.0, "speed_cutoff": 2.0}
_WEIGHTS = {"min_cutoff": 2.0, "beta": 6.0, "speed_cutoff": 4.0}


class HeadMotion(NamedTuple):
  """A head in a frame.

  Attributes:
    rotation: Its rotation as the camera of the crop saw it, with the roll of the crop
      undone: a unit quaternion (x, y, z, w).
    place: Where its origin lies, px of the frame.
    size: Length of a decimeter there, px.
    weights: Weights of its expression units.
  """

  rotation: Float[np.ndarray, " 4"]
  place: Float[np.ndarray, " 2"]
  size: float
  weights: Float[np.ndarray, " e"]

  @classmethod
  def from_crop(
    cls,
    pose: Float[np.ndarray, " 6"],
    weights: Float[np.ndarray, " e"],
    crop: Crop,
    camera: Camera,
  ) -> "HeadMotion":
    """Returns the head with a pose before the camera of a crop."""
    x, y, z = map(float, pose[3:])
    size = focal_ndc(camera) * crop.size / 2 / (camera.distance - z)
    middle = (crop.size - 1) / 2
    seen = np.array([middle + size * x, middle - size * y])
    back = warp.invert(crop.matrix)
    # Image y points down: the crop's turn is a roll the other way.
    roll = math.atan2(back[0, 1], back[0, 0])
    turn = Rotation.from_euler("z", roll) * Rotation.from_rotvec(pose[:3])
    return cls(
      turn.as_quat(),
      warp.transform(back, seen),
      size * warp.scale(back),
      np.asarray(weights, np.float64),
    )

  def crop(self, size: int, camera: Camera) -> tuple[Crop, Float[np.ndarray, " 6"]]:
    """Returns an upright crop of the frame around the head, and the pose in it."""
    scale = focal_ndc(camera) * size / 2 / camera.distance / self.size
    shift = (size - 1) / 2 - scale * self.place
    matrix = np.concatenate([scale * np.eye(2), shift[:, None]], 1)
    vector = Rotation.from_quat(self.rotation).as_rotvec()
    return Crop(matrix, size), np.concatenate([vector, np.zeros(3)]).astype(np.float32)

  def angles_deg(self) -> tuple[float, float, float]:
    """Returns yaw, pitch and roll in the frame, see `Performance.head_deg`."""
    roll, yaw, pitch = Rotation.from_quat(self.rotation).as_euler("ZYX", degrees=True)
    return float(yaw), float(pitch), float(roll)

  def translation(
    self, frame_size: tuple[int, int], reference: float, camera: Camera
  ) -> Float[np.ndarray, " 3"]:
    """Returns where the head is before a camera that looks at the frame's middle, dm.

    Args:
      frame_size: Height and width of the frame, px.
      reference: The `size` of a head at the distance of `camera`, which gives the focal
        length: at such a head's place z is 0.
      camera: Camera, whose distance is used.
    """
    middle = (np.array(frame_size[::-1]) - 1) / 2
    x, y = (self.place - middle) / self.size
    return np.array([x, -y, camera.distance * (1 - reference / self.size)])


class MotionFilter:
  """One-Euro filters of a head's motion, see `smoothing`."""

  def __init__(self) -> None:
    self._pose: smoothing.Filtered | None = None
    self._weights: smoothing.Filtered | None = None
    self._unit = 1.0

  def step(self, motion: HeadMotion, time: float) -> HeadMotion:
    """Returns the filtered motion of the next frame.

    Args:
      motion: The head as it was found.
      time: Time of the frame, s.
    """
    if self._pose is None or self._weights is None:
      self._unit = motion.size
      self._pose = smoothing.start(self._vector(motion), time)
      self._weights = smoothing.start(motion.weights, time)
      return motion
    vector = self._vector(motion)
    if vector[:4] @ np.asarray(self._pose.given)[:4] < 0:
      vector[:4] *= -1  # the same rotation
    self._pose = smoothing.step(self._pose, vector, time, **_POSE)
    given = motion.weights
    self._weights = smoothing.step(self._weights, given, time, **_WEIGHTS)
    values = np.asarray(self._pose.values)
    return HeadMotion(
      values[:4] / max(float(np.linalg.norm(values[:4])), 1e-9),
      values[4:6] * self._unit,
      self._unit * math.exp(values[6] / 10),
      np.asarray(self._weights.values),
    )

  def _vector(self, motion: HeadMotion) -> Float[np.ndarray, " 7"]:
    """Returns the numbers that are filtered, in units near radians and dm."""
    nearness = 10 * math.log(motion.size / self._unit)
    return np.concatenate(
      [2 * motion.rotation, motion.place / self._unit, np.array([nearness])]
    )
