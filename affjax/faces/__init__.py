"""Faces in photos: detection, landmarks, crops, visible skin, and the fitted head."""

from affjax.faces._crop import (
  Crop,
  apply_crop,
  face_crop,
  face_crops,
  initial_pose,
  mean_landmarks,
  solve_pose,
  solve_poses,
)
from affjax.faces._detect import detect_faces
from affjax.faces._find import Face, find_faces, find_in_all
from affjax.faces._fit import Fit, check_fittable, fit_faces
from affjax.faces._fit.photometric import read_colors
from affjax.faces._iris import irises
from affjax.faces._mesh import standard68
from affjax.faces._photo import PhotoError, decode_photo, read_photo
from affjax.faces._regions import visible_skin

__all__ = [
  "Crop",
  "Face",
  "Fit",
  "PhotoError",
  "apply_crop",
  "check_fittable",
  "decode_photo",
  "detect_faces",
  "face_crop",
  "face_crops",
  "find_faces",
  "find_in_all",
  "fit_faces",
  "initial_pose",
  "irises",
  "mean_landmarks",
  "read_colors",
  "read_photo",
  "solve_pose",
  "solve_poses",
  "standard68",
  "visible_skin",
]
