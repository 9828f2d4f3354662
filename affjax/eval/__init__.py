"""Errors of reconstructions against 3D truth, one number a sample, with units.

Errors of shape are meaningful beside those of the mean head, which looks at nothing:
print it in every table.
"""

from affjax.eval._alignment import ALIGNMENTS, Similarity, align, aligned
from affjax.eval._depth import (
  DepthErrors,
  depth_errors,
  depth_from_gray,
  depth_normals,
)
from affjax.eval._geometry import (
  distance_error,
  landmark_error,
  normal_error,
  position_error,
  rotation_error,
  translation_error,
)
from affjax.eval._image import color_difference, l1_error, lab, psnr, ssim
from affjax.eval._regions import REGIONS, face_regions
from affjax.eval._scan import ScanDistances, scan_distances

__all__ = [
  "ALIGNMENTS",
  "REGIONS",
  "DepthErrors",
  "ScanDistances",
  "Similarity",
  "align",
  "aligned",
  "color_difference",
  "depth_errors",
  "depth_from_gray",
  "depth_normals",
  "distance_error",
  "face_regions",
  "l1_error",
  "lab",
  "landmark_error",
  "normal_error",
  "position_error",
  "psnr",
  "rotation_error",
  "scan_distances",
  "ssim",
  "translation_error",
]
