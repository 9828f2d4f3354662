"""Poses that are solved from landmarks, and the quality of their error."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.faces import solve_pose
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import landmarks
from affjax.types import Camera, Template

# Error of the inner landmarks, % of the interocular distance: of the best fits, and of
# useless ones.
BEST, WORST = 1.0, 8.0


def pose_from_landmarks(
  vertices: Float[np.ndarray, "v 3"],
  template: Template,
  px: Float[np.ndarray, "68 2"],
  camera: Camera,
  size: int,
) -> tuple[Float[np.ndarray, " 6"], float]:
  """Solves the pose of a head from its landmarks in an aligned photo.

  Args:
    vertices: Vertices in head space, dm.
    template: Template of the vertices.
    px: The 68 landmarks in the photo, px.
    camera: Camera of the photo.
    size: Width and height of the photo, px.

  Returns:
    The pose `[6]`, and the mean distance of landmarks 17 to 67 in % of the distance of
    the outer eye corners.
  """
  points = template.landmark_positions(jnp.asarray(vertices))
  pose = solve_pose(np.asarray(points), px, camera, size).astype(np.float32)
  world = head_to_world(jnp.asarray(points), jnp.asarray(pose))
  found = np.asarray(world_to_px(world, camera, size, size))
  left, right = landmarks.OUTER_EYE_CORNERS
  eyes = np.linalg.norm(px[left] - px[right])
  off = np.linalg.norm(found - px, axis=-1)[17:].mean()
  return pose, float(100 * off / max(eyes, 1e-6))


def quality_of_error(error: float, worst: float = WORST) -> float:
  """Returns 1 for errors up to 1 %, and linearly less, down to 0.1 at `worst`."""
  share = (error - BEST) / (worst - BEST)
  return float(1 - 0.9 * np.clip(share, 0, 1))
