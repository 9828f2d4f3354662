"""Faces of photos to heads by what each pixel shows of the surface."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.faces import _least_squares, _pose, warp
from affjax.faces._crop import Crop, mean_landmarks
from affjax.faces._find import Face
from affjax.faces._fit import Fit, fit_faces, landmark_errors
from affjax.faces._surface import anchors as anchoring
from affjax.faces._surface import people as peopling
from affjax.faces._surface.anchors import MESH_STEP, Anchors, Errors, Surface
from affjax.faces._surface.estimate import (
  Estimate,
  EstimateSettings,
  estimate,
  seen_from,
)
from affjax.faces._surface.head_model import View
from affjax.faces._surface.read import read_surface
from affjax.faces._surface.votes import Maps, observe
from affjax.geometry import rotation
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import MorphableModel
from affjax.types import Camera

# Share of the anchors below which the surface says little, and the standardized error
# above which a photo is unlike those that the errors were measured on.
_LITTLE, _UNLIKE = 0.1, 2.0
# Error of the inner landmarks, % of the interocular distance, above which a head is off
# the face.
_OFF = 12.0


def fit_surface(
  model: MorphableModel,
  faces: Sequence[Face],
  crops: Sequence[Crop],
  images: np.ndarray,
  camera: Camera,
  *,
  people: Sequence[int] | None = None,
  maps: Maps | None = None,
) -> list[Fit]:
  """Fits the embedded head to what the pixels of crops show of its surface.

  The geometry network says for each pixel which point of the head it shows, and
  FaceMesh where its 468 points lie; the errors of both were measured together on
  held-out synthetic photos. A photo that shows little, or that the network cannot read,
  gives a head near the mean one with large `deviations`, and `doubts` says so.

  Args:
    model: Morphable model. Others than the embedded head are fitted to landmarks
      (`fit_faces`): the network knows the embedded one only.
    faces: Faces, as `find_faces` returns them.
    crops: Crop of each face, as `face_crops` returns them.
    images: The crops' pixels, uint8 `[N, S, S, 3]`.
    camera: Camera of the crops. The true camera's distance is estimated, too, but the
      poses are those before this one.
    people: Number of the person on each photo; photos of the same person share the
      identity. By default, each is another person.
    maps: Result of `read_surface` for the images, if it is known already.

  Raises:
    ValueError: Numbers of faces, crops, images and people differ, or landmarks are not
      finite.
  """
  people = range(len(faces)) if people is None else people
  counts = len(faces), len(crops), len(images), len(people)
  if len(set(counts)) > 1:
    got = ", ".join(map(str, counts))
    raise ValueError(f"faces, crops, images and people must be as many, got {got}")
  if not anchoring.reads_surface_of(model) or not faces:
    return fit_faces(model, faces, crops, camera)
  pairs = list(zip(faces, crops, strict=True))
  px = np.stack([warp.transform(c.matrix, f.landmarks68) for f, c in pairs])
  mesh = np.stack([warp.transform(c.matrix, f.landmarks[:, :2]) for f, c in pairs])
  if not (np.isfinite(px).all() and np.isfinite(mesh).all()):
    raise ValueError("landmarks of faces must be finite, got NaN or infinity")
  sizes = np.array([crop.size for crop in crops], np.float32)[:, None, None]
  mean = mean_landmarks(model.template)
  # Image coordinates are the px of an image of 2 px, less half a pixel.
  starts = _pose.solve_poses(mean, _pose.ndc_of_px(px, sizes) + 0.5, camera, 2)
  maps = read_surface(images) if maps is None else maps
  surface = anchoring.load(model)
  ndc = _pose.ndc_of_px(mesh, sizes)[:, ::MESH_STEP].astype(np.float32)
  own = solved(surface, maps, ndc, starts.astype(np.float32), camera)
  found = peopling.shared(own, people, surface.identity)
  whole = np.isfinite(np.asarray(found.face)).all(1, keepdims=True)
  poses = np.where(whole, _poses(surface, found, own, camera), starts)
  return [
    _fit(
      model,
      surface,
      one_of(found, k),
      poses[k],
      px[k],
      camera,
      crops[k].size,
    )
    for k in range(len(faces))
  ]


def solved(
  surface: Surface,
  maps: Maps,
  mesh_ndc: Float[np.ndarray, "n m 2"],
  starts: Float[np.ndarray, "n 6"],
  camera: Camera,
) -> Estimate:
  """Returns what photos say about faces.

  Args:
    surface: Anchors and statistics of the head.
    maps: Answer of the geometry network.
    mesh_ndc: FaceMesh's points in image coordinates, NaN where there are none.
    starts: Roughly the poses of the mean head.
    camera: Camera of the photos.
  """
  with jax.default_matmul_precision("highest"):
    run = functools.partial(
      _solve_chunk, surface.anchors, surface.errors, camera=camera
    )
    problems = (*map(np.asarray, maps), mesh_ndc, starts)
    parts = map(jnp.asarray, _least_squares.in_chunks(run, *problems))
  turn, shift, distance, face, precision, seen, misfit = parts
  return Estimate(face, precision, View(turn, shift, distance), seen, misfit)


@functools.partial(jax.jit, static_argnames="camera")
def _solve_chunk(
  anchors: Anchors, errors: Errors, *arrays: Array, camera: Camera
) -> tuple[Array, ...]:
  def one(*arrays: Array) -> tuple[Array, ...]:
    *maps, mesh, pose = arrays
    observed = observe(anchors, Maps(*maps), mesh, camera)
    turn = rotation.axis_angle_to_matrix(pose[:3])
    start = View(turn, pose[3:], jnp.asarray(EstimateSettings.distance[0]))
    found = estimate(anchors, errors, observed, start)
    return *found.view, found.face, found.precision, found.seen, found.misfit

  return jax.vmap(one)(*arrays)


def _poses(
  surface: Surface, found: Estimate, own: Estimate, camera: Camera
) -> Float[np.ndarray, "n 6"]:
  """Returns poses before a camera in which faces lie as in their own views."""
  run = functools.partial(_seen_chunk, surface.anchors, distance=camera.distance)
  problems = map(np.asarray, (found.face, own.face, *own.view))
  turn, shift = _least_squares.in_chunks(run, *problems)
  whole = np.isfinite(turn).all((1, 2), keepdims=True)
  return _pose.vectors(np.where(whole, turn, np.eye(3)), shift).astype(np.float32)


@functools.partial(jax.jit, static_argnames="distance")
def _seen_chunk(
  anchors: Anchors,
  face: Float[Array, "n d"],
  own_face: Float[Array, "n d"],
  *own: Array,
  distance: float,
) -> tuple[Array, Array]:
  def one(face: Array, own_face: Array, *own: Array) -> tuple[Array, Array]:
    view = View(*own)
    start = view._replace(distance=jnp.log(distance))
    found = seen_from(anchors, face, own_face, view, start)
    return found.turn, found.shift

  return jax.vmap(one)(face, own_face, *own)


def _fit(
  model: MorphableModel,
  surface: Surface,
  found: Estimate,
  pose: Float[np.ndarray, " 6"],
  px: Float[np.ndarray, "68 2"],
  camera: Camera,
  size: int,
) -> Fit:
  """Returns the fit of one face; the mean head where the estimate is no head."""
  doubts = _doubts(found)
  face = np.asarray(found.face)
  whole = bool(np.isfinite(face).all())
  face = np.nan_to_num(face)
  identity, expression = surface.coefficients(face[None], len(model.identity_basis))
  vertices = np.asarray(model.vertices(identity, expression))[0]
  world = head_to_world(model.template.landmark_positions(vertices)[None], pose[None])
  seen = np.asarray(world_to_px(world, camera, size, size))[0]
  inner, contour = landmark_errors(px[None], seen[None])
  if inner[0] > _OFF:
    doubts = (*doubts, f"the head is off the landmarks by {inner[0]:.0f} %")
  return Fit(
    pose, identity[0], expression[0], camera.fov_deg, vertices, seen,
    float(inner[0]), float(contour[0]), whole,
    deviations=deviations(model, surface, found), doubts=doubts,
  )  # fmt: skip


def one_of(found: Estimate, k: int) -> Estimate:
  """Returns the estimate of photo number `k`."""
  view = View(*(x[k] for x in found.view))
  face, precision, _, seen, misfit = found
  return Estimate(face[k], precision[k], view, seen[k], misfit[k])


def _doubts(found: Estimate) -> tuple[str, ...]:
  """Returns why an estimate is not to be trusted."""
  doubts: list[str] = []
  if not np.isfinite(np.asarray(found.face)).all():
    doubts.append("the photo cannot be read: this is the mean head")
  if found.seen < _LITTLE:
    doubts.append(
      f"the photo shows {100 * float(found.seen):.0f} % of the face's surface: the "
      "shape is FaceMesh's and the mean head's"
    )
  if found.misfit > _UNLIKE:
    doubts.append(
      f"the surface is read {float(found.misfit):.1f} times worse than on the photos "
      "that the deviations were measured on"
    )
  return tuple(doubts)


def deviations(
  model: MorphableModel, surface: Surface, found: Estimate
) -> Float[np.ndarray, " v"]:
  """Returns the standard deviation of each vertex, mm.

  It is the root of the mean squared distance from the true vertex in head space, under
  the posterior, times `Errors.calibration`, which was measured on held-out photos.
  Components that are not estimated vary as in all people.
  """
  modes, rest = _component_modes(model, surface)
  precision = np.asarray(found.precision)
  if not np.isfinite(precision).all():
    precision = np.eye(len(found.face), dtype=np.float32)
  root = np.linalg.inv(np.linalg.cholesky(precision))
  square = ((root @ modes.reshape(len(root), -1)) ** 2).sum(0).reshape(-1, 3).sum(1)
  return 100 * float(surface.errors.calibration) * np.sqrt(square + rest)


@functools.lru_cache(maxsize=1)
def _component_modes(
  model: MorphableModel, surface: Surface
) -> tuple[Float[np.ndarray, "d v 3"], Float[np.ndarray, " v"]]:
  """Returns vertices by component, and the variance by what is not estimated, dm^2."""
  k = surface.identity
  expression = np.tensordot(surface.expression_root.T, model.expression_basis, 1)
  modes = np.concatenate([model.identity_basis[:k], expression]).astype(np.float32)
  return modes, (model.identity_basis[k:] ** 2).sum((0, 2))
