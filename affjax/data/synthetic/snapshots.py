"""What cameras, light and cropping do to a portrait, in NumPy: fast and strong.

Stronger than `affjax.data.synthetic.lens`, for networks that must hold on photos of any
origin: casts, cast shadows, over-exposure, blur, noise, JPEG, grey photos, and crops
that reach beyond the photo, where its edge repeats.
"""

import io

import numpy as np
from PIL import Image as Pillow

from affjax.data.synthetic import disguises, textures, unseen_disguises
from affjax.data.synthetic.bare_skin import Portrait
from affjax.data.synthetic.face_frame import Marks
from affjax.data.synthetic.textures import Image, Plane, Rng


def training_snapshot(rng: Rng, portrait: Portrait) -> tuple[Image, Plane]:
  """A photo with none to three of the things of `disguises.SEEN`, and its bare skin."""
  image, bare, marks = _placed(rng, portrait)
  names = list(disguises.SEEN)
  for _ in range(rng.choice(4, p=[0.25, 0.5, 0.2, 0.05])):
    kind = disguises.SEEN[names[rng.integers(len(names))]]
    image, bare = disguises.lay(rng, kind, image, bare, marks)
  return _taken(rng, image, bare)


def held_out_snapshot(
  rng: Rng, portrait: Portrait, name: str, *, spoilt: bool
) -> tuple[Image, Plane]:
  """A photo with one thing of `unseen_disguises.UNSEEN` or of `SEEN`, or "none".

  Args:
    rng: consumed.
    portrait: of the test split.
    name: of the thing.
    spoilt: whether the photo is moved, cut and spoilt as strongly as in training.
  """
  image, bare, marks = _placed(rng, portrait) if spoilt else _as_painted(portrait)
  if name != "none":
    kind = {**disguises.SEEN, **unseen_disguises.UNSEEN}[name]
    image, bare = disguises.lay(rng, kind, image, bare, marks)
  return _taken(rng, image, bare) if spoilt else (image, bare)


def _as_painted(portrait: Portrait) -> tuple[Image, Plane, Marks]:
  image = portrait.image.astype(np.float32) / 255
  return image, portrait.bare.astype(np.float32) / 255, portrait.landmarks


def _placed(rng: Rng, portrait: Portrait) -> tuple[Image, Plane, Marks]:
  """The portrait moved, scaled and mirrored a little, as inexact landmarks leave it."""
  size = len(portrait.image)
  scale, angle = np.exp(rng.normal(0, 0.06)), rng.normal(0, 0.05)
  c, s = scale * np.cos(angle), scale * np.sin(angle)
  linear = np.array([[c, s], [-s, c]])
  if rng.random() < 0.5:
    linear[:, 0] *= -1  # mirrors the photo's x
  middle = (size - 1) / 2
  shift = middle - linear @ [middle, middle] + rng.normal(0, 0.025 * size, 2)
  inverse = np.linalg.inv(linear)
  offset = -inverse @ shift + 0.5 - inverse @ [0.5, 0.5]
  pad = size // 4
  ends = ((pad, pad), (pad, pad))
  # Not as one RGBA picture: Pillow would weigh the colours with the fourth channel.
  image = Pillow.fromarray(np.pad(portrait.image, (*ends, (0, 0)), "reflect"))
  mask = Pillow.fromarray(np.pad(portrait.bare, ends, "reflect"))
  table = (*inverse[0], offset[0] + pad, *inverse[1], offset[1] + pad)
  moved, bare = (
    np.asarray(
      picture.transform(
        (size, size), Pillow.Transform.AFFINE, table, Pillow.Resampling.BILINEAR
      ),
      np.float32,
    )
    / 255
    for picture in (image, mask)
  )
  marks = portrait.landmarks @ linear.T + shift
  if np.linalg.det(linear) < 0:
    marks = marks[_MIRRORED]
  return moved, bare, marks.astype(np.float32)


