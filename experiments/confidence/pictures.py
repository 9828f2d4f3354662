"""Pictures on which heads can be wrong: photos turned, covered, cut, painted; no faces.

Each is made from a photo whose faces are known, so that it is known where the landmarks
of a right head lie.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# Longer side of the photos that pictures are made of, px.
SIDE = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A picture and what is right about it.

  Attributes:
    kind: Name of what was done to the photo, a key of `KINDS`.
    name: Name of the photo.
    pixels: The picture.
    faces: 68 landmarks of each face, px.
    shown: Which of these landmarks the picture shows.
    expected: Whether each face is shown well enough to be found.
  """

  kind: str
  name: str
  pixels: np.ndarray
  faces: Sequence[np.ndarray]
  shown: Sequence[np.ndarray]
  expected: Sequence[bool]


# Returns the changed photo, where its pixels' places go (a 2 x 3 matrix), and whether
# faces are still shown well enough to be found.
Change = Callable[
  [Image.Image, list[np.ndarray], np.random.Generator],
  tuple[Image.Image, np.ndarray, bool],
]
_SAME = np.eye(2, 3)


def _turned(degrees: float) -> Change:
  """Returns a change that turns the photo counter-clockwise, corners gray."""

  def change(image, faces, rng):
    angle = degrees if degrees else float(rng.uniform(45, 315))
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    linear = np.array([[c, s], [-s, c]])
    w, h = image.size
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]]) - 0.5
    size = np.ceil(np.ptp(corners @ linear.T, axis=0) - 1e-6).astype(int)
    shift = (size - 1) / 2 - linear @ np.array([(w - 1) / 2, (h - 1) / 2])
    matrix = np.concatenate([linear, shift[:, None]], 1)
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    # Pillow counts from the corner of the first pixel.
    back[:2, 2] += 0.5 - back[:2, :2] @ [0.5, 0.5]
    fill = (128, 128, 128)
    picture = image.transform(
      tuple(size), Image.Transform.AFFINE, back[:2].ravel().tolist(),
      Image.Resampling.BICUBIC, fillcolor=fill,
    )  # fmt: skip
    return picture, matrix, True

  return change


def _frame(face: np.ndarray) -> np.ndarray:
  """Returns the map from a face's own coordinates to px.

  The origin lies between the eyes, x along them with a unit of their distance, y to the
  chin.
  """
  left, right = face[36:42].mean(0), face[42:48].mean(0)
  across = right - left
  down = np.array([-across[1], across[0]])
  # Of a face turned to the side the eyes are near each other.
  height = face[48:].mean(0) - (left + right) / 2
  down *= max(1.0, float(height @ down) / float(down @ down) / 1.1)
  return np.stack([across * max(1.0, np.linalg.norm(down) / np.linalg.norm(across)),
                   down, (left + right) / 2], 1)  # fmt: skip


def _painted_over(outlines: Callable, visible: bool) -> Change:
  """Returns a change that paints outlines, given in a face's coordinates."""

  def change(image, faces, rng):
    picture = image.copy()
    draw = ImageDraw.Draw(picture)
    for face in faces:
      frame = _frame(face)
      tone = tuple(int(v) for v in rng.integers(20, 236, 3))
      for outline in outlines(rng):
        points = np.asarray(outline, float) @ frame[:, :2].T + frame[:, 2]
        draw.polygon([tuple(p) for p in points], fill=tone)
    return picture, _SAME, visible

  return change


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
  return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _blob(rng: np.random.Generator, center: Sequence[float], radius: float) -> list:
  angles = np.linspace(0, 2 * math.pi, 14, endpoint=False)
  reach = radius * rng.uniform(0.8, 1.2, 14)
  return [
    (center[0] + r * math.cos(a), center[1] + r * math.sin(a))
    for r, a in zip(reach, angles, strict=True)
  ]


def _cut(low: Sequence[float], high: Sequence[float], visible: bool) -> Change:
  """Returns a change that cuts the photo at bounds given in shares of a face's box."""

  def change(image, faces, rng):
    face = max(faces, key=lambda f: np.prod(np.ptp(f, axis=0)))
    start, size = face.min(0), np.ptp(face, axis=0)
    edge = np.array(image.size)
    first = np.clip(np.floor(start + np.array(low) * size), 0, edge - 33).astype(int)
    last = np.clip(np.ceil(start + np.array(high) * size), first + 33, edge).astype(int)
    box = (*first.tolist(), *last.tolist())
    matrix = np.concatenate([np.eye(2), -first[:, None].astype(float)], 1)
    return image.crop(box), matrix, visible

  return change


def _painting(image, faces, rng):
  """Draws the photo in flat strokes and few colors."""
  width = np.median([np.ptp(f[:, 0]) for f in faces])
  size = int(np.clip(width / 14, 3, 13)) // 2 * 2 + 1
  return (
    image.filter(ImageFilter.ModeFilter(size)).quantize(24).convert("RGB"),
    _SAME,
    True,
  )


def _drawing(image, faces, rng):
  """Draws the photo's edges, dark on white."""
  gray = image.convert("L").filter(ImageFilter.GaussianBlur(1.2))
  edges = np.asarray(gray.filter(ImageFilter.FIND_EDGES), float)
  tones = np.clip(255 - 5 * edges, 0, 255).astype(np.uint8)
  return Image.fromarray(tones).convert("RGB"), _SAME, False


