"""Regions of the head, described in the space of MakeHuman's base mesh (dm)."""

import numpy as np

from experiments.assets import head_mesh
from experiments.assets.head_types import MOUTH, SOCKET


def seam_end(axis: np.ndarray, top: int) -> int:
  """Index on the back mid-line (from the neck) at which the seam ends below the top."""
  behind = axis[top, 2] - 0.35
  return int(
    np.argmin(np.abs(axis[: top + 1, 2] - behind) + 10 * (axis[: top + 1, 1] < 7.8))
  )


def face_distance(points: np.ndarray) -> np.ndarray:
  """Returns the depth of a point inside the face, dm: negative on scalp, ears, neck.

  The face ends at the hairline, a little before the ears, and under the jaw.
  """
  x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
  side = (z - 0.66 - 0.45 * np.maximum(y - 7.25, 0)) * 0.95
  top = 7.99 - y - 0.25 * x**2
  jaw = (y - 6.54 + (z - 0.6) * 0.6) / np.hypot(1, 0.6)
  return np.minimum(_smooth_minimum(side, top, 0.25), jaw)


def _smooth_minimum(a, b, width):
  """The minimum of two, rounded where they differ by less than `width`."""
  overlap = np.maximum(width - np.abs(a - b), 0) / width
  return np.minimum(a, b) - overlap**2 * width / 4


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
  # Eyes, nose and mouth get more of the square than cheeks, temples and forehead.
  middle = step(centre[:, 2], 0.95, 1.25) * step(7.7 - centre[:, 1], 0, 0.3)
  scale = 0.125 + (0.22 + 0.09 * middle) * face
  scale = scale * (1 + 0.8 * ear_weight(centre))
  scale = np.where(inner, np.where(parts == MOUTH, 0.1, 0.07), scale)
  weight = np.where(
    inner, np.where(parts == MOUTH, 0.06, 0.01), 0.06 + face * (1 + 2 * middle)
  )
  return scale, weight


def step(value, low, high):
  """0 below `low`, 1 above `high`, smooth between."""
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def alignment_weights(points: np.ndarray) -> np.ndarray:
  """Weight of each vertex in the alignment: most on the face, none on neck and ears."""
  face = step(face_distance(points), -0.2, 0.1)
  skull = step(points[:, 1], 6.9, 7.4)
  return (0.3 * skull + face) * (1 - ear_weight(points)) + 1e-9


def neck_falloff(points: np.ndarray) -> np.ndarray:
  """1 on the cut of the neck, 0 from the jaw upwards; smooth."""
  return 1 - step(head_mesh.height_over_cut(points), 0.0, 0.55)


def neck_on_plane(samples: np.ndarray, base: np.ndarray) -> np.ndarray:
  """Moves the end of each sample's neck to the plane of the cut, near the mean.

  Shoulders reach into the cut of heavy people; less of that is left at the end.
  """
  normal = head_mesh.cut_normal()
  falloff = neck_falloff(base)[:, None]
  mean = samples.mean(0)
  samples = mean + (samples - mean) * (1 - 0.5 * falloff)
  border = np.flatnonzero(head_mesh.height_over_cut(base) < 1e-6)
  neck = np.flatnonzero(falloff[:, 0] > 0)
  height = (samples[:, border] - base[border]) @ normal
  # The neck above follows the nearest part of the border.
  across = np.linalg.norm(
    base[neck][:, None, ::2] - base[border][None, :, ::2], axis=-1
  )
  near = np.exp(-((across / 0.12) ** 2))
  move = height @ (near / near.sum(1, keepdims=True)).T * falloff[neck, 0]
  samples[:, neck] -= move[..., None] * normal
  rest = (samples[:, border] - base[border]) @ normal
  samples[:, border] -= rest[..., None] * normal
  return samples.astype(np.float32)


def ear_mask(points: np.ndarray) -> np.ndarray:
  """1 on the ears."""
  offset = (points - [0, 7.06, 0.36]) * [0, 1 / 0.33, 1 / 0.27]
  return step(np.abs(points[:, 0]), 0.63, 0.67) * step(
    1 - np.linalg.norm(offset, axis=1), -0.05, 0.05
  )


def neck_mask(points: np.ndarray) -> np.ndarray:
  """1 on the neck, below the jaw and the hairline of the nape."""
  return step(6.75 - points[:, 1], -0.06, 0.06)
