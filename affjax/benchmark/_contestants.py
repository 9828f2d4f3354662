"""Methods that are judged: functions from photos to heads.

A new method that needs only photos is a class with `about` and `heads_in`, and a row of
`_BY_NAME`.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from affjax.eval import Heads, Truths
from affjax.faces import (
  Crop,
  Face,
  Fit,
  apply_crop,
  face_crops,
  find_in_all,
  fit_faces,
  fit_surface,
  mean_landmarks,
  solve_pose,
  solve_poses,
  warp,
)
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import MorphableModel, open_head

_CROP_SIZE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """What a method made of some photos.

  Attributes:
    index: Numbers of the photos that have a head, ascending.
    heads: Those heads, in the same order.
    problems: Reason for each photo without a head, by number.
  """

  index: Sequence[int]
  heads: Heads | None
  problems: dict[int, str]


@runtime_checkable
class Contestant(Protocol):
  """A method that reconstructs the heads of photos."""

  @property
  def about(self) -> str:
    """A phrase that names the method."""
    ...

  def heads_in(self, truths: Truths) -> Answer:
    """Returns the heads of some photos.

    Args:
      truths: The photos; a method reads `names`, `photos`, `template` and `camera`
        only.
    """
    ...


@dataclasses.dataclass(frozen=True, eq=False)
class MeanHead:
  """The baseline: the mean head, placed on the detected landmarks."""

  about = "mean head on detected landmarks"

  def heads_in(self, truths: Truths) -> Answer:
    """Returns the mean head for each photo; photos without a face have no pose."""
    template, size = truths.template, truths.photos.shape[1]
    found, _ = largest_faces(truths)
    poses = np.full((len(truths), 6), np.nan, np.float32)
    if found:
      px = np.stack([face.landmarks68 for face in found.values()])
      poses[list(found)] = solve_poses(
        mean_landmarks(template), px, truths.camera, size
      )
    vertices = np.repeat(template.vertices[None], len(truths), 0).astype(np.float32)
    return Answer(range(len(truths)), Heads(vertices, poses), {})


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFit:
  """`affjax fit`: a morphable model fitted to the photos.

  Attributes:
    model: The embedded head model.
    about: A phrase that names the method.
    pixels: Whether it is fitted to what pixels show, or to landmarks alone.
  """

  model: MorphableModel
  about: str
  pixels: bool

  def heads_in(self, truths: Truths) -> Answer:
    """Returns the fits of the largest face of each photo."""
    found, problems = largest_faces(truths)
    faces = list(found.values())
    crops = face_crops(faces, self.model.template, truths.camera, _CROP_SIZE)
    fits = self._fits(list(found), faces, crops, truths)
    if not fits:
      return Answer((), None, problems)
    vertices = np.stack([fit.vertices for fit in fits])
    pose = np.stack([fit.pose for fit in fits])
    heads = Heads(vertices, poses_in_photos(vertices, pose, crops, truths))
    return Answer(tuple(found), heads, problems)

  def _fits(
    self,
    numbers: Sequence[int],
    faces: Sequence[Face],
    crops: Sequence[Crop],
    truths: Truths,
  ) -> list[Fit]:
    if not (self.pixels and faces):
      return fit_faces(self.model, faces, crops, truths.camera)
    photos = [truths.photos[k] for k in numbers]
    images = [apply_crop(p, c) for p, c in zip(photos, crops, strict=True)]
    pixels = np.rint(255 * np.stack(images)).astype(np.uint8)
    return fit_surface(self.model, faces, crops, pixels, truths.camera)


@functools.lru_cache(maxsize=1)
def largest_faces(truths: Truths) -> tuple[dict[int, Face], dict[int, str]]:
  """Returns the largest face by photo, and the photos without any.

  The last result is kept, as the mean head and a fit ask for the same faces.
  """
  faces = find_in_all(list(truths.photos))
  found = {k: some[0] for k, some in enumerate(faces) if some}
  missing = {k: "no face found" for k, some in enumerate(faces) if not some}
  return found, missing


def poses_in_photos(
  vertices: Float[np.ndarray, "n v 3"],
  poses: Float[np.ndarray, "n 6"],
  crops: Sequence[Crop],
  truths: Truths,
) -> Float[np.ndarray, "n 6"]:
  """Returns poses before the photo's camera instead of the crop's.

  They are those in which the landmarks of a head lie where the crop shows them.

  Args:
    vertices: Heads, dm.
    poses: Their poses before the cameras of the crops.
    crops: Crop of each head.
    truths: Photos of a single size, whose camera that of the crops is, too.
  """
  template, camera = truths.template, truths.camera
  size = truths.photos.shape[1]
  marks = template.landmark_positions(vertices)
  world = head_to_world(marks, poses)
  found = []
  for points, place, crop in zip(marks, np.asarray(world), crops, strict=True):
    px = np.asarray(world_to_px(place, camera, crop.size, crop.size))
    back = np.linalg.inv(np.concatenate([crop.matrix, [[0, 0, 1]]]))[:2]
    weights = np.ones(len(points))
    found.append(
      solve_pose(points, warp.transform(back, px), camera, size, weights=weights)
    )
  return np.array(found, np.float32).reshape(-1, 6)


def _fit() -> ModelFit:
  about = "morphable model fitted to landmarks"
  return ModelFit(open_head("embedded"), about, pixels=False)


def _surface() -> ModelFit:
  about = "morphable model fitted to the surface that pixels show"
  return ModelFit(open_head("embedded"), about, pixels=True)


_BY_NAME: dict[str, Callable[[], Contestant]] = {
  "mean": MeanHead,
  "fit": _fit,
  "surface": _surface,
}
CONTESTANTS = tuple(_BY_NAME)


def contestant(what: str) -> Contestant:
  """Returns the method of a name.

  Raises:
    ValueError: There is no such method.
  """
  if what not in _BY_NAME:
    raise ValueError(f"WHAT must be one of {', '.join(_BY_NAME)}, got {what!r}")
  return _BY_NAME[what]()
