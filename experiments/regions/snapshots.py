"""What cameras, light and cropping do to a portrait, in NumPy: fast and strong.

Stronger than `affjax.data.synthetic.lens`, for networks that must hold on photos of any
origin: casts, cast shadows, over-exposure, blur, noise, JPEG, grey photos, and crops
that reach beyond the photo, where its edge repeats.
"""

import io

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter

from experiments.regions import (
  disguises,
  textures,
  unseen_disguises,
  validation_disguises,
)
from experiments.regions.bare_skin import Portrait
from experiments.regions.face_frame import Frame, Marks, Thing
from experiments.regions.textures import Image, Plane, Rng

# All that can be laid before a portrait.
KINDS = {
  **disguises.SEEN,
  **validation_disguises.VALIDATION,
  **unseen_disguises.UNSEEN,
}


# How often training draws a kind, beside those drawn once.
_OFTEN = {"hand": 3, "thing": 5, "visor": 2}
_TRAINING = [name for name in disguises.SEEN for _ in range(_OFTEN.get(name, 1))]


def training_snapshot(
  rng: Rng, portrait: Portrait, other: Portrait
) -> tuple[Image, Plane]:
  """A photo with none to three of the things of `disguises.SEEN`, and its bare skin.

  Args:
    rng: consumed.
    portrait: of the training split.
    other: another one, whose picture some of the things show.
  """
  image, bare, marks = _placed(rng, portrait)
  image = _made_up(rng, image, bare, marks)
  for _ in range(rng.choice(4, p=[0.2, 0.45, 0.25, 0.1])):
    name = _TRAINING[rng.integers(len(_TRAINING))]
    kind = _blended_in(disguises.SEEN[name], name, image, bare, other)
    image, bare = disguises.lay(rng, kind, image, bare, marks)
  return _taken(rng, _two_lights(rng, image), bare)


def _blended_in(
  kind: disguises.Kind, name: str, image: Image, bare: Plane, other: Portrait
) -> disguises.Kind:
  """The kind as photos have it: in the skin's colour, of a picture, with a shadow.

  The shadow falls on `image`, which changes: what is in the shade is still skin.
  """

  def drawn(rng: Rng, f: Frame) -> Thing:
    color, alpha = kind(rng, f)
    color = color.astype(np.float32)
    if name == "thing" and rng.random() < 0.2:
      turned = other.image[:, ::-1] if rng.random() < 0.5 else other.image[::-1]
      color = np.roll(turned, rng.integers(0, len(color), 2), (0, 1)) / np.float32(255)
    if rng.random() < (0.5 if name == "hand" else 0.12):
      weight = bare / max(float(bare.sum()), 1.0)
      skin = (image * weight[..., None]).sum((0, 1))
      own = (color * alpha[..., None]).sum((0, 1)) / max(float(alpha.sum()), 1.0)
      ratio = np.exp(rng.normal(0, 0.08)) * (skin + 0.02) / (own + 0.02)
      color = np.clip(color * ratio, 0, 1).astype(np.float32)
    if rng.random() < 0.5:
      image[...] *= _shade_of(rng, alpha)[..., None]
    return color, alpha

  return drawn


def _shade_of(rng: Rng, alpha: Plane) -> Plane:
  """What is left of the light beside a thing that keeps it off."""
  wide = int(rng.integers(2, 2 + len(alpha) // 12))
  blurred = Pillow.fromarray(np.rint(alpha * 255).astype(np.uint8)).filter(
    ImageFilter.BoxBlur(wide)
  )
  moved = np.roll(np.asarray(blurred), rng.integers(-wide, wide + 1, 2), (0, 1))
  return 1 - np.float32(rng.uniform(0.1, 0.7) / 255) * moved


def _made_up(rng: Rng, image: Image, bare: Plane, marks: Marks) -> Image:
  """Paint, shine or shade on eyes, nose and mouth, which stay skin."""
  if rng.random() > 0.5:
    return image
  unit = np.linalg.norm(marks[42:48].mean(0) - marks[36:42].mean(0)) + 1
  x, y = textures.grid(len(image))
  eyes, nose, mouth = (marks[36:42], marks[42:48]), (marks[27:36],), (marks[48:],)
  for parts in (eyes, nose, mouth):
    if rng.random() < 0.4:
      continue
    wide, high = unit * np.exp(rng.uniform(np.log(0.08), np.log(0.45), 2))
    moved, turn = rng.normal(0, 0.1 * unit, 2), rng.uniform(-0.6, 0.6)
    sharp, strong = rng.choice([2.0, 4.0]), rng.uniform(0.1, 0.8)
    if rng.random() < 0.5:
      tone = np.clip(rng.uniform(0.6, 1.1) + rng.normal(0, 0.1, 3), 0, 1)
    else:
      tone = image * np.exp(rng.normal(-0.6, 0.5) + rng.normal(0, 0.25, 3))
    for part in parts:
      middle = part.mean(0) + moved
      u, v = textures.turned(x - middle[0], y - middle[1], turn)
      spot = np.exp(-(np.hypot(u / wide, v / high) ** sharp)) * strong * bare
      image = image + (tone - image) * spot[..., None]
  return np.clip(image, 0, 1).astype(np.float32)


def _two_lights(rng: Rng, image: Image) -> Image:
  """Now and then a second lamp of another colour from one side."""
  if rng.random() > 0.15:
    return image
  size = len(image)
  x, y = textures.grid(size)
  u, _ = textures.turned(x - size / 2, y - size / 2, rng.uniform(0, 6.3))
  share = 0.5 + 0.5 * np.tanh((u / size - rng.normal(0, 0.2)) * rng.uniform(2, 12))
  lamp = np.exp(rng.normal(0, 0.3, 3))
  return np.clip(image * (1 + (lamp - 1) * share[..., None]), 0, 1)


def held_out_snapshot(
  rng: Rng, portrait: Portrait, name: str, *, spoilt: bool
) -> tuple[Image, Plane]:
  """A photo with one thing of `UNSEEN`, `VALIDATION` or `SEEN`, or "none".

  Args:
    rng: consumed.
    portrait: of the test split.
    name: of the thing.
    spoilt: whether the photo is moved, cut and spoilt as strongly as in training.
  """
  image, bare, marks = _placed(rng, portrait) if spoilt else _as_painted(portrait)
  if name != "none":
    kind = KINDS[name]
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
