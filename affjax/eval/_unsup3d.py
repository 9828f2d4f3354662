"""True depth maps of heads as Unsup3D's evaluation has them."""

import math

import numpy as np
from jaxtyping import Float

from affjax.eval import _texels
from affjax.eval._cases import Truths
from affjax.geometry import depth

FARTHEST = 1.2
"""Depth of pixels that do not count, in Unsup3D's unit."""


def unsup3d_depths(truths: Truths) -> Float[np.ndarray, "n s s"]:
  """Returns the depth that each pixel of photos of heads shows, for `depth_errors`.

  The unit is that of `affjax.geometry.depth`. Pixels that do not show the head's
  surface, but background, hair or something in front of it, are at `FARTHEST`, so that
  the protocol "unsup3d" leaves them out.

  Args:
    truths: Photos of Unsup3D's camera, `affjax.geometry.depth.camera`, and the heads.

  Raises:
    ValueError: The photos are of another camera.
  """
  size = truths.photos.shape[1]
  wanted = depth.camera(truths.camera, size)
  if not math.isclose(wanted.fov_deg, truths.camera.fov_deg, rel_tol=1e-3):
    raise ValueError(
      f"photos of {size} px must be of a camera of {wanted.fov_deg:.4f} degrees, got "
      f"{truths.camera.fov_deg}"
    )
  found = _texels.depth_maps(truths.world, truths.template, truths.camera, size)
  shown = truths.visible & (found > 0)
  return np.where(shown, found / truths.camera.distance, FARTHEST).astype(np.float32)
