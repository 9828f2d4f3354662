"""Errors of reconstructions against 3D truth, one number a sample, with units.

Errors of shape are meaningful beside those of the mean head, which looks at nothing:
print it in every table.
"""

from affjax.eval._alignment import (
  ALIGNMENTS,
  Similarity,
  align,
  aligned,
  alignment_of,
)
from affjax.eval._cases import INNER, Cases, Heads, Meshes, Photos, Truths, chosen
from affjax.eval._depth import (
  DepthErrors,
  depth_errors,
  depth_from_gray,
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
from affjax.eval._measures import MEASURES, Measure, measured
from affjax.eval._perceptual import perceptual_distance
from affjax.eval._photo_measures import (
  EMBEDDING_SIZE,
  RETRIEVALS,
  identity_pair,
  rendered,
  retrievals,
)
from affjax.eval._regions import REGIONS, face_regions
from affjax.eval._scan import ScanDistances, scan_distances
from affjax.eval._shape_measures import Values
from affjax.eval._statistics import Summary, summary
from affjax.eval._strata import STRATA, properties, stratum
from affjax.eval._unsup3d import unsup3d_depths

__all__ = [
  "ALIGNMENTS",
  "EMBEDDING_SIZE",
  "INNER",
  "MEASURES",
  "REGIONS",
  "RETRIEVALS",
  "STRATA",
  "Cases",
  "DepthErrors",
  "Heads",
  "Measure",
  "Meshes",
  "Photos",
  "ScanDistances",
  "Similarity",
  "Summary",
  "Truths",
  "Values",
  "align",
  "aligned",
  "alignment_of",
  "chosen",
  "color_difference",
  "depth_errors",
  "depth_from_gray",
  "distance_error",
  "face_chips",
  "face_regions",
  "identity_cosine",
  "identity_distance",
  "identity_features",
  "identity_pair",
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
  "retrievals",
  "rotation_error",
  "scan_distances",
  "ssim",
  "stratum",
  "summary",
  "translation_error",
  "unsup3d_depths",
]
