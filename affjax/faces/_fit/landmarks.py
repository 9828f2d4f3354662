"""Faces of photos to heads: pose, identity and expression from landmarks."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial.transform import Rotation

from affjax import compilation
from affjax.faces import _least_squares, _pose, warp
from affjax.faces._crop import Crop
from affjax.faces._find import Face
from affjax.faces._fit import solver
from affjax.faces._fit.model_points import (
  FittedModes,
  ModelPoints,
  model_points,
  on_points,
)
from affjax.faces._fit.solver import FitSettings
from affjax.geometry.camera import focal_ndc
from affjax.heads import MorphableModel, landmarks
from affjax.types import Camera


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
  """A head that explains a face's landmarks.

  Attributes:
    pose: Axis-angle rotation and translation (dm), before the camera of the crop.
    identity: Coefficients of all the model's identity modes, standard deviations.
    expression: Coefficients of all the model's expression units.
    fov_deg: Vertical field of view of the crop: the camera's, or the one found.
    vertices: Vertices in head space, dm; with expression, without pose.
    landmarks: Places of the model's 68 landmarks, px of the crop; the jaw's where they
      slid to.
    inner_error: Mean distance of landmarks 17-67 from the photo's, in percent of the
      distance of the photo's outer eye corners.
    contour_error: Mean distance of the photo's landmarks 0-16 from the line through the
      model's, in the same unit.
    converged: Whether the head can be used. In a fit to landmarks, the last step
      changed the cost by less than a hundredth; in one to the surface, the photo was
      read.
    deviations: Standard deviation of each vertex, mm; None where it is not known.
    doubts: Reasons not to trust the fit, each a phrase.
  """

  pose: Float[np.ndarray, " 6"]
  identity: Float[np.ndarray, " k"]
  expression: Float[np.ndarray, " e"]
  fov_deg: float
  vertices: Float[np.ndarray, "v 3"]
  landmarks: Float[np.ndarray, "68 2"]
  inner_error: float
  contour_error: float
  converged: bool
  deviations: Float[np.ndarray, " v"] | None = None
  doubts: tuple[str, ...] = ()


def fit_faces(
  model: MorphableModel,
  faces: Sequence[Face],
  crops: Sequence[Crop],
  camera: Camera,
  *,
  settings: FitSettings | None = None,
) -> list[Fit]:
  """Fits a morphable model to faces.

  Args:
    model: Morphable model with the 68 standard landmarks.
    faces: Faces, as `find_faces` returns them.
    crops: Crop of each face, as `face_crops` returns them.
    camera: Camera of the crops.
    settings: Noise and effort. `FitSettings(focal=0.5)` also fits the focal length. A
      picture says little about it, and part of it passes for shape: from 12.6 degrees
      to a selfie's 40 the fit goes to about 27.

  Raises:
    ValueError: The numbers of faces and crops differ, landmarks are not finite, or the
      model cannot be fitted.
  """
  if len(faces) != len(crops):
    raise ValueError(
      f"faces and crops must be as many, got {len(faces)} faces, {len(crops)} crops"
    )
  if not faces:
    return []
  pairs = zip(faces, crops, strict=True)
  target = np.stack([warp.transform(c.matrix, f.landmarks68) for f, c in pairs])
  if not np.isfinite(target).all():
    raise ValueError("landmarks of faces must be finite, got NaN or infinity")
  sizes = np.array([crop.size for crop in crops], np.float32)
  points, fitted = model_points(model)
  pose, zoom, values, px, converged = _solve(
    points, target, sizes, camera, settings or FitSettings()
  )
  identity, expression = _all_coefficients(model, fitted, values)
  vertices = model.vertices(identity, expression)
  whole = np.isfinite(pose).all(1) & np.isfinite(vertices).all((1, 2))
  half = np.exp(-zoom.astype(float)) / focal_ndc(camera)
  good = np.logical_and(converged, whole)
  inner, contour = landmark_errors(target, px)
  return [
    Fit(
      pose[k],
      identity[k],
      expression[k],
      float(np.degrees(2 * np.arctan(half[k]))),
      vertices[k],
      px[k],
      inner_error=float(inner[k]),
      contour_error=float(contour[k]),
      converged=bool(good[k]),
    )
    for k in range(len(faces))
  ]


def _solve(
  points: ModelPoints,
  target: Float[np.ndarray, "n 68 2"],
  sizes: Float[np.ndarray, " n"],
  camera: Camera,
  settings: FitSettings,
) -> tuple[np.ndarray, ...]:
  """Returns pose, zoom, coefficients, landmarks (px) and convergence of each face."""
  share, ordered = sizes[:, None, None], ordered_ndc(target, sizes)
  run = functools.partial(_solve_chunk, points, camera=camera, settings=settings)
  with jax.default_matmul_precision("highest"):
    turn, shift, *rest = _least_squares.in_chunks(run, ordered)
  pose = _pose.vectors(turn, shift).astype(np.float32)
  zoom, values, seen, converged = rest
  seen = np.concatenate([seen[:, solver.INNER :], seen[:, : solver.INNER]], 1)
  return pose, zoom, values, (seen + 1) * (share / 2) - 0.5, converged


@compilation.saved(static_argnames=("camera", "settings"))
def _solve_chunk(
  points: ModelPoints,
  target: Float[Array, "n 68 2"],
  *,
  camera: Camera,
  settings: FitSettings,
) -> tuple[Array, ...]:
  def one(target: Float[Array, "68 2"]):
    state, seen, converged = solver.solve(points, target, camera, settings)
    return *state, seen, converged

  return jax.vmap(one)(target)


def _all_coefficients(
  model: MorphableModel, fitted: FittedModes, values: Float[np.ndarray, "n d"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n e"]]:
  """Returns coefficients of all modes and units; zero where they were not fitted."""
  identity = np.zeros((len(values), len(model.identity_basis)), np.float32)
  identity[:, : fitted.identity] = values[:, : fitted.identity]
  expression = np.zeros((len(values), len(model.expression_basis)), np.float32)
  expression[:, list(fitted.expression)] = values[:, fitted.identity :]
  return identity, expression


def ordered_ndc(
  px: Float[np.ndarray, "n 68 2"], sizes: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 68 2"]:
  """Returns image coordinates of landmarks in images of given sizes, the jaw's last."""
  ndc = _pose.ndc_of_px(px, sizes[:, None, None]).astype(np.float32)
  return np.concatenate([ndc[:, 17:], ndc[:, :17]], 1)


