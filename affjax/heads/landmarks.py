"""The 68 standard (iBUG) landmarks of a head."""

import numpy as np
from jaxtyping import Float

from affjax.types import ArrayT, Template

JAW = np.arange(17)
BROWS = np.arange(17, 27)
NOSE = np.arange(27, 36)
EYES = np.arange(36, 48)
MOUTH = np.arange(48, 68)
OUTER_EYE_CORNERS = (36, 45)

# The landmark on the other side of each landmark.
MIRRORED = np.concatenate(
  [
    np.arange(16, -1, -1),
    np.arange(26, 16, -1),
    np.arange(27, 31),
    np.arange(35, 30, -1),
    [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],
    [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55],
    [64, 63, 62, 61, 60, 67, 66, 65],
  ]
)


def landmarks68(
  vertices: Float[ArrayT, "*b v 3"], template: Template
) -> Float[ArrayT, "*b 68 3"]:
  """Returns `template.landmark_positions(vertices)`."""
  return template.landmark_positions(vertices)


def outer_eye_distance(template: Template) -> float:
  """Returns the distance of the outer eye corners of the mean head, dm."""
  points = template.landmark_positions(template.vertices)
  left, right = OUTER_EYE_CORNERS
  return float(np.linalg.norm(points[left] - points[right]))
