"""Regions of the head, described in the space of MakeHuman's base mesh (dm)."""

import numpy as np

from affjax.assets.build import head_mesh
from affjax.assets.build.head_types import MOUTH, SOCKET


def seam_end(axis: np.ndarray, top: int) -> int:
  """Index on the back mid-line (neck first) where the seam ends, short of the top."""
  behind = axis[top, 2] - 0.35
  return int(np.argmin(np.abs(axis[: top + 1, 2] - behind) + 10 * (axis[: top + 1, 1] < 7.8)))


def face_distance(points: np.ndarray) -> np.ndarray:
  """How far inside the face a point is, dm: negative on scalp, ears, neck.

  The face ends at the hairline, a little before the ears, and under the jaw.
  """
  y, z = points[:, 1], points[:, 2]
  side = z - 0.66 - 0.83 * np.maximum(y - 7.1, 0)
  side = side / np.where(y > 7.1, np.hypot(1, 0.83), 1)
  jaw = (y - 6.6 + (z - 0.6) * 0.6) / np.hypot(1, 0.6)
  return np.minimum(side, jaw)


def ear_weight(points: np.ndarray) -> np.ndarray:
  """1 on the ears, falling to 0 around them."""
  offset = (points - [0, 7.05, 0.4]) * [0, 1 / 0.36, 1 / 0.3]
  near = np.exp(-((offset**2).sum(1) ** 2))
  return near * step(np.abs(points[:, 0]), 0.62, 0.7)


def flat_size(points, faces, parts) -> tuple[np.ndarray, np.ndarray]:
  """Scale (1 / dm) of each triangle in the UV square, and weight of its distortion."""
  centre = points[faces].mean(1)
  face = step(face_distance(centre), -0.35, 0.05)
  inner = np.isin(parts, (MOUTH, SOCKET))
  scale = 0.125 + 0.315 * face
  scale = scale * (1 + 0.4 * ear_weight(centre))
  scale = np.where(inner, np.where(parts == MOUTH, 0.1, 0.07), scale)
  weight = np.where(inner, 0.02, 0.15 + face)
  return scale, weight


def step(value, low, high):
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def alignment_weights(points: np.ndarray) -> np.ndarray:
  """How much each vertex counts in the alignment: face most, neck and ears nothing."""
  face = step(face_distance(points), -0.2, 0.1)
  skull = step(points[:, 1], 6.9, 7.4)
  return (0.3 * skull + face) * (1 - ear_weight(points)) + 1e-9


def neck_falloff(points: np.ndarray) -> np.ndarray:
  """1 on the cut of the neck, 0 from the jaw upwards; smooth."""
  return 1 - step(head_mesh.height_over_cut(points), 0.0, 0.55)


def neck_on_plane(samples: np.ndarray, base: np.ndarray) -> np.ndarray:
  """Moves the neck's end of each sample onto the plane of the cut."""
  normal = head_mesh.cut_normal()
  falloff = neck_falloff(base)
  border = head_mesh.height_over_cut(base) < 1e-6
  height = (samples - base) @ normal
  # The border is moved by its own height, the neck above it by the mean of it.
  mean = height[:, border].mean(1)
  move = falloff * np.where(border, height, mean[:, None])
  return (samples - move[..., None] * normal).astype(np.float32)


def ear_mask(points: np.ndarray) -> np.ndarray:
  """1 on the ears."""
  offset = (points - [0, 7.06, 0.36]) * [0, 1 / 0.33, 1 / 0.27]
  return step(np.abs(points[:, 0]), 0.63, 0.67) * step(
    1 - np.linalg.norm(offset, axis=1), -0.05, 0.05
  )


def neck_mask(points: np.ndarray) -> np.ndarray:
  """1 on the neck, below the jaw and the hairline of the nape."""
  return step(6.75 - points[:, 1], -0.06, 0.06)
