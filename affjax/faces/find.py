"""Finds the faces of a photo, with their landmarks."""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float, UInt8

from affjax.assets import store
from affjax.faces import detect, mesh, network

# Faces that share more than this part of the smaller one's box are the same face.
_SAME = 0.6
# So are those that share this much, where the detector hesitates over one: mouths and
# chins look like faces to it, not by much.
_PART = 0.2
_HESITANT = 0.7


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """A face in a photo; all coordinates in px of the photo.

  Attributes:
    box: `(x0, y0, x1, y1)` of the landmarks.
    score: how sure the landmark network is that this is a face, in [0, 1].
    landmarks: FaceMesh's 468 points; z in px too, smaller = nearer.
    landmarks68: the 68 standard landmarks, made of one or two of those points each.
  """

  box: Float[np.ndarray, " 4"]
  score: float
  landmarks: Float[np.ndarray, "468 3"]
  landmarks68: Float[np.ndarray, "68 2"]


def find_faces(
  photo: UInt8[np.ndarray, "h w 3"],
  *,
  threshold: float = 0.5,
  smallest: float = 1 / 80,
) -> list[Face]:
  """The faces of a photo, the largest first; none gives an empty list.

  Args:
    photo: 8-bit RGB, upright (`affjax.faces.photo.read_photo` makes it so).
    threshold: score from which a face counts.
    smallest: width of the smallest face looked for, as a part of the photo's longer
      side. Small faces take time: half the width, four times as long.

  Raises:
    ValueError: the photo is no 8-bit RGB image.
  """
  if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
    raise ValueError(
      f"photo must be uint8 [H, W, 3], got {photo.dtype} {list(photo.shape)}"
    )
  if min(photo.shape[:2]) < 1:
    raise ValueError(f"photo must have pixels, got {list(photo.shape)}")
  nets = _networks()
  found = detect.detect(nets["detector"], photo, smallest=smallest)
  squares = [
    mesh.square_of_detection(box, keypoints)
    for box, keypoints in zip(found.boxes, found.keypoints, strict=True)
  ]
  points, _ = mesh.landmarks(nets["landmarks"], photo, squares)
  # Once more, each in its best square: the first one is as rough as the detection.
  squares = [mesh.square_of_landmarks(p) for p in points]
  points, scores = mesh.landmarks(nets["landmarks"], photo, squares)
  faces = []
  # Surest first, in the eyes of both networks.
  for k in np.argsort(-scores * found.scores, kind="stable"):
    face = _face(points[k], float(scores[k]))
    share = _PART if found.scores[k] < _HESITANT else _SAME
    if face.score >= threshold and all(_shared(face, f) < share for f in faces):
      faces.append(face)
  return sorted(faces, key=_area, reverse=True)


@functools.cache
def _networks() -> dict[str, network.Network]:
  return network.networks(store.open_asset("faces.npz"))


def _face(points: Float[np.ndarray, "468 3"], score: float) -> Face:
  box = np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
  return Face(box, score, points, mesh.standard68(points))


def _area(face: Face) -> float:
  return float(np.prod(face.box[2:] - face.box[:2]))


def _shared(a: Face, b: Face) -> float:
  """Area that two boxes share, as a part of the smaller one."""
  low = np.maximum(a.box[:2], b.box[:2])
  high = np.minimum(a.box[2:], b.box[2:])
  shared = math.prod(np.maximum(high - low, 0))
  return shared / max(min(_area(a), _area(b)), 1e-12)
