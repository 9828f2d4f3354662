"""Smooth fields over the mean shape that locate the features of a face.

The fields depend on the template alone and are computed once in NumPy, from positions
and the 68 standard landmarks, for any template. They are functions of head-space points
in dm that treat left and right alike.
"""

import itertools

import numpy as np

from affjax.heads.landmarks import MIRRORED


def feature_fields(points: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the fields at points of the mean face.

  Args:
    points: Points `[..., 3]`, head space, dm.
    landmarks: Landmarks `[68, 3]` of the mean face, dm.

  Returns:
    Fields by name, float32 `[...]`. Distances in dm: `brow_across` (signed, up),
    `brow_along` (0 at the inner end, 1 at the outer), `lid_upper` and `lid_lower`
    (signed, up, from the edges of the eye's opening), `lip_line`, `fold` (from nose to
    corner of the mouth), `below_chin`. Weights in [0, 1]: `front`, `eye_span`,
    `cheek`, `nose`, `bag`, `forehead`, `moustache`, `chin`, `jaw`, `throat`, `mouth`,
    `temple`.
  """
  x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
  landmark = _fold(landmarks)
  front = smoothstep(landmark[36, 2] - 0.75, landmark[36, 2] - 0.35, z)
  fields = {"front": front}
  fields |= _brow_fields(x, y, landmark)
  fields |= _lid_fields(x, y, landmark)
  fields |= _mouth_fields(x, y, landmark)
  fields |= _beard_fields(x, y, z, landmark)
  cheek = 0.5 * (landmark[31] + landmark[2]) + (0.0, 0.0, 0.1)
  fields["cheek"] = _bump(x, y, cheek[0] * 1.02, cheek[1] + 0.02, 0.24, 0.2)
  fields["nose"] = _bump(x, y, 0.0, landmark[30, 1], 0.15, 0.14)
  fields["forehead"] = smoothstep(0.12, 0.3, y - landmark[19, 1]) * (
    1 - smoothstep(0.5, 0.65, x)
  )
  fields["temple"] = smoothstep(0.45, 0.62, x) * _bump(
    x, y, 0.62, landmark[36, 1] + 0.1, 0.3, 0.4
  )
  return {
    name: np.asarray(value * (front if name in _FRONTAL else 1), np.float32)
    for name, value in fields.items()
  }


_FRONTAL = (
  "cheek",
  "nose",
  "bag",
  "forehead",
  "moustache",
  "chin",
  "eye_span",
  "mouth",
)


def smoothstep(
  low: float | np.ndarray, high: float | np.ndarray, value: np.ndarray
) -> np.ndarray:
  """Returns a smooth step from 0 at `low` to 1 at `high`."""
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def polyline_distance(x: np.ndarray, y: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Returns the distance in the plane to a polyline `[n, 2]`."""
  best = np.full(np.shape(x), np.inf)
  for a, b in itertools.pairwise(points):
    d = b - a
    t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / (d @ d + 1e-12), 0, 1)
    best = np.minimum(best, np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1]))
  return best


def _fold(landmarks: np.ndarray) -> np.ndarray:
  """Returns landmarks averaged with their mirror images, x >= 0."""
  folded = landmarks.astype(np.float64).copy()
  folded[:, 0] = np.abs(folded[:, 0])
  return 0.5 * (folded + folded[MIRRORED])


def _bump(
  x: np.ndarray, y: np.ndarray, cx: float, cy: float, wide: float, high: float
) -> np.ndarray:
  return np.exp(-(((x - cx) / wide) ** 2) - ((y - cy) / high) ** 2)