def _coarse(image, faces, rng):
  """Makes the photo of blocks, of which a face has ten in a row."""
  width = np.median([np.ptp(f[:, 0]) for f in faces])
  block = max(2, round(width / 10))
  small = image.resize([max(1, n // block) for n in image.size], Image.Resampling.BOX)
  return small.resize(image.size, Image.Resampling.NEAREST), _SAME, False


def _shuffled(image, faces, rng):
  """Exchanges the parts of every face."""
  picture = np.array(image)
  for face in faces:
    low = np.maximum(face.min(0) - 0.15 * np.ptp(face, axis=0), 0).astype(int)
    high = (face.max(0) + 0.15 * np.ptp(face, axis=0)).astype(int)
    size = (np.minimum(high, image.size) - low) // 4
    if size.min() < 2:
      continue
    # Without a part that stays where it was.
    order = rng.permutation(16)
    while (order == np.arange(16)).any():
      order = rng.permutation(16)
    starts = [low + size * (k % 4, k // 4) for k in range(16)]
    parts = [picture[y : y + size[1], x : x + size[0]].copy() for x, y in starts]
    for (x, y), other in zip(starts, order, strict=True):
      picture[y : y + size[1], x : x + size[0]] = parts[other]
  return Image.fromarray(picture), _SAME, False


def _plain(image, faces, rng):
  return image, _SAME, True


KINDS: dict[str, Change] = {
  "as it is": _plain,
  "turned by 90": _turned(90),
  "turned by 180": _turned(180),
  "turned by 270": _turned(270),
  "turned by 135": _turned(135),
  "turned at random": _turned(0),
  "covered: mouth": _painted_over(lambda rng: [_box(-0.85, 0.45, 0.85, 1.9)], True),
  "covered: eyes": _painted_over(lambda rng: [_box(-1, -0.25, 1, 0.25)], True),
  "covered: one cheek": _painted_over(
    lambda rng: [_blob(rng, (rng.choice([-0.5, 0.5]), rng.uniform(0.2, 1)), 0.4)], True
  ),
  "covered: left half": _painted_over(lambda rng: [_box(-2, -2, 0, 2.5)], False),
  "covered: right half": _painted_over(lambda rng: [_box(0, -2, 2, 2.5)], False),
  "covered: most": _painted_over(
    lambda rng: [_blob(rng, rng.uniform((-0.3, 0.1), (0.3, 0.9)), 0.85)], False
  ),
  "covered: all": _painted_over(lambda rng: [_box(-1.6, -1.6, 1.6, 2.2)], False),
  "cut: chin": _cut((-0.6, -0.8), (1.6, 0.8), True),
  "cut: forehead": _cut((-0.6, 0.1), (1.6, 1.8), True),
  "cut: close": _cut((0, 0), (1, 1), True),
  "cut: a third": _cut((0.33, -0.8), (1.6, 1.6), False),
  "cut: half": _cut((-0.6, -0.8), (0.5, 1.6), False),
  "cut: most": _cut((-0.6, 0.45), (0.6, 1.8), False),
  "painted": _painting,
  "drawn": _drawing,
  "coarse": _coarse,
  "shuffled": _shuffled,
}


def changed(
  kind: str, name: str, photo: Image.Image, faces: list[np.ndarray], seed: Sequence[int]
) -> Picture:
  """Returns a photo after a change of a kind.

  Args:
    kind: Key of `KINDS`.
    name: Name of the photo.
    photo: The photo.
    faces: 68 landmarks of each of its faces.
    seed: Seed of what is random.
  """
  picture, matrix, expected = KINDS[kind](photo, faces, np.random.default_rng(seed))
  pixels = np.asarray(picture)
  moved = [f @ matrix[:, :2].T + matrix[:, 2] for f in faces]
  shown = [_inside(f, picture.size) for f in moved]
  if kind.startswith("covered"):
    before = np.asarray(photo)
    shown = [s & _alike(before, pixels, f) for s, f in zip(shown, moved, strict=True)]
  # Little of a face, or its parts in another order, is no face.
  there = [int(s[17:].sum()) >= 12 and kind != "shuffled" for s in shown]
  return Picture(
    kind,
    name,
    pixels,
    [f for f, keep in zip(moved, there, strict=True) if keep],
    [s for s, keep in zip(shown, there, strict=True) if keep],
    [
      expected and s[17:].mean() > 0.4
      for s, keep in zip(shown, there, strict=True)
      if keep
    ],
  )


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  return ((points >= 0) & (points <= np.array(size) - 1)).all(1)


def _alike(before: np.ndarray, after: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Returns at which points two pictures of one size are the same."""
  edge = np.array(before.shape[1::-1]) - 1
  x, y = np.clip(np.rint(points), 0, edge).astype(int).T
  return (before[y, x] == after[y, x]).all(-1)


def backgrounds(
  name: str, photo: Image.Image, faces: list[np.ndarray], seed: Sequence[int]
) -> list[Picture]:
  """Returns two parts of a photo that show no face, enlarged."""
  rng, count = np.random.default_rng(seed), 2
  found: list[Picture] = []
  shorter = min(photo.size)
  for _ in range(400):
    side = int(rng.uniform(0.15, 0.5) * shorter)
    if len(found) == count or side < 32:
      break
    start = (rng.random(2) * (np.array(photo.size) - side)).astype(int)
    clear = True
    for face in faces:
      wide = 0.35 * np.ptp(face, axis=0)
      low, high = face.min(0) - wide, face.max(0) + wide
      clear &= bool((start > high).any() or (start + side < low).any())
    if clear:
      box = (*start.tolist(), *(start + side).tolist())
      part = photo.crop(box).resize((256, 256), Image.Resampling.BICUBIC)
      found.append(Picture("background", name, np.asarray(part), [], [], []))
  return found
