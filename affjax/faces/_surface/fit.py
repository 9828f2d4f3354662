"""Faces of photos to heads by what their pixels show."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage
from scipy.spatial.transform import Rotation

from affjax.faces import _pose, warp
from affjax.faces._crop import Crop, mean_landmarks
from affjax.faces._find import Face
from affjax.faces._fit import Fit, fit_faces, landmark_errors
from affjax.faces._surface import chart as charts
from affjax.faces._surface import people as peopling
from affjax.faces._surface import read as reading
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart, Components
from affjax.faces._surface.people import People
from affjax.faces._surface.read import Errors, Reading
from affjax.faces._surface.view import View
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import MorphableModel
from affjax.types import Camera

# Share of the face below which its surface says little, and `Reading.doubt`, in
# multiples of the usual one, above which a photo is unlike the synthetic ones.
_LITTLE, _UNLIKE = 0.1, 3.0
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
) -> list[Fit]:
  """Fits the embedded head to the pixels of crops.

  The mean head is laid on FaceMesh's landmarks; a network that was trained on synthetic
  photos says how the face differs, and where the mean head would lie better, several
  times (`_surface.network`). A photo that shows little, or that the network cannot
  read, gives a head near the mean one with large `deviations`, and `doubts` says so.

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
  chart, components = charts.load(model)
  errors, weights = reading.load_errors(), reading.load_weights()
  said = reading.read(chart, weights, images, first_views(starts, camera))
  found = reading.calibrated(said, errors)
  together = peopling.shared(found, errors, people, components.identity)
  whole = np.asarray(np.isfinite(together.face).all(1))
  kept = np.where(whole[:, None], together.face, 0).astype(np.float32)
  seen = _poses(chart, kept, found, starts, whole, camera)
  shape = Shape(model, components, errors)
  return [
    shape.fit(found, together, k, seen[k], px[k], camera, crop.size)
    for k, crop in enumerate(crops)
  ]


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


def _poses(
  chart: Chart,
  face: Float[np.ndarray, "n d"],
  found: Reading,
  starts: Float[np.ndarray, "n 6"],
  whole: Bool[np.ndarray, " n"],
  camera: Camera,
) -> Float[np.ndarray, "n 6"]:
  """Returns poses before a camera in which faces lie where they were read."""
  view = first_views(starts, camera)
  known = found.view._replace(distance=view.distance)
  begin = jax.tree.map(lambda a, b: np.where(np.isfinite(a), a, b), known, view)
  turn, shift, _ = map(np.asarray, _settled(chart, face, found, begin))
  good = (whole & np.isfinite(turn).all((1, 2)))[:, None]
  turn = np.where(good[..., None], turn, np.eye(3))
  return np.where(good, _pose.vectors(turn, shift), starts).astype(np.float32)


@jax.jit
def _settled(chart: Chart, face: Array, found: Reading, view: View) -> View:
  n = len(face)
  flat = lambda x: x.reshape(n, -1, x.shape[-1])
  points = flat(charts.points(chart.cells(face)))
  place = functools.partial(views.settled, fixed=True)
  return jax.vmap(place)(points, flat(found.places), flat(found.weight)[..., 0], view)


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

  def fit(
    self,
    found: Reading,
    together: People,
    k: int,
    pose: Float[np.ndarray, " 6"],
    px: Float[np.ndarray, "68 2"],
    camera: Camera,
    size: int,
  ) -> Fit:
    """Returns the fit of photo number `k`; the mean head where it cannot be read."""
    whole = bool(np.isfinite(together.face[k]).all())
    face = together.face[k] if whole else np.zeros_like(together.face[k])
    identity, expression = self.components.coefficients(face[None])
    vertices = np.asarray(self.model.vertices(identity, expression))[0]
    marks = self.model.template.landmark_positions(vertices)
    seen = world_to_px(head_to_world(marks[None], pose[None]), camera, size, size)
    inner, contour = landmark_errors(px[None], np.asarray(seen))
    doubts = _doubts(found, k, whole, self.errors)
    if inner[0] > _OFF:
      doubts = (*doubts, f"the head is off the landmarks by {inner[0]:.0f} %")
    stated = self.deviations(np.asarray(found.deviations[k]), float(together.left[k]))
    return Fit(
      pose, identity[0], expression[0], camera.fov_deg, vertices, np.asarray(seen)[0],
      float(inner[0]), float(contour[0]), whole,
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


def _doubts(found: Reading, k: int, whole: bool, errors: Errors) -> tuple[str, ...]:
  """Returns why a reading is not to be trusted."""
  doubts: list[str] = []
  if not whole:
    doubts.append("the photo cannot be read: this is the mean head")
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
