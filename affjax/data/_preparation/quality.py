"""The quality of a sample: one number in [0, 1] from five measurements.

quality = within · (geometry · detection · resolution · sharpness)^(1/4), each in
[0, 1]: one low factor lowers the product, and a zero makes it zero.

- geometry: the provider's estimate; for a fit, 1 up to a landmark error of 1 % of the
  interocular distance, and 0.1 at 8 %.
- detection: the landmark network's score for a face.
- resolution: 1 where the photo has at least half as many px across the face as the
  aligned photo, proportionally less if it has fewer.
- sharpness: v / (v + 12), where v is the variance of the Laplacian of the face's gray
  values (0-255) in the aligned photo at 256 px. In focus, v is 60 to 500; in photos too
  blurred to use it is below 5.
- within: the share of landmarks 17 to 67 that lie in the photo. The network can only
  guess those beyond the photo's edge.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from affjax.faces import Crop, warp

_SIDE = 256
_HALF_SHARP = 12.0


def quality(
  *,
  geometry: float,
  detection: float,
  resolution: float,
  sharpness: float,
  within: float,
) -> float:
  """Returns `within` times the geometric mean of the other four factors."""
  parts = np.clip([geometry, detection, resolution, sharpness], 0, 1)
  return float(np.prod(parts) ** 0.25 * np.clip(within, 0, 1))


def resolution(crop: Crop) -> float:
  """Returns the px of the photo in two px of the aligned photo, at most 1."""
  return min(1.0, 2 / warp.scale(crop.matrix))


def within(landmarks: Float[np.ndarray, "68 2"], shape: Sequence[int]) -> float:
  """Returns the share of inner landmarks (px) in a photo of `shape` (height, width)."""
  inner = landmarks[17:]
  return float(
    np.all((inner >= -0.5) & (inner <= np.array(shape[::-1]) - 0.5), 1).mean()
  )


def sharpness(
  image: UInt8[np.ndarray, "s s 3"], landmarks: Float[np.ndarray, "68 2"]
) -> float:
  """Returns the sharpness of a face in [0, 1).

  Args:
    image: Aligned photo.
    landmarks: Landmarks in it, px; the box around them is measured.
  """
  gray = (
    Image.fromarray(image).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
  )
  low = np.floor(landmarks.min(0) * _SIDE / len(image)).astype(int)
  high = np.ceil(landmarks.max(0) * _SIDE / len(image)).astype(int) + 1
  (x0, y0), (x1, y1) = np.clip(low, 0, _SIDE - 3), np.clip(high, 3, _SIDE)
  face = np.asarray(gray, np.float32)[y0 : max(y1, y0 + 3), x0 : max(x1, x0 + 3)]
  laplacian = (
    face[:-2, 1:-1] + face[2:, 1:-1] + face[1:-1, :-2] + face[1:-1, 2:]
  ) - 4 * face[1:-1, 1:-1]
  variance = float(laplacian.var())
  return variance / (variance + _HALF_SHARP)
