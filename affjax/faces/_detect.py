"""BlazeFace: a detector of faces, run on the whole photo and on ever smaller parts."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from affjax import threads
from affjax.faces import _network

# Strides of the two feature maps of the back-camera model, and their anchors per cell.
_ANCHORS = ((16, 2), (32, 6))
# Intersection over union from which on two detections are one face.
_OVERLAP = 0.3
# Side of a tile, and the width that two tiles share, px: every face up to that width is
# whole in some tile.
_TILE, _SHARED = 256, 64
# Width of the smallest face that the network sees, px.
_LIMIT = 25
# The search ends when all faces with such a score are larger by this factor.
_HEADROOM = 4
_SURE = 0.75


@dataclasses.dataclass(frozen=True)
class Detections:
  """Detected faces of a photo, best first.

  Attributes:
    boxes: Boxes `(x0, y0, x1, y1)` from brows to chin, px of the photo.
    keypoints: Eyes (the image's left one first when upright), nose tip, mouth and ears,
      px of the photo.
    scores: Scores in [0, 1].
  """

  boxes: Float[np.ndarray, "n 4"]
  keypoints: Float[np.ndarray, "n 6 2"]
  scores: Float[np.ndarray, " n"]


def detect_faces(
  net: _network.Network,
  photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
  *,
  smallest: float = 1 / 80,
  threshold: float = 0.5,
) -> list[Detections]:
  """Detects faces of every size in each photo.

  A photo is shown to the network at several sizes, the longer side 128 px (faces that
  fill the photo), 256, 512, ..., from 512 on in overlapping tiles, up to where a face
  of the smallest size is 25 px wide, the network's limit. The search ends earlier when
  it has found faces and all of them are more than four times as large as this limit: a
  portrait does not pay for the faces of a crowd.

  Args:
    net: Network "detector" of the asset.
    photos: Photos, 8-bit RGB, of any sizes.
    smallest: Width of the smallest face, as a share of the photo's longer side.
    threshold: Least score of a detection.
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
  """Returns the longer side, px, at which a photo's smallest faces are seen.

  A photo is enlarged by half at most: enlarging adds no detail.
  """
  return min(_LIMIT / smallest, 1.5 * max(photo.shape[:2]))


def _all_large(rows: np.ndarray, photo: np.ndarray, longer: int) -> bool:
  """Returns whether there are faces, and none near the smallest width of a level."""
  widths = (rows[:, 2] - rows[:, 0])[rows[:, 16] >= _SURE]
  limit = _LIMIT * max(photo.shape[:2]) / longer
  return len(widths) > 0 and bool(widths.min() > _HEADROOM * limit)


def _level(
  net: _network.Network, photos: Sequence[np.ndarray], longer: int
) -> list[Float[np.ndarray, "n 17"]]:
  """Returns raw detections, photo px, seen with the longer side at `longer` px."""
  side = min(longer, _TILE)
  canvases = threads.mapped(functools.partial(_resized, longer=longer), photos)
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
  """A part of a resized photo: the number of the photo and the tile's first pixel."""

  photo: int
  x: int
  y: int


def _resized(photo: np.ndarray, longer: int) -> UInt8[np.ndarray, "h w 3"]:
  height, width = photo.shape[:2]
  ratio = longer / max(height, width)
  size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
  # Much larger photos are first averaged over blocks of whole pixels.
  return np.asarray(
    Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
  )


def _starts(length: int) -> list[int]:
  """Returns the first pixel of each tile along one side of a resized photo."""
  last = max(0, length - _TILE)
  count = math.ceil(last / (_TILE - _SHARED)) + 1
  return np.linspace(0, last, count).round().astype(int).tolist()


def _image(
  canvas: np.ndarray, tile: _Tile, side: int
) -> Float[np.ndarray, "side side 3"]:
  """Returns a tile in [-1, 1], gray beyond the photo."""
  part = canvas[tile.y : tile.y + side, tile.x : tile.x + side]
  image = np.zeros((side, side, 3), np.float32)
  image[: part.shape[0], : part.shape[1]] = part / np.float32(127.5) - 1
  return image


def _whole(
  points: Float[np.ndarray, "n 8 2"],
  scores: Float[np.ndarray, " n"],
  tile: _Tile,
  canvas: UInt8[np.ndarray, "h w 3"],
  side: int,
) -> tuple[Float[np.ndarray, "m 8 2"], Float[np.ndarray, " m"]]:
  """Returns the detections that count, in edge coordinates of the resized photo.

  A face cut by the tile's border is whole in another tile or on a coarser level.
  Detections of very low scores are dropped early.
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
  """Returns box corners and keypoints in edge coordinates of a tile, and scores."""
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
  """Returns the point of a tile that each output row refers to, edge coordinates."""
  anchors = []
  for stride, number in _ANCHORS:
    y, x = np.mgrid[: side // stride, : side // stride] + 0.5
    cells = np.stack([x, y], -1).reshape(-1, 2) * stride
    anchors.append(np.repeat(cells, number, 0))
  return np.concatenate(anchors)


def _suppress(rows: Float[np.ndarray, "n 17"]) -> Detections:
  """Merges overlapping detections into means weighted by score."""
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
  """Returns the intersection over union of a box with others."""
  low = np.maximum(box[:2], boxes[:, :2])
  high = np.minimum(box[2:], boxes[:, 2:])
  shared = np.prod(np.maximum(high - low, 0), 1)
  area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
  total = np.prod(box[2:] - box[:2]) + area - shared
  return shared / np.maximum(total, 1e-12)
