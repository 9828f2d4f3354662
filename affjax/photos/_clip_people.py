"""The people of a video: where each is seen, and the frames that show them best."""

import dataclasses
import functools
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import BinaryIO, TypeVar

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage
from scipy.spatial.transform import Rotation

from affjax.faces import (
  Crop,
  Face,
  Follower,
  apply_crop,
  face_crops,
  initial_pose,
)
from affjax.photos._video_file import ClipFrame
from affjax.types import Camera, Template

T = TypeVar("T")

# Side of the crops that heads are fitted to, px.
CROP_SIZE = 192
# Number of frames that are followed at once; the last one may become a view.
_BATCH = 4
# Number of frames in which a person must be seen.
_LEAST_FRAMES = 5
# Largest number of views of a person, width of a bin of turns, degrees, and share of
# the best quality that a view needs.
_VIEWS, _BIN_DEG, _GOOD = 8, 15.0, 0.25
# Height of an open eye over its width.
_OPEN = 0.25

SIGHTING = np.dtype(
  [
    ("person", "<i4"),
    ("frame", "<i4"),
    ("score", "<f4"),
    ("landmarks", "<f4", (68, 2)),
    ("matrix", "<f8", (2, 3)),
  ]
)


class Sightings:
  """The faces of all frames, in a file: memory does not grow with the video.

  Args:
    path: The file.
  """

  def __init__(self, path: pathlib.Path) -> None:
    self._path = path
    self._file: BinaryIO = path.open("wb")

  def __enter__(self) -> "Sightings":
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._file.close()

  def add(self, person: int, frame: int, face: Face, crop: Crop) -> None:
    """Appends the face of a person in a frame; frames grow."""
    row = (person, frame, face.score, face.landmarks68, crop.matrix)
    self._file.write(np.array(row, SIGHTING).tobytes())

  def by_frame(self) -> Iterator[tuple[int, dict[int, np.void]]]:
    """Yields the numbers of frames with faces, and the rows of the people there."""
    self._file.flush()
    with self._path.open("rb") as file:
      read = functools.partial(file.read, SIGHTING.itemsize)
      rows = (np.frombuffer(x, SIGHTING)[0] for x in iter(read, b""))
      for frame, group in itertools.groupby(rows, lambda row: int(row["frame"])):
        yield frame, {int(row["person"]): row for row in group}


@dataclasses.dataclass(frozen=True, eq=False)
class View:
  """A person in a frame.

  Attributes:
    face: The face.
    crop: Its crop, and the pixels there.
    image: Pixels of the crop.
    turn_deg: Yaw and pitch of the head.
    quality: How sharp it is, and how sure the face; of any scale.
  """

  face: Face
  crop: Crop
  image: UInt8[np.ndarray, "s s 3"]
  turn_deg: Float[np.ndarray, " 2"]
  quality: float


@dataclasses.dataclass(eq=False)
class SeenPerson:
  """A person whose face was followed, and the views that tell most about the head.

  Attributes:
    number: Number of the face, as the `Follower` gave it.
    first: Number of the first frame with the face.
    last: Number of the last one.
    count: Number of frames with the face.
    views: The best view of each bin of turns.
    best: The view whose colors count, and its frame.
  """

  number: int
  first: int
  last: int = 0
  count: int = 0
  views: dict[tuple[int, int], View] = dataclasses.field(default_factory=dict)
  best: tuple[View, ClipFrame] | None = None

  def add(self, view: View, frame: ClipFrame) -> None:
    """Keeps a view that is better than those before."""
    bins = np.rint(np.clip(view.turn_deg, -45, 45) / _BIN_DEG).astype(int)
    key = (int(bins[0]), int(bins[1]))
    if key not in self.views or view.quality > self.views[key].quality:
      self.views[key] = view
    if self.best is None or _worth(view) > _worth(self.best[0]):
      self.best = view, frame

  def chosen(self) -> list[View]:
    """Returns the best view, and good ones that are turned otherwise."""
    if self.best is None:
      return []
    found = [self.best[0]]
    least = _GOOD * max(view.quality for view in self.views.values())
    rest = [v for v in self.views.values() if v.quality >= least and v is not found[0]]
    while rest and len(found) < _VIEWS:
      turns = np.stack([view.turn_deg for view in found])
      apart = [float(np.abs(turns - v.turn_deg).sum(1).min()) for v in rest]
      found.append(rest.pop(int(np.argmax(apart))))
    return found


def seen_people(
  frames: Iterable[ClipFrame],
  template: Template,
  camera: Camera,
  sightings: Sightings,
) -> Iterator[SeenPerson]:
  """Yields the people of a video, each when the face is not seen any more.

  People who are seen in fewer than five frames do not count.

  Args:
    frames: The frames of the video.
    template: Template of the head.
    camera: Camera of the crops.
    sightings: File to which the faces of all frames are written.
  """
  follower, people = Follower(), dict[int, SeenPerson]()
  for batch in batched(frames, _BATCH):
    faces = follower.follow([f.pixels for f in batch], [f.time for f in batch])
    rows = [(f, one) for f, some in zip(batch, faces, strict=True) for one in some]
    crops = face_crops([one.face for _, one in rows], template, camera, CROP_SIZE)
    for (frame, one), crop in zip(rows, crops, strict=True):
      number = one.identity
      person = people.setdefault(number, SeenPerson(number, frame.number))
      person.last, person.count = frame.number, person.count + 1
      sightings.add(number, frame.number, one.face, crop)
      if frame is batch[-1]:
        person.add(_view(frame.pixels, one.face, crop, template, camera), frame)
    for number in sorted(people.keys() - follower.identities):
      yield from _counting(people.pop(number))
  for person in people.values():
    yield from _counting(person)


def _counting(person: SeenPerson) -> Iterator[SeenPerson]:
  if person.best is not None and person.count >= _LEAST_FRAMES:
    yield person


def batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
  """Yields lists of consecutive items."""
  rest = iter(items)
  while batch := list(itertools.islice(rest, count)):
    yield batch


def _view(
  pixels: UInt8[np.ndarray, "h w 3"],
  face: Face,
  crop: Crop,
  template: Template,
  camera: Camera,
) -> View:
  image = np.rint(255 * apply_crop(pixels, crop)).astype(np.uint8)
  pose = initial_pose(face, template, camera, crop)
  x, y, z = Rotation.from_rotvec(pose[:3]).as_matrix()[:, 2]
  turn = np.degrees([math.atan2(x, z), math.atan2(-y, math.hypot(x, z))])
  return View(face, crop, image, turn, face.score * _sharpness(image))


def _sharpness(image: UInt8[np.ndarray, "s s 3"]) -> float:
  """Returns how much detail the middle of a crop shows: large and not blurred."""
  quarter = len(image) // 4
  middle = image[quarter:-quarter, quarter:-quarter].mean(-1)
  return float(np.abs(ndimage.laplace(middle)).mean()) + 1e-3


def _worth(view: View) -> float:
  """Returns how good the colors of a view are: eyes open, turned to the camera."""
  marks = view.face.landmarks68
  height = marks[[37, 38, 43, 44]] - marks[[41, 40, 47, 46]]
  width = marks[[36, 42]] - marks[[39, 45]]
  high, wide = (float(np.linalg.norm(x, axis=1).mean()) for x in (height, width))
  facing = float(np.prod(np.cos(np.radians(np.clip(view.turn_deg, -80, 80)))))
  return view.quality * facing**2 * min(high / max(wide, 1e-6) / _OPEN, 1.0)
