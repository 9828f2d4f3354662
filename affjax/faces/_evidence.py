"""The evidence for a face that was found, and the probability that it is right.

BlazeFace and FaceMesh were trained apart. Where both look at a face, they agree on the
places of eyes, nose and mouth, and FaceMesh finds the same points again when it looks
a second time. On a face that it sees upside down, on half a face or on none, FaceMesh
answers with a face all the same, and only the agreement tells.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

# FaceMesh's points of BlazeFace's first four keypoints: eyes, nose tip, mouth.
_KEYPOINTS = ((33, 133), (362, 263), (4, 4), (13, 14))
# The log odds: a constant, and weights of the logarithms of disagreement and drift and
# of the log odds of both scores, as `experiments.confidence.measure` calibrates them.
_CONSTANT = -12.15
_WEIGHTS = (-0.59, -2.16, 1.90, 0.33)
# What is added to disagreement and drift, so that tiny ones count alike.
_LEAST = (0.005, 0.002)


@dataclasses.dataclass(frozen=True)
class Evidence:
  """The measurements that tell a face from something else.

  Attributes:
    detection: Score of the detector, in [0, 1].
    landmarks: Score of the landmark network, in [0, 1].
    disagreement: Mean distance of the detector's eyes, nose and mouth from those of the
      landmarks, in sizes of the face.
    drift: Mean distance by which the landmarks moved when the network looked again, in
      sizes of the face.
  """

  detection: float
  landmarks: float
  disagreement: float
  drift: float

  @property
  def probability(self) -> float:
    """Probability that there is a face and that its landmarks lie right."""
    return probability(self.log_odds)

  @property
  def log_odds(self) -> float:
    """Logarithm of the odds for it."""
    return _CONSTANT + math.fsum(
      weight * term for weight, term in zip(_WEIGHTS, self.terms, strict=True)
    )

  @property
  def terms(self) -> tuple[float, float, float, float]:
    """The numbers that are weighed."""
    return (
      math.log(self.disagreement + _LEAST[0]),
      math.log(self.drift + _LEAST[1]),
      log_odds(self.detection),
      log_odds(self.landmarks),
    )


def log_odds(share: float) -> float:
  """Returns the logarithm of the odds of a probability, within 9.2 of zero."""
  inside = min(max(share, 1e-4), 1 - 1e-4)
  return math.log(inside / (1 - inside))


def probability(log_odds: float) -> float:
  """Returns the probability of which the logarithm of the odds is given."""
  return 1 / (1 + math.exp(-max(min(log_odds, 30.0), -30.0)))


def evidence(
  *,
  detection: float,
  keypoints: Float[np.ndarray, "6 2"],
  landmarks: float,
  before: Float[np.ndarray, "468 3"],
  points: Float[np.ndarray, "468 3"],
) -> Evidence:
  """Returns the evidence for a face.

  Args:
    detection: Score of the detector.
    keypoints: Keypoints of the detector, px.
    landmarks: Score of the landmark network.
    before: Points of the landmark network where the detector saw the face, px.
    points: Points when it looked again, px.
  """
  size = max(float(np.ptp(points[:, :2], axis=0).max()), 1e-6)
  same = points[np.array(_KEYPOINTS), :2].mean(1)
  apart = np.linalg.norm(keypoints[:4] - same, axis=1).mean()
  moved = np.linalg.norm((points - before)[:, :2], axis=1).mean()
  return Evidence(detection, landmarks, float(apart / size), float(moved / size))