def _curve(x: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Returns y of a parabola fitted to points `[n, 2]`, straight beyond their ends."""
  low, high = points[:, 0].min(), points[:, 0].max()
  fit = np.polyfit(points[:, 0], points[:, 1], 2)
  inner = np.clip(x, low, high)
  slope = np.polyval(np.polyder(fit), inner)
  return np.polyval(fit, inner) + np.clip(slope, -0.7, 0.7) * (x - inner)


def _brow_fields(
  x: np.ndarray, y: np.ndarray, landmark: np.ndarray
) -> dict[str, np.ndarray]:
  points = landmark[17:22, :2]
  along = (x - points[-1, 0]) / (points[0, 0] - points[-1, 0])
  # Landmarks follow the bone of the brow, which is more arched than its hair.
  arch = _curve(x, points)
  middle = points[:, 1].mean()
  line = middle + 0.01 + 0.28 * (arch - middle)
  return {"brow_along": along, "brow_across": y - line}


def _lid_fields(
  x: np.ndarray, y: np.ndarray, landmark: np.ndarray
) -> dict[str, np.ndarray]:
  upper = y - _curve(x, landmark[[36, 37, 38, 39], :2])
  lower = y - _curve(x, landmark[[36, 41, 40, 39], :2])
  inner, outer = landmark[39, 0], landmark[36, 0]
  middle = 0.5 * (inner + outer)
  span = np.clip(1.25 - ((x - middle) / (0.5 * (outer - inner))) ** 2, 0, 1)
  bag = np.exp(-(((lower + 0.1) / 0.065) ** 2)) * span
  return {"lid_upper": upper, "lid_lower": lower, "eye_span": span, "bag": bag}


def _mouth_fields(
  x: np.ndarray, y: np.ndarray, landmark: np.ndarray
) -> dict[str, np.ndarray]:
  line = np.stack(
    [landmark[48, :2], landmark[60, :2], landmark[61, :2], landmark[62, :2]]
  )
  corner, wing = landmark[48, :2], landmark[31, :2]
  fold = np.stack(
    [
      wing + np.array([0.05, 0.04]),
      0.5 * (corner + wing) + np.array([0.1, 0.0]),
      corner + np.array([0.1, -0.05]),
    ]
  )
  return {
    "lip_line": polyline_distance(x, y, line),
    "fold": polyline_distance(x, y, fold),
    "mouth": _bump(x, y, 0, landmark[62, 1], 0.36, 0.2),
  }


def _beard_fields(
  x: np.ndarray, y: np.ndarray, z: np.ndarray, landmark: np.ndarray
) -> dict[str, np.ndarray]:
  corner, jaw = landmark[48], landmark[3]
  top, base = landmark[51, 1], landmark[33, 1]
  middle = 0.5 * (top + base)
  reach = corner[0] + 0.06
  sag = 0.1 * np.clip(x / reach, 0, 1.3) ** 2
  moustache = smoothstep(
    0.11, 0.04, np.abs(y - middle + sag) * (0.13 / (base - top)) ** 0.5
  )
  moustache = moustache * smoothstep(reach + 0.05, reach - 0.05, x)
  chin = smoothstep(0.36, 0.24, x) * smoothstep(
    landmark[57, 1] + 0.02, landmark[57, 1] - 0.06, y
  )
  # The beard's upper edge falls from the ear to below the corner of the mouth.
  edge = np.interp(
    x,
    [corner[0], jaw[0], landmark[1, 0]],
    [corner[1] - 0.1, jaw[1] + 0.2, landmark[1, 1] + 0.25],
  )
  cheek = smoothstep(edge + 0.05, edge - 0.1, y) * smoothstep(0.1, 0.32, x)
  ear = smoothstep(landmark[1, 2] - 0.12, landmark[1, 2] + 0.02, z)
  below = landmark[8, 1] - y
  return {
    "moustache": moustache,
    "chin": chin,
    "jaw": cheek * ear * smoothstep(0.35, 0.15, below),
    "throat": smoothstep(0.0, 0.1, below)
    * smoothstep(0.5, 0.2, below)
    * smoothstep(landmark[8, 2] - 0.8, landmark[8, 2] - 0.4, z),
    "below_chin": below,
  }
