"""Where the features of a face lie, as smooth fields over its mean shape.

Everything here depends on the template alone, is computed once in NumPy from positions
and the 68 standard landmarks, and holds for any template: the fields are functions of
head-space points in dm, left and right folded together.
"""

import itertools

import numpy as np


def feature_fields(points: np.ndarray, landmarks: np.ndarray) -> dict[str, np.ndarray]:
  """Fields at points of the mean face.

  Args:
    points: float `[..., 3]`, head space, dm.
    landmarks: float `[68, 3]` of the same shape.

  Returns:
    Float32 `[...]` each. Distances in dm: `brow_across` (signed, up), `brow_along` (0
    at the inner end, 1 at the outer), `lid_upper` and `lid_lower` (signed, up, from the
    edges of the opening), `lip_line`, `fold` (from nose to corner of the mouth),
    `below_chin`. Weights in [0, 1]: `front`, `eye_span`, `cheek`, `nose`, `bag`,
    `forehead`, `moustache`, `chin`, `jaw`, `throat`, `mouth`, `temple`.
  """
  x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
  mark = _fold(landmarks)
  front = smoothstep(mark[36, 2] - 0.75, mark[36, 2] - 0.35, z)
  fields = {"front": front}
  fields |= _brow_fields(x, y, mark)
  fields |= _lid_fields(x, y, mark)
  fields |= _mouth_fields(x, y, mark)
  fields |= _beard_fields(x, y, z, mark)
  cheek = 0.5 * (mark[31] + mark[2]) + (0.0, 0.0, 0.1)
  fields["cheek"] = _bump(x, y, cheek[0] * 1.02, cheek[1] + 0.02, 0.24, 0.2)
  fields["nose"] = _bump(x, y, 0.0, mark[30, 1], 0.15, 0.14)
  fields["forehead"] = smoothstep(0.12, 0.3, y - mark[19, 1]) * (
    1 - smoothstep(0.5, 0.65, x)
  )
  fields["temple"] = smoothstep(0.45, 0.62, x) * _bump(
    x, y, 0.62, mark[36, 1] + 0.1, 0.3, 0.4
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


def smoothstep(low, high, value) -> np.ndarray:
  """0 below `low`, 1 above `high`, smooth between."""
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def polyline_distance(x, y, points: np.ndarray) -> np.ndarray:
  """Distance in the plane to a polyline `[n, 2]`."""
  best = np.full(np.shape(x), np.inf)
  for a, b in itertools.pairwise(points):
    d = b - a
    t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / (d @ d + 1e-12), 0, 1)
    best = np.minimum(best, np.hypot(x - a[0] - t * d[0], y - a[1] - t * d[1]))
  return best


def _fold(landmarks: np.ndarray) -> np.ndarray:
  """Landmarks averaged with their mirror images, x >= 0; indices of the left side."""
  pairs = {i: 16 - i for i in range(8)} | {17 + i: 26 - i for i in range(5)}
  pairs |= {31: 35, 32: 34, 36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}
  pairs |= {48: 54, 49: 53, 50: 52, 59: 55, 58: 56, 60: 64, 61: 63, 67: 65}
  marks = landmarks.astype(np.float64).copy()
  marks[:, 0] = np.abs(marks[:, 0])
  for left, right in pairs.items():
    marks[left] = marks[right] = 0.5 * (marks[left] + marks[right])
  return marks


def _bump(x, y, cx, cy, wide, high) -> np.ndarray:
  return np.exp(-(((x - cx) / wide) ** 2) - ((y - cy) / high) ** 2)


def _curve(x, points: np.ndarray) -> np.ndarray:
  """y of a parabola fitted to points `[n, 2]`, straight beyond their ends."""
  low, high = points[:, 0].min(), points[:, 0].max()
  fit = np.polyfit(points[:, 0], points[:, 1], 2)
  inner = np.clip(x, low, high)
  slope = np.polyval(np.polyder(fit), inner)
  return np.polyval(fit, inner) + np.clip(slope, -0.7, 0.7) * (x - inner)


def _brow_fields(x, y, mark) -> dict[str, np.ndarray]:
  points = mark[17:22, :2]
  along = (x - points[-1, 0]) / (points[0, 0] - points[-1, 0])
  # Landmarks lie on the brow's bone, which bends more than its hair.
  arch = _curve(x, points)
  middle = points[:, 1].mean()
  line = middle + 0.01 + 0.28 * (arch - middle)
  return {"brow_along": along, "brow_across": y - line}


def _lid_fields(x, y, mark) -> dict[str, np.ndarray]:
  upper = y - _curve(x, mark[[36, 37, 38, 39], :2])
  lower = y - _curve(x, mark[[36, 41, 40, 39], :2])
  inner, outer = mark[39, 0], mark[36, 0]
  middle = 0.5 * (inner + outer)
  span = np.clip(1.25 - ((x - middle) / (0.5 * (outer - inner))) ** 2, 0, 1)
  bag = np.exp(-(((lower + 0.1) / 0.065) ** 2)) * span
  return {"lid_upper": upper, "lid_lower": lower, "eye_span": span, "bag": bag}


def _mouth_fields(x, y, mark) -> dict[str, np.ndarray]:
  line = np.stack([mark[48, :2], mark[60, :2], mark[61, :2], mark[62, :2]])
  corner, wing = mark[48, :2], mark[31, :2]
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
    "mouth": _bump(x, y, 0, mark[62, 1], 0.36, 0.2),
  }


def _beard_fields(x, y, z, mark) -> dict[str, np.ndarray]:
  corner, jaw = mark[48], mark[3]
  top, base = mark[51, 1], mark[33, 1]
  middle = 0.5 * (top + base)
  reach = corner[0] + 0.06
  sag = 0.1 * np.clip(x / reach, 0, 1.3) ** 2
  moustache = smoothstep(
    0.11, 0.04, np.abs(y - middle + sag) * (0.13 / (base - top)) ** 0.5
  )
  moustache = moustache * smoothstep(reach + 0.05, reach - 0.05, x)
  chin = smoothstep(0.36, 0.24, x) * smoothstep(
    mark[57, 1] + 0.02, mark[57, 1] - 0.06, y
  )
  # The beard's upper edge falls from the ear to below the corner of the mouth.
  edge = np.interp(
    x,
    [corner[0], jaw[0], mark[1, 0]],
    [corner[1] - 0.1, jaw[1] + 0.2, mark[1, 1] + 0.25],
  )
  cheek = smoothstep(edge + 0.05, edge - 0.1, y) * smoothstep(0.1, 0.32, x)
  ear = smoothstep(mark[1, 2] - 0.12, mark[1, 2] + 0.02, z)
  below = mark[8, 1] - y
  return {
    "moustache": moustache,
    "chin": chin,
    "jaw": cheek * ear * smoothstep(0.35, 0.15, below),
    "throat": smoothstep(0.0, 0.1, below)
    * smoothstep(0.5, 0.2, below)
    * smoothstep(mark[8, 2] - 0.8, mark[8, 2] - 0.4, z),
    "below_chin": below,
  }
