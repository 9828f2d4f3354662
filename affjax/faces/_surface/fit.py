"""Faces of photos to heads by what their pixels show."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial.transform import Rotation

from affjax.faces import _pose, warp
from affjax.faces._confidence import OFF
from affjax.faces._crop import Crop, mean_landmarks
from affjax.faces._find import Face
from affjax.faces._fit import Fit, fit_faces
from affjax.faces._fit.landmarks import (
  landmark_errors,
  landmarks_of_heads,
  ordered_ndc,
)
from affjax.faces._surface import chart as charts
from affjax.faces._surface import people as peopling
from affjax.faces._surface import read as reading
from affjax.faces._surface import solve
from affjax.faces._surface.chart import Components
from affjax.faces._surface.read import Errors, Reading
from affjax.faces._surface.view import View
from affjax.heads import MorphableModel
from affjax.types import ArrayLike, Camera

# Share of the face below which its surface says little (one in a hundred held-out
# photos shows less than 0.17, pictures without a face up to 0.11), and `Reading.doubt`,
# in multiples of the usual one, above which a photo is unlike the synthetic ones, and
# above which nothing was read.
_LITTLE, _UNLIKE, _UNREADABLE = 0.15, 3.0, 6.0
_UNREAD = ("the photo cannot be read: the mean head lies on its landmarks",)


def fit_surface(
  model: MorphableModel,
  faces: Sequence[Face],
  crops: Sequence[Crop],
  images: np.ndarray,
  camera: Camera,
  *,
  people: Sequence[int] | None = None,
) -> list[Fit]:
  """Fits the embedded head to the pixels of crops.

  The mean head is laid on FaceMesh's landmarks; a network that was trained on synthetic
  photos says how the face differs, and where the mean head would lie better, several
  times (`_surface.network`). The head is then laid where the network and the landmarks
  say (`_surface.solve`): landmarks move the expression, and hardly the identity. A
  photo that shows little, or that the network cannot read, gives a head near the mean
  one with large `deviations`, and `doubts` says so.

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

  Raises:
    ValueError: Numbers of faces, crops, images and people differ, or landmarks are not
      finite.
  """
  people = range(len(faces)) if people is None else people
  counts = len(faces), len(crops), len(images), len(people)
  if len(set(counts)) > 1:
    got = ", ".join(map(str, counts))
    raise ValueError(f"faces, crops, images and people must be as many, got {got}")
  if not charts.reads_surface_of(model) or not faces:
    return fit_faces(model, faces, crops, camera)
  pairs = list(zip(faces, crops, strict=True))
  px = np.stack([warp.transform(c.matrix, f.landmarks68) for f, c in pairs])
  if not np.isfinite(px).all():
    raise ValueError("landmarks of faces must be finite, got NaN or infinity")
  starts = first_poses(model, px, [crop.size for crop in crops], camera)
  start = first_views(starts, camera)
  chart, components = charts.load(model)
  errors, weights = reading.load_errors(), reading.load_weights()
  said = reading.read(chart, weights, images, start)
  found = reading.calibrated(said, errors)
  marks = ordered_ndc(px, np.array([crop.size for crop in crops], np.float32))
  shape = Shape(model, components, errors)
  laid = shape.lay(found, people, start, marks, camera)
  return [
    shape.fit(found, laid, k, px[k], camera, crop) for k, crop in enumerate(crops)
  ]


class Laid(NamedTuple):
  """Faces of N photos where they were read and where their landmarks are.

  Attributes:
    face: Their components.
    pose: Their poses.
    left: Factor on the expected errors; `People` explains it.
    trusted: Whether the photo was read; if not, the mean face lies on the landmarks.
  """

  face: Float[np.ndarray, "n d"]
  pose: Float[np.ndarray, "n 6"]
  left: Float[np.ndarray, " n"]
  trusted: Bool[np.ndarray, " n"]


def first_poses(
  model: MorphableModel,
  px: Float[np.ndarray, "n 68 2"],
  sizes: Sequence[int],
  camera: Camera,
) -> Float[np.ndarray, "n 6"]:
  """Returns poses of the mean head on landmarks in images of given sizes, px."""
  # Image coordinates are the px of an image of 2 px, less half a pixel.
  ndc = _pose.ndc_of_px(px, np.array(sizes, np.float32)[:, None, None]) + 0.5
  found = _pose.solve_poses(mean_landmarks(model.template), ndc, camera, 2)
  return found.astype(np.float32)


def first_views(poses: Float[np.ndarray, "n 6"], camera: Camera) -> View:
  """Returns views of heads before the usual camera."""
  turn = Rotation.from_rotvec(poses[:, :3]).as_matrix().astype(np.float32)
  distance = np.full(len(poses), np.log(camera.distance), np.float32)
  return View(turn, poses[:, 3:], distance)


def readable(found: Reading, errors: Errors) -> Bool[np.ndarray, " n"]:
  """Returns whether readings are finite, and not much less likely than usual."""
  parts = (found.face, found.places, found.weight, *found.view)
  finite = [np.isfinite(x).reshape(len(x), -1).all(1) for x in map(np.asarray, parts)]
  doubt = np.asarray(found.doubt)
  return np.logical_and.reduce([*finite, doubt <= _UNREADABLE * errors.doubt])


def seen_in(
  found: Reading,
  face: Float[np.ndarray, "n d"],
  deviation: Float[np.ndarray, "n d"],
  trusted: Bool[np.ndarray, " n"],
  landmarks: Float[np.ndarray, "n 68 2"],
  start: View,
) -> solve.Seen:
  """Returns what is known of faces: of those that were not read, their landmarks.

  Args:
    found: Readings of photos.
    face: Components that are expected.
    deviation: Their standard deviations.
    trusted: Whether each photo was read.
    landmarks: Image coordinates, see `ordered_ndc`.
    start: Where the mean head lies on the landmarks.
  """
  n = len(face)

  def known(x: ArrayLike, otherwise: ArrayLike | float) -> np.ndarray:
    here = trusted.reshape(-1, *[1] * (np.ndim(x) - 1))
    return np.where(here, x, otherwise).astype(np.float32)

  flat = lambda x: np.asarray(x).reshape(n, -1, np.shape(x)[-1])
  return solve.Seen(
    face,
    deviation,
    known(flat(found.places), 0),
    known(flat(found.weight)[..., 0], 0),
    landmarks,
    known(found.view.turn, start.turn),
    known(found.view.shift, start.shift),
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
  """How components of faces become heads with deviations.

  Attributes:
    model: The embedded head.
    components: The meaning of a face's components as its coefficients.
    errors: Errors of readings.
  """

  model: MorphableModel
  components: Components
  errors: Errors

  def lay(
    self,
    found: Reading,
    people: Sequence[int],
    start: View,
    landmarks: Float[np.ndarray, "n 68 2"],
    camera: Camera,
  ) -> Laid:
    """Lays faces where they were read and where their landmarks are.

    Args:
      found: Readings of photos, after the gains.
      people: Number of the person on each photo.
      start: Where the mean head lies on the landmarks.
      landmarks: Image coordinates, see `ordered_ndc`.
      camera: Camera of the photos.
    """
    trusted, count = readable(found, self.errors), self.components.identity
    together = peopling.shared(found, self.errors, people, count, trusted)
    n, d = together.face.shape
    deviation = np.full((n, d), solve.EXPRESSION, np.float32)
    own = np.where(together.alone, solve.IDENTITY, solve.SHARED)
    deviation[:, :count] = own[:, None]

    seen = seen_in(found, together.face, deviation, trusted, landmarks, start)
    chart = charts.load(self.model)[0]
    points = solve.points_of(self.model, self.components)
    face, turn, shift = solve.solve(chart, points, seen, camera)
    face[~together.alone, :count] = together.face[~together.alone, :count]
    pose = _pose.vectors(turn, shift).astype(np.float32)
    return Laid(face, pose, together.left, trusted)

  def fit(
    self,
    found: Reading,
    laid: Laid,
    k: int,
    px: Float[np.ndarray, "68 2"],
    camera: Camera,
    crop: Crop,
  ) -> Fit:
    """Returns the fit of photo number `k`, whose landmarks lie at `px` of its crop."""
    pose = laid.pose[k]
    identity, expression = self.components.coefficients(laid.face[k][None])
    vertices = np.asarray(self.model.vertices(identity, expression))[0]
    ndc = landmarks_of_heads(self.model, vertices[None], pose[None], camera)
    seen = (ndc + 1) * (crop.size / 2) - 0.5
    inner, contour = landmark_errors(px[None], seen)
    trusted = bool(laid.trusted[k])
    doubts = _doubts(found, k, self.errors) if trusted else _UNREAD
    if inner[0] > OFF:
      doubts = (*doubts, f"the head is off the landmarks by {inner[0]:.0f} %")
    said = np.asarray(found.deviations[k])
    stated = self.deviations(said if trusted else said * np.nan, float(laid.left[k]))
    return Fit(
      pose, identity[0], expression[0], camera.fov_deg, vertices, seen[0],
      float(inner[0]), float(contour[0]), trusted,
      deviations=stated, doubts=doubts,
    )  # fmt: skip

  def deviations(
    self, expected: Float[np.ndarray, "p p 1"], left: float = 1.0
  ) -> Float[np.ndarray, " v"]:
    """Returns the standard deviation of each vertex, mm.

    This is the root of the mean squared distance from the true vertex in head space, as
    the network expects it, times `Errors.calibration`, which was measured on held-out
    photos. Vertices outside the chart vary as in all people.

    Args:
      expected: `Reading.deviations` of a photo.
      left: Factor on the expected errors, see `People`.
    """
    prior, place, inside = _prior(self.model, self.components)
    known = np.asarray(expected)[..., 0]
    if not np.isfinite(known).all():
      return 100 * prior
    at = (place + 1) / 2 * charts.POINTS - 0.5
    read = ndimage.map_coordinates(known, at[:, ::-1].T, order=1, mode="nearest")
    stated = np.minimum(self.errors.calibration * left * read, prior)
    return 100 * np.where(inside, stated, prior)


@functools.lru_cache(maxsize=1)
def _prior(
  model: MorphableModel, components: Components
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns deviations of vertices in people (dm), and the vertices in the chart."""
  root = np.tensordot(components.expression_root.T, model.expression_basis, 1)
  variance = (model.identity_basis**2).sum((0, 2)) + (root**2).sum((0, 2))
  place = charts.place_on_chart(model.template.vertices)
  inside = np.asarray((np.abs(place) <= 1).all(1))
  return np.sqrt(variance), place, inside


def _doubts(found: Reading, k: int, errors: Errors) -> tuple[str, ...]:
  """Returns why a reading is not to be trusted."""
  doubts: list[str] = []
  if found.seen[k] < _LITTLE:
    doubts.append(
      f"the photo shows {100 * float(found.seen[k]):.0f} % of the face's surface: the "
      "shape is nearly the mean head's"
    )
  if found.doubt[k] > _UNLIKE * errors.doubt:
    doubts.append(
      f"the surface lies {float(found.doubt[k]) / errors.doubt:.1f} times as far from "
      "the mean head's as on the photos that the deviations were measured on"
    )
  return tuple(doubts)
