"""Methods that are judged: functions from photos to heads.

A new method that needs only photos is a class with `about` and `heads_in`, and a row of
`_BY_NAME`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from affjax.eval import Heads, Meshes, Photos
from affjax.export import Reconstruction
from affjax.faces import (
  Face,
  find_in_all,
  mean_landmarks,
  solve_pose,
  solve_poses,
  warp,
)
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head, plain_diffuse
from affjax.photos import FitReconstructor, PhotoReconstructor
from affjax.types import Template

# Side of the diffuse map of the mean head.
_PLAIN_SIZE = 128


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
  """Heads that a method made of some photos.

  Attributes:
    index: Numbers of the photos that have a head, ascending.
    heads: Those heads, in the same order.
    problems: Reason for each photo without a head, by number.
  """

  index: Sequence[int]
  heads: Heads | Meshes | None
  problems: dict[int, str]


@runtime_checkable
class Contestant(Protocol):
  """A method that reconstructs the heads of photos."""

  @property
  def about(self) -> str:
    """A phrase that names the method."""
    ...

  def heads_in(self, photos: Photos) -> Answer:
    """Returns the heads of some photos.

    Args:
      photos: The photos; a method reads `names`, `photos`, `template` and `camera`
        only.
    """
    ...


@dataclasses.dataclass(frozen=True, eq=False)
class MeanHead:
  """The baseline: the mean head with plain skin, placed on the detected landmarks."""

  about = "mean head on detected landmarks"

  def heads_in(self, photos: Photos) -> Answer:
    """Returns the mean head for each photo; photos without a face have no pose."""
    template, size, count = photos.template, photos.photos.shape[1], len(photos)
    found, _ = largest_faces(photos)
    poses = np.full((count, 6), np.nan, np.float32)
    if found:
      px = np.stack([face.landmarks68 for face in found.values()])
      poses[list(found)] = solve_poses(
        mean_landmarks(template), px, photos.camera, size
      )
    repeated = lambda values: np.repeat(np.asarray(values, np.float32)[None], count, 0)
    heads = Heads(
      repeated(template.vertices),
      poses,
      repeated(plain_diffuse(template, _PLAIN_SIZE)),
      repeated(np.ones((_PLAIN_SIZE // 8, _PLAIN_SIZE // 8, 1))),
    )
    return Answer(range(count), heads, {})


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstructed:
  """Any way to turn photos into heads, such as `affjax fit` or trained networks.

  Attributes:
    reconstructor: The method; its heads must have the topology of the photos' template.
  """

  reconstructor: PhotoReconstructor

  @property
  def about(self) -> str:
    """A phrase that names the method."""
    return self.reconstructor.about

  def heads_in(self, photos: Photos) -> Answer:
    """Returns the largest head of each photo.

    Raises:
      ValueError: The heads have another topology than the photos' template.
    """
    found: dict[int, Reconstruction] = {}
    problems: dict[int, str] = {}
    for k, (name, photo) in enumerate(zip(photos.names, photos.photos, strict=True)):
      try:
        found[k] = self.reconstructor.heads_of(photo, pathlib.Path(name))[0]
      except ValueError as error:
        problems[k] = str(error).removeprefix(f"photo {name!r}: ")
    heads = list(found.values())
    for head in heads:
      _check_topology(head.template, photos.template)
    return Answer(tuple(found), _stacked(heads, photos) if heads else None, problems)


def _stacked(heads: Sequence[Reconstruction], photos: Photos) -> Heads:
  stack = lambda name: np.stack([getattr(head, name) for head in heads])
  return Heads(
    np.stack([head.mesh.vertices for head in heads]).astype(np.float32),
    np.stack([_pose_in_photo(head, photos) for head in heads]),
    stack("diffuse"),
    stack("light"),
    stack("light_color"),
  )


def _check_topology(own: Template, wanted: Template) -> None:
  if not np.array_equal(own.faces, wanted.faces):
    raise ValueError(
      f"heads must have the topology of {wanted.name!r} with {len(wanted.vertices)} "
      f"vertices, got {own.name!r} with {len(own.vertices)}: write them as OBJ files "
      "and evaluate the folder"
    )


def _pose_in_photo(head: Reconstruction, photos: Photos) -> Float[np.ndarray, " 6"]:
  """Returns the pose before the photo's camera instead of the crop's.

  In it the landmarks of the head lie where the crop shows them.
  """
  points = head.template.landmark_positions(np.asarray(head.mesh.vertices, np.float32))
  side = len(head.crop_image)
  place = head_to_world(points, head.pose)
  px = np.asarray(world_to_px(place, head.camera, side, side))
  back = np.linalg.inv(np.concatenate([head.crop, [[0, 0, 1]]]))[:2]
  pose = solve_pose(
    points,
    warp.transform(back, px),
    photos.camera,
    photos.photos.shape[1],
    weights=np.ones(len(points)),
  )
  return np.asarray(pose, np.float32)


@functools.lru_cache(maxsize=1)
def largest_faces(photos: Photos) -> tuple[dict[int, Face], dict[int, str]]:
  """Returns the largest face by photo, and the photos without any."""
  faces = find_in_all(list(photos.photos))
  found = {k: some[0] for k, some in enumerate(faces) if some}
  missing = {k: "no face found" for k, some in enumerate(faces) if not some}
  return found, missing


def _fit() -> Reconstructed:
  return Reconstructed(FitReconstructor(open_head("embedded")))


def _landmarks() -> Reconstructed:
  return Reconstructed(FitReconstructor(open_head("embedded"), method="landmarks"))


_BY_NAME: dict[str, Callable[[], Contestant]] = {
  "mean": MeanHead,
  "fit": _fit,
  "landmarks": _landmarks,
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