def _mirrored() -> np.ndarray:
  """Indices of the 68 landmarks of a mirrored face; those of lips as far as needed."""
  order = np.arange(68)
  order[:17] = order[:17][::-1]
  order[17:27] = order[17:27][::-1]
  order[36:42], order[42:48] = [45, 44, 43, 42, 47, 46], [39, 38, 37, 36, 41, 40]
  return order


_MIRRORED = _mirrored()


def _taken(rng: Rng, image: Image, bare: Plane) -> tuple[Image, Plane]:
  """Light, edge of the photo, camera."""
  image = _shadow(rng, image)
  image, bare = _cut(rng, image, bare)
  image = _tone(rng, image)
  return _spoilt(rng, image), bare.astype(np.float32)


def _shadow(rng: Rng, image: Image) -> Image:
  """A cast shadow or a patch of sun with a soft or hard edge."""
  if rng.random() > 0.3:
    return image
  size = len(image)
  x, y = textures.grid(size)
  u, v = textures.turned(x - size / 2, y - size / 2, rng.uniform(0, 6.3))
  bend = textures.noise(rng, u * 0.15 * 128 / size, v * 0.15 * 128 / size)
  edge = u / size - rng.uniform(-0.4, 0.4) + 0.1 * bend * rng.random()
  soft = np.clip(0.5 + edge / np.exp(rng.uniform(-4, -0.5)), 0, 1)
  deep = np.exp(rng.normal(0, 0.35, 1) + rng.normal(0, 0.06, 3))
  return np.clip(image * (1 + (deep - 1) * soft[..., None]), 0, 1)


def _cut(rng: Rng, image: Image, bare: Plane) -> tuple[Image, Plane]:
  """Beyond the edge of the photo, its edge repeats."""
  if rng.random() > 0.35:
    return image, bare
  size = len(image)
  most = 0.22 * size
  ends = np.where(rng.random(4) < 0.5, rng.uniform(0, most, 4), 0).astype(int)
  (top, left), (bottom, right) = ends[:2], size - ends[2:]
  pads = ((ends[0], ends[2]), (ends[1], ends[3]))
  inside = image[top:bottom, left:right]
  image = np.pad(inside, (*pads, (0, 0)), "edge")
  return image, np.pad(bare[top:bottom, left:right], pads)


def _tone(rng: Rng, image: Image) -> Image:
  """Exposure, contrast, cast, saturation."""
  image = image ** np.float32(np.exp(rng.normal(0, 0.18)))
  cast = np.exp(rng.normal(0, 0.08, 3) * rng.choice([0.4, 1, 1.5]))
  image = (image - 0.5) * np.exp(rng.normal(0.05, 0.15)) + 0.5 + rng.normal(0, 0.05)
  image = np.clip(image, 0, 1.2) * cast
  grey = image.mean(-1, keepdims=True)
  share = 0.0 if rng.random() < 0.1 else np.exp(rng.normal(0, 0.3))
  return np.clip(grey + (image - grey) * share, 0, 1)


def _spoilt(rng: Rng, image: Image) -> Image:
  """Lost resolution, noise, JPEG."""
  size = len(image)
  picture = Pillow.fromarray(np.rint(image * 255).astype(np.uint8))
  if rng.random() < 0.35:
    small = max(16, int(size * rng.uniform(0.4, 0.9)))
    picture = picture.resize((small, small), Pillow.Resampling.BOX)
    picture = picture.resize((size, size), Pillow.Resampling.BICUBIC)
  if rng.random() < 0.4:
    noise = rng.normal(0, 255 * 0.05 * rng.random() ** 2, (size, size, 3))
    pixels = np.clip(np.asarray(picture) + noise, 0, 255)
    picture = Pillow.fromarray(pixels.astype(np.uint8))
  if rng.random() < 0.4:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(15, 95)))
    picture = Pillow.open(file)
  return np.asarray(picture, np.float32) / 255
