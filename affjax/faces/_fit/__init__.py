"""Morphable models fitted to landmarks, and colors read off the photo."""

from affjax.faces._fit.completion import Scalp
from affjax.faces._fit.landmarks import Fit, fit_faces, landmark_errors
from affjax.faces._fit.model_points import check_fittable
from affjax.faces._fit.photometric import FaceColors, read_colors, with_eyes_and_mouth
from affjax.faces._fit.solver import FitSettings

__all__ = [
  "FaceColors",
  "Fit",
  "FitSettings",
  "Scalp",
  "check_fittable",
  "fit_faces",
  "landmark_errors",
  "read_colors",
  "with_eyes_and_mouth",
]
