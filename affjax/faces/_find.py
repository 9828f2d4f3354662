"""The faces of photos, with their landmarks."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from affjax.assets import store
from affjax.faces import _detect, _iris, _mesh, _network
from affjax.faces._evidence import Evidence, evidence

# Default of the least score of a face.
LEAST_SCORE = 0.3
# Share of the smaller box from which on two faces are the same face.
_SAME = 0.6
# The same where the detector's score of one is below `_HESITANT`: mouths and chins look
# a little like faces to it.
_PART = 0.2
_HESITANT = 0.7
# Number of photos that are searched at the same time, which bounds the memory.
_TOGETHER = 64
# Width of the smallest face in rotated photos, as a share of the longer side.
_TURNED = 1 / 20
# Score of a face below which a photo is searched in other orientations as well.
_BEYOND_DOUBT = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """A face in a photo; all coordinates in px of the photo.

  Attributes:
    box: Bounding box `(x0, y0, x1, y1)` of the landmarks.
    score: Probability that this is a face and that its landmarks lie right.
    landmarks: FaceMesh's 468 points; z in px too, smaller = nearer.
    landmarks68: The 68 standard landmarks, made of one or two of those points each.
    iris: Center and right, top, left and bottom ends of both irises, the image's left
      one of an upright face first; NaN where they were not searched.
    evidence: Measurements that the score is made of; None for a face that `find_faces`
      did not find.
  """

  box: Float[np.ndarray, " 4"]
  score: float
  landmarks: Float[np.ndarray, "468 3"]
  landmarks68: Float[np.ndarray, "68 2"]
  iris: Float[np.ndarray, "2 5 2"] = dataclasses.field(
    default_factory=lambda: np.full((2, 5, 2), np.nan)
  )
  evidence: Evidence | None = None


def find_faces(
  photo: np.ndarray,
  *,
  threshold: float = LEAST_SCORE,
  smallest: float = 1 / 80,
) -> list[Face]:
  """Returns the faces of one photo, as `find_in_all` does for many."""
  return find_in_all([photo], threshold=threshold, smallest=smallest)[0]


def find_in_all(
  photos: Sequence[np.ndarray],
  *,
  threshold: float = LEAST_SCORE,
  smallest: float = 1 / 80,
) -> list[list[Face]]:
  """Returns the faces of each photo, the largest first.

  A photo that shows no upright face, or one that is not beyond doubt, is searched in
  three other orientations as well, for faces from a twentieth of its longer side on. Of
  answers to one face the most probable one is kept.

  Args:
    photos: Photos, uint8 `[H, W, 3]` of any sizes, upright as `read_photo` returns
      them. Their number changes neither the results nor what is compiled.
    threshold: Least score of a face.
    smallest: Width of the smallest face, as a share of the photo's longer side. Half
      the width takes four times as long.

  Raises:
    ValueError: A photo is no 8-bit RGB image.
  """
  for k, photo in enumerate(photos):
    _check(k, photo)
  faces: list[list[Face]] = []
  for start in range(0, len(photos), _TOGETHER):
    part = photos[start : start + _TOGETHER]
    found = _find(part, 0, smallest)
    doubtful = [k for k, some in enumerate(found) if _may_be_turned(some)]
    for turns in (1, 2, 3):
      views = [part[k] for k in doubtful]
      more = _find(views, turns, max(smallest, _TURNED))
      for k, some in zip(doubtful, more, strict=True):
        found[k] += some
    faces += _with_irises(part, [_distinct(some, threshold) for some in found])
  return faces


def _may_be_turned(candidates: Sequence[Face]) -> bool:
  """Returns whether other turns of a photo may explain it better."""
  faces = _distinct(candidates, 0.0)
  return not faces or min(face.score for face in faces) < _BEYOND_DOUBT


def _check(k: int, photo: np.ndarray) -> None:
  if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
    raise ValueError(
      f"photo {k} must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}"
    )
  if min(photo.shape[:2]) < 1:
    raise ValueError(f"photo {k} must have pixels, got {list(photo.shape)}")


def _find(
  photos: Sequence[np.ndarray], turns: int, smallest: float
) -> list[list[Face]]:
  """Returns all that looks like upright faces after some quarter turns of the photos.

  A face may be among them several times.
  """
  nets = networks()
  turned = [np.rot90(photo, turns) for photo in photos]
  found = _detect.detect_faces(nets["detector"], turned, smallest=smallest)
  owners = [k for k, some in enumerate(found) for _ in some.boxes]
  views = [turned[k] for k in owners]
  squares = [
    _mesh.square_of_detection(box, keypoints)
    for some in found
    for box, keypoints in zip(some.boxes, some.keypoints, strict=True)
  ]
  before, _ = _mesh.find_landmarks(nets["landmarks"], views, squares)
  # The second time each is seen in its best square; the detection's is rough.
  squares = [_mesh.square_of_landmarks(p) for p in before]
  points, scores = _mesh.find_landmarks(nets["landmarks"], views, squares)
  detected = [
    pair for some in found for pair in zip(some.scores, some.keypoints, strict=True)
  ]
  faces: list[list[Face]] = [[] for _ in photos]
  for k, (score, keypoints) in enumerate(detected):
    known = evidence(
      detection=float(score),
      keypoints=keypoints,
      landmarks=float(scores[k]),
      before=before[k],
      points=points[k],
    )
    back = _turned_back(points[k], photos[owners[k]].shape, turns)
    faces[owners[k]].append(_face(back, known))
  return faces


def _with_irises(
  photos: Sequence[np.ndarray], found: list[list[Face]]
) -> list[list[Face]]:
  views = [photo for photo, some in zip(photos, found, strict=True) for _ in some]
  points = [face.landmarks for some in found for face in some]
  seen = iter(_iris.irises(networks()["iris"], views, points))
  return [[dataclasses.replace(f, iris=next(seen)) for f in some] for some in found]


def _turned_back(points: np.ndarray, shape: tuple[int, ...], turns: int) -> np.ndarray:
  """Returns points of a photo turned by `np.rot90` in px of the photo itself."""
  height, width = shape[:2]
  x, y, z = points.T
  ways = (
    (x, y),
    (width - 1 - y, x),
    (width - 1 - x, height - 1 - y),
    (y, height - 1 - x),
  )
  return np.stack([*ways[turns], z], -1)


def _distinct(candidates: Sequence[Face], threshold: float) -> list[Face]:
  """Returns the faces that count, each once, the largest first."""
  faces: list[Face] = []
  for face in sorted(candidates, key=lambda face: face.score, reverse=True):
    known = face.evidence
    share = _PART if known and known.detection < _HESITANT else _SAME
    if face.score >= threshold and all(_shared(face, f) < share for f in faces):
      faces.append(face)
  return sorted(faces, key=_area, reverse=True)


@functools.cache
def networks() -> dict[str, _network.Network]:
  """Returns the embedded networks by name."""
  return _network.networks(store.open_asset("faces.npz"))


def _face(points: Float[np.ndarray, "468 3"], known: Evidence) -> Face:
  box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
  marks = _mesh.standard68(points)
  return Face(box, known.probability, points, marks, evidence=known)


def _area(face: Face) -> float:
  return float(np.prod(face.box[2:] - face.box[:2]))


def _shared(a: Face, b: Face) -> float:
  """Returns the area that two boxes share, as a share of the smaller one."""
  low = np.maximum(a.box[:2], b.box[:2])
  high = np.minimum(a.box[2:], b.box[2:])
  shared = math.prod(np.maximum(high - low, 0))
  return shared / max(min(_area(a), _area(b)), 1e-12)
