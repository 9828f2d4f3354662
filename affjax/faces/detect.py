"""BlazeFace: boxes of faces, from the whole photo down to small parts of it."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from affjax.faces import network

# Anchors a cell of the two feature maps of the back-camera model, and their strides.
_ANCHORS = ((16, 2), (32, 6))
_OVERLAP = 0.3
_TILE = 256
# Every face up to the width that two tiles share, px, is whole in some tile.
_SHARED = 64
# Width of the smallest face that the network sees, px.
_LIMIT = 25
# The search goes on to smaller faces unless all that are known are this much larger.
_HEADROOM = 4
_SURE = 0.75


@dataclasses.dataclass(frozen=True)
class Detections:
  """Faces that the detector sees, best first.

  Attributes:
    boxes: `(x0, y0, x1, y1)` in px of the photo, brows to chin.
    keypoints: eyes (image left first when upright), nose tip, mouth, ears; px.
    scores: in [0, 1].
  """

  boxes: Float[np.ndarray, "n 4"]
  keypoints: Float[np.ndarray, "n 6 2"]
  scores: Float[np.ndarray, " n"]


def detect(
  net: network.Network,
  photo: UInt8[np.ndarray, "h w 3"],
  *,
  smallest: float = 1 / 80,
  threshold: float = 0.5,
) -> Detections:
  """Faces of every size in a photo.

  The photo is shown to the network at several sizes, the longer side 128 px (faces that
  fill the photo), 256, 512, ..., from 512 on in overlapping tiles, up to where a face
  of the smallest size is 25 px wide, the network's limit. The search ends earlier when
  it has found faces and all of them are more than four times as large as this limit: a
  portrait does not pay for the faces of a crowd.

  Args:
    net: the network "detector" of the asset.
    photo: 8-bit RGB.
    smallest: width of the smallest face wanted, as a part of the photo's longer side.
    threshold: score from which a detection counts.
  """
  if not 0 < smallest <= 1:
    raise ValueError(f"smallest must lie in (0, 1], got {smallest}")
  # A photo is enlarged by half at most: there is nothing to see beyond its pixels.
  finest = min(_LIMIT / smallest, 1.5 * max(photo.shape[:2]))
  rows = [_level(net, photo, longer) for longer in (_TILE // 2, _TILE)]
  longer = _TILE
  while longer * 1.5 < finest and not _all_large(np.concatenate(rows), photo, longer):
    longer *= 2
    rows.append(_level(net, photo, longer))
  found = np.concatenate(rows)
  return _suppress(found[found[:, 16] >= threshold])


def _all_large(rows: np.ndarray, photo: np.ndarray, longer: int) -> bool:
  """Whether there are faces, none near the smallest width that a level can show."""
  widths = (rows[:, 2] - rows[:, 0])[rows[:, 16] >= _SURE]
  limit = _LIMIT * max(photo.shape[:2]) / longer
  return len(widths) > 0 and bool(widths.min() > _HEADROOM * limit)


def _level(
  net: network.Network, photo: np.ndarray, longer: int
) -> Float[np.ndarray, "n 17"]:
  """Raw detections, photo px, with the photo's longer side at `longer` px."""
  height, width = photo.shape[:2]
  ratio = longer / max(height, width)
  size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
  small = Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR)
  canvas = np.asarray(small, np.float32) / 127.5 - 1
  zoom = np.array([width / size[0], height / size[1]])
  rows = []
  for y in _starts(size[1]):
    for x in _starts(size[0]):
      points, scores = _tile(net, canvas, x, y)
      points = (points * zoom - 0.5).reshape(-1, 16)
      rows.append(np.concatenate([points, scores[:, None]], 1))
  return np.concatenate(rows)


def _starts(length: int) -> list[int]:
  """Where tiles begin along one side of the canvas."""
  last = max(0, length - _TILE)
  count = math.ceil(last / (_TILE - _SHARED)) + 1
  return np.linspace(0, last, count).round().astype(int).tolist()


def _tile(
  net: network.Network, canvas: np.ndarray, x: int, y: int
) -> tuple[Float[np.ndarray, "n 8 2"], Float[np.ndarray, " n"]]:
  """Detections of one tile, in edge coordinates of the canvas."""
  part = canvas[y : y + _TILE, x : x + _TILE]
  image = np.zeros((1, _TILE, _TILE, 3), np.float32)
  image[0, : part.shape[0], : part.shape[1]] = part
  points, scores = _decode(net(image))
  points = points + np.array([x, y])
  # A face cut by the tile's border is whole in another tile, or on a coarser level.
  low = np.where(np.array([x, y]) > 0, [x, y], -np.inf)
  end = np.array([x, y]) + _TILE
  high = np.where(end < canvas.shape[1::-1], end, np.inf)
  whole = (points[:, 0] > low).all(1) & (points[:, 1] < high).all(1)
  # What is not a face at all need not be carried along.
  kept = whole & (scores > 0.1)
  return points[kept], scores[kept]


def _decode(
  outputs: Mapping[str, Array],
) -> tuple[Float[np.ndarray, "n 8 2"], Float[np.ndarray, " n"]]:
  """Points (two box corners, six keypoints) in edge coordinates of a tile; scores."""
  levels = ("fine", "coarse")
  raw = np.concatenate([np.asarray(outputs[f"boxes_{k}"])[0] for k in levels])
  logits = np.concatenate([np.asarray(outputs[f"scores_{k}"])[0, :, 0] for k in levels])
  raw = raw.reshape(-1, 8, 2).astype(np.float64)
  anchor = _anchors()
  center, half = raw[:, 0] + anchor, raw[:, 1] / 2
  points = [center - half, center + half]
  points += [raw[:, k] + anchor for k in range(2, 8)]
  scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
  return np.stack(points, 1), scores


@functools.cache
def _anchors() -> Float[np.ndarray, "n 2"]:
  """The point of a tile that each row of the outputs refers to, edge coordinates."""
  anchors = []
  for stride, number in _ANCHORS:
    y, x = np.mgrid[: _TILE // stride, : _TILE // stride] + 0.5
    cells = np.stack([x, y], -1).reshape(-1, 2) * stride
    anchors.append(np.repeat(cells, number, 0))
  return np.concatenate(anchors)


def _suppress(rows: Float[np.ndarray, "n 17"]) -> Detections:
  """Merges overlapping detections into means weighted by their scores."""
  rows = rows[np.argsort(-rows[:, 16], kind="stable")]
  merged = []
  while len(rows):
    same = overlap(rows[0, :4], rows[:, :4]) > _OVERLAP
    same[0] = True
    mean = np.average(rows[same], axis=0, weights=rows[same, 16])
    merged.append([*mean[:16], rows[0, 16]])
    rows = rows[~same]
  table = np.array(merged).reshape(-1, 17)
  return Detections(table[:, :4], table[:, 4:16].reshape(-1, 6, 2), table[:, 16])


def overlap(
  box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "n 4"]
) -> Float[np.ndarray, " n"]:
  """Intersection over union of a box with others."""
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  shared = np.prod(np.maximum(high - low, 0), 1)
  area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
  total = np.prod(box[2:] - box[:2]) + area - shared
  return shared / np.maximum(total, 1e-12)
