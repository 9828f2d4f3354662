"""Faces followed from frame to frame, where the detector looks only now and then."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy
from jaxtyping import Float, UInt8
from PIL import Image

from affjax.faces import _detect, _find, _mesh
from affjax.faces._evidence import Evidence
from affjax.faces._find import Face
from affjax.faces._mesh import Square
from affjax.faces.smoothing import TrackedFace

# Least score of the landmark network for a face that is followed: below it the
# detector looks again. Least score of a face that the detector finds.
_FLAG, _LEAST = 0.5, 0.5
# Width of the smallest face that the detector looks for, as a share of the longer side.
_SMALLEST = 1 / 20
# Differences of two squares, as shares of their size and radians, up to which a face
# looks the same in both.
_NEAR, _TURNED = 0.04, 0.05
# Least overlap of a face's boxes in two frames, and overlap of one face found twice.
_SAME, _TWICE = 0.3, 0.6
# Sides of the pictures in which cuts are looked for, correlation of two frames below
# which there is a cut, and least contrast of frames that are compared.
_THUMBNAIL, _ALIKE, _CONTRAST = 24, 0.6, 4.0


@dataclasses.dataclass(eq=False)
class _Track:
  """A face that is followed: where it was seen last, and when."""

  identity: int
  face: Face
  time: float
  lost: bool = False


class Follower:
  """Follows the faces of a video through batches of frames.

  The landmark network looks for a face where its landmarks were in the frame before,
  and a second time if the face is elsewhere now. The detector looks for new faces once
  in a while, and where a face is lost. A face that it does not find again is forgotten
  after a while, and all faces are at a cut: who comes back later has a new number.

  Args:
    every: Time between two looks of the detector, s.
    retry: The same while a face is lost, s.
    patience: Time after which a lost face is forgotten, s.
    most: Largest number of faces that are followed at the same time, largest first.
  """

  def __init__(
    self,
    *,
    every: float = 1.0,
    retry: float = 0.2,
    patience: float = 0.5,
    most: int = 8,
  ):
    self._every, self._retry, self._patience = every, retry, patience
    self._most, self._next = most, 0
    self._tracks: list[_Track] = []
    self._detected = -math.inf
    self._thumbnail: Float[np.ndarray, "h w"] | None = None

  @property
  def identities(self) -> set[int]:
    """The numbers of the faces that may still be seen again."""
    return {track.identity for track in self._tracks}

  def follow(
    self, frames: Sequence[UInt8[np.ndarray, "_ _ 3"]], times: Sequence[float]
  ) -> list[list[TrackedFace]]:
    """Returns the faces of the next frames, with the same number in every frame.

    Args:
      frames: Frames of one size. A few at once are faster than one by one.
      times: Time of each frame, s, growing.
    """
    found: list[list[TrackedFace]] = []
    ends = [k for k, frame in enumerate(frames) if self._is_cut(frame)]
    for start, end in zip([0, *ends], [*ends, len(frames)], strict=True):
      if start in ends:
        self._tracks, self._detected = [], -math.inf
      while start < end:
        more = self._advance(frames[start:end], times[start:end])
        found += more
        start += len(more)
    return found

  def _is_cut(self, frame: UInt8[np.ndarray, "_ _ 3"]) -> bool:
    """Returns whether a frame shows something else than the one before."""
    size = (_THUMBNAIL, _THUMBNAIL)
    gray = Image.fromarray(frame).resize(size, Image.Resampling.BOX).convert("L")
    before, now = self._thumbnail, np.asarray(gray, np.float32)
    self._thumbnail = now
    if before is None or min(before.std(), now.std()) < _CONTRAST:
      return False
    return float(np.corrcoef(before.ravel(), now.ravel())[0, 1]) < _ALIKE

  def _advance(
    self, frames: Sequence[np.ndarray], times: Sequence[float]
  ) -> list[list[TrackedFace]]:
    """Returns the faces of the first frames, up to one where a face is lost."""
    # Frames may be far apart: a face that the last one showed is not lost.
    recent = lambda track: times[0] - track.time <= self._patience
    self._tracks = [t for t in self._tracks if not t.lost or recent(t)]
    lost = not self._tracks or any(track.lost for track in self._tracks)
    if times[0] >= self._detected + (self._retry if lost else self._every):
      self._detect(frames[0], times[0])
    seen = [track for track in self._tracks if not track.lost]
    rows = _followed(frames, [track.face for track in seen])
    found: list[list[TrackedFace]] = []
    for faces, time in zip(rows, times, strict=True):
      for track, face in zip(seen, faces, strict=True):
        track.lost = face.evidence is None or face.evidence.landmarks < _FLAG
        if not track.lost:
          track.face, track.time = face, time
      self._drop_twins()
      kept = [track for track in seen if track in self._tracks and not track.lost]
      found.append([TrackedFace(t.identity, t.face) for t in kept])
      if len(kept) < len(seen):
        break
    return found

  def _detect(self, frame: np.ndarray, time: float) -> None:
    """Looks for new and lost faces."""
    self._detected = time
    faces = _find.find_in_all([frame], threshold=_LEAST, smallest=_SMALLEST)[0]
    boxes = np.array([track.face.box for track in self._tracks]).reshape(-1, 4)
    shared = np.array([_detect.overlap(face.box, boxes) for face in faces])
    pairs: dict[int, int] = {}
    if shared.size:
      for k, other in zip(*scipy.optimize.linear_sum_assignment(-shared), strict=True):
        if shared[k, other] >= _SAME:
          pairs[int(k)] = int(other)
    for other in set(range(len(self._tracks))) - set(pairs.values()):
      self._tracks[other].face = _unconfirmed(self._tracks[other].face)
    for k, face in enumerate(faces):
      if k in pairs:
        track = self._tracks[pairs[k]]
        track.face, track.time, track.lost = face, time, False
      elif len(self._tracks) < self._most:
        self._tracks.append(_Track(self._next, face, time))
        self._next += 1

  def _drop_twins(self) -> None:
    """Forgets the newer one of two numbers that follow the same face."""
    kept: list[_Track] = []
    for track in sorted(self._tracks, key=lambda track: track.identity):
      boxes = np.array([other.face.box for other in kept]).reshape(-1, 4)
      if not (_detect.overlap(track.face.box, boxes) > _TWICE).any():
        kept.append(track)
    self._tracks = kept


def _unconfirmed(face: Face) -> Face:
  """Returns a face that the detector does not see, which is less probable."""
  assert face.evidence is not None
  detection = min(face.evidence.detection, _LEAST)
  evidence = dataclasses.replace(face.evidence, detection=detection)
  return dataclasses.replace(face, evidence=evidence, score=evidence.probability)


def _followed(frames: Sequence[np.ndarray], faces: Sequence[Face]) -> list[list[Face]]:
  """Returns known faces as each frame shows them."""
  net = _find.networks()["landmarks"]
  views = [frame for frame in frames for _ in faces]
  squares = [_mesh.square_of_landmarks(face.landmarks) for face in faces] * len(frames)
  points, scores = _mesh.find_landmarks(net, views, squares)
  better = [_mesh.square_of_landmarks(one) for one in points]
  again = [k for k, pair in enumerate(zip(squares, better, strict=True)) if _far(*pair)]
  if again:
    points[again], scores[again] = _mesh.find_landmarks(
      net, [views[k] for k in again], [better[k] for k in again]
    )
  known = list(faces) * len(frames)
  rows = [_face(*row) for row in zip(known, points, scores, strict=True)]
  count = len(faces)
  return [rows[k * count : (k + 1) * count] for k in range(len(frames))]


def _far(a: Square, b: Square) -> bool:
  """Returns whether a face looks different in two squares."""
  moved = float(np.linalg.norm(a.center - b.center)) / a.size
  turned = math.remainder(a.angle - b.angle, 2 * math.pi)
  return max(moved, abs(b.size / a.size - 1)) > _NEAR or abs(turned) > _TURNED


def _face(
  known: Face, points: Float[np.ndarray, "468 3"], score: float | np.floating
) -> Face:
  """Returns a face whose landmarks moved; the detector's evidence is that before."""
  box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
  assert known.evidence is not None
  evidence: Evidence = dataclasses.replace(known.evidence, landmarks=float(score))
  marks = _mesh.standard68(points)
  return Face(box, evidence.probability, points, marks, evidence=evidence)
