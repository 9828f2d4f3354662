"""NumPy definitions of measures of shapes, one head and one point at a time."""

import numpy as np
from scipy.spatial.transform import Rotation


def similarity(source, target, weights, *, scaled=True, turned=True):
  """Moves points by the least squares motion of corresponding points (Kabsch)."""
  share = weights / weights.sum()
  from_mean, to_mean = share @ source, share @ target
  a, b = source - from_mean, target - to_mean
  turn = np.eye(3)
  if turned:
    turn = Rotation.align_vectors(b, a, weights=np.maximum(weights, 1e-12))[
      0
    ].as_matrix()
  a = a @ turn.T
  scale = (share @ (a * b).sum(-1)) / (share @ (a * a).sum(-1)) if scaled else 1.0
  return scale * a + to_mean


def position_error(own, true, alignment, region):
  """Mean absolute difference of a coordinate over a region."""
  options = {
    "scale": {"turned": False},
    "rigid": {"scaled": False},
    "similarity": {},
  }
  face, chosen = region
  moved = (
    own if alignment == "none" else similarity(own, true, face, **options[alignment])
  )
  total = 0.0
  for point, place, weight in zip(moved, true, chosen, strict=True):
    total += weight * np.abs(point - place).sum() / 3
  return total / chosen.sum()
