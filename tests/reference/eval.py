"""Slow twins of affjax.eval in NumPy and SciPy, sample by sample, pixel by pixel."""

import math

import numpy as np
from scipy.spatial.transform import Rotation


def similarity(source, target, weights, scaled):
  """(scale, R, t) by the method of Horn with SciPy's solver of Wahba's problem."""
  share = weights / weights.sum()
  a = source - share @ source
  b = target - share @ target
  rotation, _ = Rotation.align_vectors(b, a, weights=weights)
  turned = rotation.apply(a)
  scale = (share @ (turned * b).sum(1)) / (share @ (a * a).sum(1)) if scaled else 1.0
  return (
    scale,
    rotation.as_matrix(),
    share @ target - scale * rotation.apply(share @ source),
  )


def unsup3d(depth, truth):
  """SIDE, MAD and pixels of one pair of depth maps, by loops over pixels."""
  size = len(depth)
  depth = np.clip(depth, 0.8, 1.2)
  middle = (size - 1) / 2
  focal = middle / math.tan(math.radians(5))

  def counts(r, c):
    for i in range(r - 1, r + 2):
      for j in range(c - 1, c + 2):
        if not (0 <= i < size and 0 <= j < size):
          return False
        if not (truth[i, j] < truth.max() and depth[i, j] < 1.2):
          return False
    return True

  def normal(values, r, c):
    point = lambda i, j: (
      values[i, j] * np.array([(j - middle) / focal, (i - middle) / focal, 1.0])
    )
    if not (0 < r < size - 1 and 0 < c < size - 1):
      return np.array([0.0, 0.0, 1.0])
    n = np.cross(point(r, c + 1) - point(r, c - 1), point(r + 1, c) - point(r - 1, c))
    return n / np.linalg.norm(n)

  pixels = [(r, c) for r in range(size) for c in range(size) if counts(r, c)]
  log = np.array([math.log(depth[p]) - math.log(truth[p]) for p in pixels])
  angles = [
    math.degrees(math.acos(np.clip(normal(depth, *p) @ normal(truth, *p), -1, 1)))
    for p in pixels
  ]
  return log.std(), np.mean(angles), len(pixels)
