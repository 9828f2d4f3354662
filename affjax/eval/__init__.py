"""Errors of reconstructions against 3D truth, one number a sample, with units.

Errors of shape are meaningful beside those of the mean head, which looks at nothing:
print it in every table.
"""

from affjax.eval._alignment import ALIGNMENTS, Similarity, align, aligned
from affjax.eval._cases import Cases, Heads, Truths
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
from affjax.eval._identity import (
  face_chips,
  identity_cosine,
  identity_distance,
  identity_features,
  retrieval,
  retrieval_rank,
)
from affjax.eval._image import color_difference, l1_error, lab, psnr, ssim
from affjax.eval._measures import MEASURES, Measure, measured, rendered
from affjax.eval._perceptual import perceptual_distance
from affjax.eval._regions import REGIONS, face_regions
from affjax.eval._scan import ScanDistances, scan_distances
from affjax.eval._statistics import Summary, summary
from affjax.eval._strata import STRATA, properties, stratum

__all__ = [
  "ALIGNMENTS",
  "MEASURES",
  "REGIONS",
  "STRATA",
  "Cases",
  "DepthErrors",
  "Heads",
  "Measure",
  "ScanDistances",
  "Similarity",
  "Summary",
  "Truths",
  "align",
  "aligned",
  "color_difference",
  "depth_errors",
  "depth_from_gray",
  "depth_normals",
  "distance_error",
  "face_chips",
  "face_regions",
  "identity_cosine",
  "identity_distance",
  "identity_features",
  "l1_error",
  "lab",
  "landmark_error",
  "measured",
  "normal_error",
  "perceptual_distance",
  "position_error",
  "properties",
  "psnr",
  "rendered",
  "retrieval",
  "retrieval_rank",
  "rotation_error",
  "scan_distances",
  "ssim",
  "stratum",
  "summary",
  "translation_error",
]
