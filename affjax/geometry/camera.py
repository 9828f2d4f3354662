"""Camera projection: world -> camera -> clip -> ndc -> px, one function per arrow.

`affjax.types` states the conventions. Every function takes any leading axes. Those from
head space to pixels return NumPy arrays of NumPy arrays, and compile nothing then.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.geometry import rotation
from affjax.types import ArrayLike, ArrayT, Camera, stack_last


def focal_ndc(camera: Camera) -> float:
  """Returns the focal length in units of half the image height: `1 / tan(fov / 2)`."""
  return 1 / math.tan(math.radians(camera.fov_deg) / 2)


def focal_px(camera: Camera, height: float) -> float:
  """Returns the focal length in pixels of an image with `height` rows."""
  return height / 2 * focal_ndc(camera)


def head_to_world(
  points: Float[ArrayLike, "*#b v 3"], pose: Float[ArrayLike, "*#b 6"]
) -> Any:
  """Applies a pose: `R p + t`.

  Returns:
    Points `[..., V, 3]`: a NumPy array if both arguments are, else a JAX array.
  """
  if isinstance(points, np.ndarray) and isinstance(pose, np.ndarray):
    matrix = rotation.axis_angle_to_matrix(pose[..., :3])
    turned = points @ np.swapaxes(matrix, -1, -2)
  else:
    matrix = rotation.axis_angle_to_matrix(jnp.asarray(pose)[..., :3])
    # Accelerators would round to 10 bits (TF32) by default: a tenth of a millimetre.
    turned = jnp.einsum("...vj,...ij->...vi", points, matrix, precision="highest")
  return turned + pose[..., None, 3:]


def world_to_cam(
  points: Float[ArrayT, "*b 3"], camera: Camera
) -> Float[ArrayT, "*b 3"]:
  """Maps world to camera space; the camera looks along -z from `(0, 0, distance)`."""
  # By components: no broadcast over ranks, which `rank_promotion="raise"` forbids.
  return stack_last(points[..., 0], points[..., 1], points[..., 2] - camera.distance)


def cam_to_clip(
  points: Float[ArrayT, "*b 3"], camera: Camera, *, aspect: float = 1.0
) -> Float[ArrayT, "*b 4"]:
  """Maps camera to clip space; `w` is the distance along the optical axis, dm.

  Args:
    points: camera-space points.
    camera: the field of view and the planes.
    aspect: image width over height.
  """
  focal = focal_ndc(camera)
  depth = -points[..., 2]
  span = camera.far - camera.near
  z = (camera.far + camera.near) / span * depth - 2 * camera.far * camera.near / span
  # Image row 0 lies at y/w = -1, hence the sign of y.
  return stack_last(focal / aspect * points[..., 0], -focal * points[..., 1], z, depth)


def clip_to_ndc(points: Float[ArrayT, "*b 4"]) -> Float[ArrayT, "*b 3"]:
  """Divides by `w`."""
  return points[..., :3] / points[..., 3:]


def ndc_to_px(
  points: Float[ArrayT, "*b 3"], height: int, width: int
) -> Float[ArrayT, "*b 2"]:
  """Returns pixel coordinates (x, y); the center of the first pixel is (0, 0)."""
  x, y = points[..., 0], points[..., 1]
  return stack_last((x + 1) * (width / 2) - 0.5, (y + 1) * (height / 2) - 0.5)


def world_to_clip(
  points: Float[ArrayT, "*b 3"], camera: Camera, *, aspect: float = 1.0
) -> Float[ArrayT, "*b 4"]:
  """Maps world to clip space: `world_to_cam`, then `cam_to_clip`."""
  return cam_to_clip(world_to_cam(points, camera), camera, aspect=aspect)


def world_to_px(
  points: Float[ArrayT, "*b 3"], camera: Camera, height: int, width: int
) -> Float[ArrayT, "*b 2"]:
  """Maps world space to pixel coordinates."""
  clip = world_to_clip(points, camera, aspect=width / height)
  return ndc_to_px(clip_to_ndc(clip), height, width)


def ndc_depth_to_distance(
  depth: Float[ArrayLike, "*b"], camera: Camera
) -> Float[Array, "*b"]:
  """Returns the distance along the optical axis, dm, of a raster's `z/w`."""
  near, far = camera.near, camera.far
  return 2 * near * far / (far + near - jnp.asarray(depth) * (far - near))
