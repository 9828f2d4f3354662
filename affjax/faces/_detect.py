"""BlazeFace: boxes of faces, from the whole photo down to small parts of it."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from affjax.faces import _network, _threads

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


def detect_faces(
  net: _network.Network,
  photos: Sequence[UInt8[np.ndarray, "h w 3"]],
  *,
  smallest: float = 1 / 80,
  threshold: float = 0.5,
) -> list[Detections]:
  """Faces of every size in each photo.

  A photo is shown to the network at several sizes, the longer side 128 px (faces that
  fill the photo), 256, 512, ..., from 512 on in overlapping tiles, up to where a face
  of the smallest size is 25 px wide, the network's limit. The search ends earlier when
  it has found faces and all of them are more than four times as large as this limit: a
  portrait does not pay for the faces of a crowd.

  Args:
    net: the network "detector" of the asset.
    photos: 8-bit RGB, of any sizes.
    smallest: width of the smallest face wanted, as a part of the photo's longer side.
    threshold: score from which a detection counts.
  """
  if not 0 < smallest <= 1:
    raise ValueError(f"smallest must lie in (0, 1], got {smallest}")
  rows = [np.zeros((0, 17)) for _ in photos]
  searched, longer = list(range(len(photos))), _TILE // 2
  while searched:
    levels = _level(net, [photos[k] for k in searched], longer)
    for k, found in zip(searched, levels, strict=True):
      rows[k] = np.concatenate([rows[k], found])
    if longer >= _TILE:
      searched = [
        k
        for k in searched
        if longer * 1.5 < _finest(photos[k], smallest)
        and not _all_large(rows[k], photos[k], longer)
      ]
    longer *= 2
  return [_suppress(found[found[:, 16] >= threshold]) for found in rows]


def _finest(photo: np.ndarray, smallest: float) -> float:
  """The longer side that shows a photo's smallest faces.

  A photo is enlarged by half at most: there is nothing to see beyond its pixels.
  """
  return min(_LIMIT / smallest, 1.5 * max(photo.shape[:2]))


def _all_large(rows: np.ndarray, photo: np.ndarray, longer: int) -> bool:
  """Whether there are faces, none near the smallest width that a level can show."""
  widths = (rows[:, 2] - rows[:, 0])[rows[:, 16] >= _SURE]
  limit = _LIMIT * max(photo.shape[:2]) / longer
  return len(widths) > 0 and bool(widths.min() > _HEADROOM * limit)


def _level(
  net: _network.Network, photos: Sequence[np.ndarray], longer: int
) -> list[Float[np.ndarray, "n 17"]]:
  """Raw detections, photo px, with the longer side of each photo at `longer` px."""
  side = min(longer, _TILE)
  canvases = _threads.mapped(functools.partial(_resized, longer=longer), photos)
  tiles = [
    _Tile(k, x, y)
    for k, canvas in enumerate(canvases)
    for y in _starts(canvas.shape[0])
    for x in _starts(canvas.shape[1])
  ]
  image = lambda tile: _image(canvases[tile.photo], tile, side)
  rows = [[np.zeros((0, 17))] for _ in photos]
  for tile, outputs in zip(tiles, net.map(image, tiles), strict=True):
    canvas, photo = canvases[tile.photo], photos[tile.photo]
    points, scores = _whole(*_decode(outputs, side), tile, canvas, side)
    zoom = np.divide(photo.shape[1::-1], canvas.shape[1::-1])
    points = (points * zoom - 0.5).reshape(-1, 16)
    rows[tile.photo].append(np.concatenate([points, scores[:, None]], 1))
  return [np.concatenate(parts) for parts in rows]


class _Tile(NamedTuple):
  """A part of the canvas of the photo of a number: where it begins."""

  photo: int
  x: int
  y: int


def _resized(photo: np.ndarray, longer: int) -> UInt8[np.ndarray, "h w 3"]:
  height, width = photo.shape[:2]
  ratio = longer / max(height, width)
  size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
  # Far larger photos are first averaged over blocks of whole px.
  return np.asarray(
    Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
  )


def _starts(length: int) -> list[int]:
  """Where tiles begin along one side of the canvas."""
  last = max(0, length - _TILE)
  count = math.ceil(last / (_TILE - _SHARED)) + 1
  return np.linspace(0, last, count).round().astype(int).tolist()


def _image(
  canvas: np.ndarray, tile: _Tile, side: int
) -> Float[np.ndarray, "side side 3"]:
  """A tile in [-1, 1], grey beyond the canvas."""
  part = canvas[tile.y : tile.y + side, tile.x : tile.x + side]
  image = np.zeros((side, side, 3), np.float32)
  image[: part.shape[0], : part.shape[1]] = part / np.float32(127.5) - 1
  return image


def _whole(points, scores, tile: _Tile, canvas: np.ndarray, side: int):
  """The detections that count, in edge coordinates of the canvas.

  A face cut by the tile's border is whole in another tile, or on a coarser level. What
  is not a face at all need not be carried along.
  """
  start = np.array([tile.x, tile.y])
  points = points + start
  low, end = np.where(start > 0, start, -np.inf), start + side
  high = np.where(end < canvas.shape[1::-1], end, np.inf)
  whole = (points[:, 0] > low).all(1) & (points[:, 1] < high).all(1)
  kept = whole & (scores > 0.1)
  return points[kept], scores[kept]


def _decode(
  outputs: Mapping[str, np.ndarray], side: int
) -> tuple[Float[np.ndarray, "n 8 2"], Float[np.ndarray, " n"]]:
  """Points (two box corners, six keypoints) in edge coordinates of a tile; scores."""
  levels = ("fine", "coarse")
  raw = np.concatenate([outputs[f"boxes_{k}"] for k in levels])
  logits = np.concatenate([outputs[f"scores_{k}"][:, 0] for k in levels])
  raw = raw.reshape(-1, 8, 2).astype(np.float64)
  anchor = _anchors(side)
  center, half = raw[:, 0] + anchor, raw[:, 1] / 2
  points = [center - half, center + half]
  points += [raw[:, k] + anchor for k in range(2, 8)]
  scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -80, 80)))
  return np.stack(points, 1), scores


@functools.cache
def _anchors(side: int) -> Float[np.ndarray, "n 2"]:
  """The point of a tile that each row of the outputs refers to, edge coordinates."""
  anchors = []
  for stride, number in _ANCHORS:
    y, x = np.mgrid[: side // stride, : side // stride] + 0.5
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
