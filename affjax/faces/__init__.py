"""Faces of photos: detection, landmarks, crops, visible skin, and the fitted head.

`read_photo` reads a file. `find_faces` returns the faces of a photo with 468 FaceMesh
points, 68 standard landmarks and irises (`Face`); `find_in_all` takes many photos.
`face_crops` and `apply_crop` cut the aligned squares that everything else works on;
`inside_photo` says which of their pixels the photo has.
`fit_surface` fits the embedded head to what the pixels of a crop show (`Fit`);
`fit_faces` fits any morphable model to landmarks. `confidence` says how likely it is
that a head lies right on a face. `visible_skin` says which pixels of a crop show it,
`read_colors` reads diffuse and light map off a crop, and `solve_poses` finds poses from
3D points. `Follower` follows the faces of a video, `Person` finds pose and expression
of a known head in its frames, and `MotionFilter` smooths them; `smoothing.Tracker`
smooths landmarks. `warp` resamples photos.
"""

from affjax.faces._confidence import confidence, limited_confidence, visible_share
from affjax.faces._crop import (
  Crop,
  apply_crop,
  face_crop,
  face_crops,
  initial_pose,
  inside_photo,
  mean_landmarks,
)
from affjax.faces._evidence import Evidence
from affjax.faces._find import LEAST_SCORE, Face, find_faces, find_in_all
from affjax.faces._fit import (
  FaceColors,
  Fit,
  FitSettings,
  Scalp,
  check_fittable,
  fit_faces,
  landmark_errors,
  read_colors,
  with_eyes_and_mouth,
)
from affjax.faces._follow import Follower
from affjax.faces._mesh import standard68
from affjax.faces._motion import HeadMotion, MotionFilter
from affjax.faces._photo import (
  PhotoError,
  check_signature,
  decode_photo,
  read_photo,
)
from affjax.faces._pose import solve_pose, solve_poses
from affjax.faces._regions import visible_skin
from affjax.faces._surface.chart import reads_surface_of
from affjax.faces._surface.fit import fit_surface
from affjax.faces._surface.person import FrameFits, Person

__all__ = [
  "LEAST_SCORE",
  "Crop",
  "Evidence",
  "Face",
  "FaceColors",
  "Fit",
  "FitSettings",
  "Follower",
  "FrameFits",
  "HeadMotion",
  "MotionFilter",
  "Person",
  "PhotoError",
  "Scalp",
  "apply_crop",
  "check_fittable",
  "check_signature",
  "confidence",
  "decode_photo",
  "face_crop",
  "face_crops",
  "find_faces",
  "find_in_all",
  "fit_faces",
  "fit_surface",
  "initial_pose",
  "inside_photo",
  "landmark_errors",
  "limited_confidence",
  "mean_landmarks",
  "read_colors",
  "read_photo",
  "reads_surface_of",
  "solve_pose",
  "solve_poses",
  "standard68",
  "visible_share",
  "visible_skin",
  "with_eyes_and_mouth",
]
