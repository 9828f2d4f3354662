"""Faces of photos to heads: pose, identity and expression from landmarks."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.faces import warp
from affjax.faces._crop import Crop
from affjax.faces._find import Face
from affjax.faces._fit import model_points, solver
from affjax.faces._fit.solver import Settings
from affjax.geometry import rotation
from affjax.heads import MorphableModel, landmarks
from affjax.types import Camera

# Faces solved at once; smaller sets are filled up to one of these.
CHUNKS = (1, 4, 16)
# Yaws to start from, degrees.
_STARTS_DEG = (0.0, -45.0, 45.0)


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
  """A head that explains a face's landmarks.

  Attributes:
    pose: axis-angle rotation and translation (dm), in front of the camera of the crop.
    identity: coefficients of all the model's identity modes, standard deviations.
    expression: coefficients of all the model's expression units.
    fov_deg: vertical field of view of the crop: the camera's, or what was found.
    vertices: head space, dm; with expression, without pose.
    landmarks: where the model's 68 landmarks lie, px of the crop; the jaw's where they
      slid to.
    inner_error: mean distance of landmarks 17-67 from the photo's, in percent of the
      distance of the photo's outer eye corners.
    contour_error: mean distance of the photo's landmarks 0-16 from the line through the
      model's, in the same unit.
    converged: whether the last step changed the cost by less than a hundredth.
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


def fit_faces(
  model: MorphableModel,
  faces: Sequence[Face],
  crops: Sequence[Crop],
  camera: Camera,
  *,
  settings: Settings | None = None,
) -> list[Fit]:
  """Fits a morphable model to faces.

  Args:
    model: any with the 68 standard landmarks.
    faces: as `affjax.faces.find` found them.
    crops: one each, as `affjax.faces.crop.face_crop` gives them.
    camera: of the crops.
    settings: noise and effort. `Settings(focal=0.5)` also looks for the focal length.
      A picture says little about it and part of it passes for shape: from 12.6 degrees
      to a selfie's 40 it goes to about 27.

  Raises:
    ValueError: the numbers of faces and crops differ, landmarks are not finite, or the
      model cannot be fitted.
  """
  if len(faces) != len(crops):
    raise ValueError(f"need a crop a face, got {len(faces)} faces, {len(crops)} crops")
  if not faces:
    return []
  target = np.stack(
    [
      warp.transform(crop.matrix, face.landmarks68)
      for face, crop in zip(faces, crops, strict=True)
    ]
  )
  if not np.isfinite(target).all():
    raise ValueError("landmarks of faces must be finite, got NaN or infinity")
  sizes = np.array([crop.size for crop in crops], np.float32)
  found = list(_solve(model, target, sizes, camera, settings or Settings()))
  pose, zoom, values, px, converged = (np.stack(x) for x in zip(*found, strict=True))
  identity, expression = _all_coefficients(model, values)
  vertices = np.asarray(_vertices(model)(identity, expression))
  whole = np.isfinite(pose).all(1) & np.isfinite(vertices).all((1, 2))
  half = math.tan(math.radians(camera.fov_deg) / 2) * np.exp(-zoom.astype(float))
  good = np.logical_and(converged, whole)
  inner, contour = _errors(target, px)
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


def _solve(model, target, sizes, camera: Camera, settings: Settings):
  """Pose, coefficients, landmarks and convergence of each face, in whole chunks."""
  marks, _ = model_points.of_model(model)
  focal = sizes / 2 / math.tan(math.radians(camera.fov_deg) / 2)
  ordered = np.concatenate([target[:, 17:], target[:, :17]], 1).astype(np.float32)
  starts = _starts(marks, ordered, focal, sizes, camera)
  first = 0
  while first < len(target):
    count = min(len(target) - first, CHUNKS[-1])
    chunk = next(size for size in CHUNKS if size >= count)
    at = np.minimum(np.arange(first, first + chunk), first + count - 1)
    out = _solve_chunk(
      marks,
      ordered[at],
      starts[at],
      focal[at],
      (sizes[at] - 1) / 2,
      distance=camera.distance,
      settings=settings,
    )
    yield from zip(*(np.asarray(x)[:count] for x in out), strict=True)
    first += count


@functools.partial(jax.jit, static_argnames=("distance", "settings"))
def _solve_chunk(marks, target, starts, focal, center, *, distance, settings):
  def one(target, starts, focal, center):
    lens = solver.Lens(focal, distance, center)
    state, seen, converged = solver.solve(marks, target, starts, lens, settings)
    pose = jnp.concatenate([rotation.matrix_to_axis_angle(state.turn), state.shift])
    px = jnp.concatenate([seen.px[solver.INNER :], seen.px[: solver.INNER]])
    return pose, state.zoom, state.values, px, converged

  return jax.vmap(one)(target, starts, focal, center)


def _starts(marks, target, focal, sizes, camera: Camera) -> Float[np.ndarray, "n s 6"]:
  """First guesses: size and place of the inner landmarks, three yaws."""
  points = np.asarray(marks.mean[: solver.INNER], np.float64)
  center = points.mean(0)
  actual = np.linalg.norm((points - center)[:, :2], axis=1).mean()
  inner = target[:, : solver.INNER]
  middle = inner.mean(1)
  spread = np.linalg.norm(inner - middle[:, None], axis=-1).mean(1)
  depth = focal * actual / np.maximum(spread, 1e-3)
  shift = (middle - (sizes[:, None] - 1) / 2) * [1, -1] * (depth / focal)[:, None]
  place = np.concatenate([shift, camera.distance - depth[:, None]], 1)
  starts = []
  for yaw in np.radians(_STARTS_DEG):
    turned = np.array(
      [
        center[0] * np.cos(yaw) + center[2] * np.sin(yaw),
        center[1],
        center[2] * np.cos(yaw) - center[0] * np.sin(yaw),
      ]
    )
    turn = np.broadcast_to([0.0, yaw, 0.0], (len(target), 3))
    starts.append(np.concatenate([turn, place - turned], 1))
  return np.stack(starts, 1).astype(np.float32)


def _all_coefficients(model: MorphableModel, values):
  """Coefficients of all modes and all units; zero where they were not fitted."""
  _, units = model_points.of_model(model)
  identity = np.zeros((len(values), len(model.identity_basis)), np.float32)
  identity[:, : units.identity] = values[:, : units.identity]
  expression = np.zeros((len(values), len(model.expression_basis)), np.float32)
  expression[:, list(units.expression)] = values[:, units.identity :]
  return identity, expression


@functools.lru_cache(maxsize=8)
def _vertices(model: MorphableModel):
  """`morphable.vertices` of a model, compiled for a batch."""
  return jax.jit(model.vertices)


def _errors(target, px) -> tuple[np.ndarray, np.ndarray]:
  """Mean inner and contour error of each face, % of its interocular distance."""
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