def landmarks_of_heads(
  model: MorphableModel,
  vertices: Float[np.ndarray, "n v 3"],
  pose: Float[np.ndarray, "n 6"],
  camera: Camera,
) -> Float[np.ndarray, "n 68 2"]:
  """Returns image coordinates in [-1, 1] of landmarks; the jaw's slide as in a fit."""
  points, _ = model_points(model)
  turn = Rotation.from_rotvec(pose[:, :3]).as_matrix().astype(np.float32)
  run = functools.partial(_seen_chunk, points.without_modes(), camera=camera)
  places = on_points(model, vertices)
  (seen,) = _least_squares.in_chunks(run, places, turn, pose[:, 3:])
  return np.concatenate([seen[:, solver.INNER :], seen[:, : solver.INNER]], 1)


@compilation.saved(static_argnames=("camera",))
def _seen_chunk(
  points: ModelPoints,
  places: Float[Array, "n q 3"],
  turn: Float[Array, "n 3 3"],
  shift: Float[Array, "n 3"],
  *,
  camera: Camera,
) -> tuple[Array, ...]:
  def one(place: Array, turn: Array, shift: Array):
    head = dataclasses.replace(points, mean=place)
    state = solver.State(turn, shift, jnp.zeros(()), jnp.zeros(0))
    return solver.see(head, state, camera, FitSettings()).ndc

  return (jax.vmap(one)(places, turn, shift),)


def landmark_errors(
  target: Float[np.ndarray, "n 68 2"], px: Float[np.ndarray, "n 68 2"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
  """Returns mean inner and contour error, % of the interocular distance."""
  left, right = landmarks.OUTER_EYE_CORNERS
  share = 100 / np.maximum(
    np.linalg.norm(target[:, left] - target[:, right], axis=1), 1e-6
  )
  inner = np.linalg.norm(px[:, 17:] - target[:, 17:], axis=-1).mean(1)
  start, way = px[:, None, :16], np.diff(px[:, :17], axis=1)[:, None]
  from_start = target[:, :17, None] - start
  along = (from_start * way).sum(-1) / np.maximum((way**2).sum(-1), 1e-9)
  nearest = np.clip(along, 0, 1)[..., None] * way
  contour = np.linalg.norm(from_start - nearest, axis=-1).min(2).mean(1)
  return share * inner, share * contour
