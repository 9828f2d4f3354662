"""Photos of portraits, with the faults of light, cameras and cropping, in NumPy.

The faults are stronger than those of the synthetic source, for networks that must hold
on photos of any origin: color casts, cast shadows, over-exposure, blur, noise, JPEG,
gray photos, and crops that reach beyond the photo, where its edge repeats.
"""

import io

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFilter

from affjax.heads import landmarks as standard
from experiments.regions import (
  disguises,
  textures,
  unseen_disguises,
  validation_disguises,
)
from experiments.regions.bare_skin import Portrait
from experiments.regions.face_frame import Frame, Landmarks, Thing
from experiments.regions.textures import Image, Plane, Rng

# All kinds of things that can be laid before a portrait.
KINDS = {
  **disguises.SEEN,
  **validation_disguises.VALIDATION,
  **unseen_disguises.UNSEEN,
}


# Relative frequency of kinds in training; 1 for the others.
_OFTEN = {"hand": 3, "thing": 5, "visor": 2}
_TRAINING = [name for name in disguises.SEEN for _ in range(_OFTEN.get(name, 1))]


def training_snapshot(
  rng: Rng, portrait: Portrait, other: Portrait, *, moved: bool = True
) -> tuple[Image, Plane]:
  """Makes a photo with none to three things of `disguises.SEEN`, and its bare skin.

  Args:
    rng: Generator, advanced by the call.
    portrait: Portrait of the training split.
    other: Another portrait, whose picture some of the things show.
    moved: Whether the portrait is moved, scaled and mirrored, too.
  """
  image, bare, landmarks = _placed(rng, portrait) if moved else _as_painted(portrait)
  image = _made_up(rng, image, bare, landmarks)
  for _ in range(rng.choice(4, p=[0.2, 0.45, 0.25, 0.1])):
    name = _TRAINING[rng.integers(len(_TRAINING))]
    kind = _blended_in(disguises.SEEN[name], name, image, bare, other)
    image, bare = disguises.lay(rng, kind, image, bare, landmarks)
  return _taken(rng, _two_lights(rng, image), bare)


def _blended_in(
  kind: disguises.Kind, name: str, image: Image, bare: Plane, other: Portrait
) -> disguises.Kind:
  """Returns a kind whose things may have the skin's color, a picture and a shadow.

  The shadow falls on `image`, which changes: skin in the shade is still skin.
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
  """Returns the share of the light that a thing leaves beside itself."""
  wide = int(rng.integers(2, 2 + len(alpha) // 12))
  blurred = Pillow.fromarray(np.rint(alpha * 255).astype(np.uint8)).filter(
    ImageFilter.BoxBlur(wide)
  )
  moved = np.roll(np.asarray(blurred), rng.integers(-wide, wide + 1, 2), (0, 1))
  return 1 - np.float32(rng.uniform(0.1, 0.7) / 255) * moved


def _made_up(rng: Rng, image: Image, bare: Plane, landmarks: Landmarks) -> Image:
  """Paints, brightens or darkens eyes, nose and mouth, which stay skin."""
  if rng.random() > 0.5:
    return image
  unit = np.linalg.norm(landmarks[42:48].mean(0) - landmarks[36:42].mean(0)) + 1
  x, y = textures.grid(len(image))
  eyes, nose, mouth = (
    (landmarks[36:42], landmarks[42:48]),
    (landmarks[27:36],),
    (landmarks[48:],),
  )
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
  """Adds, sometimes, a second lamp of another color from one side."""
  if rng.random() > 0.15:
    return image
  size = len(image)
  x, y = textures.grid(size)
  u, _ = textures.turned(x - size / 2, y - size / 2, rng.uniform(0, 6.3))
  share = 0.5 + 0.5 * np.tanh((u / size - rng.normal(0, 0.2)) * rng.uniform(2, 12))
  lamp = np.exp(rng.normal(0, 0.3, 3))
  return np.clip(image * (1 + (lamp - 1) * share[..., None]), 0, 1)


def held_out_snapshot(
  rng: Rng, portrait: Portrait, name: str, *, degraded: bool
) -> tuple[Image, Plane]:
  """Makes a photo of a portrait with one thing before it, and its bare skin.

  Args:
    rng: Generator, advanced by the call.
    portrait: Portrait of the test split.
    name: Name of the thing among `KINDS`, or "none".
    degraded: Whether the photo is moved, cut and degraded as strongly as in training.
  """
  image, bare, landmarks = _placed(rng, portrait) if degraded else _as_painted(portrait)
  if name != "none":
    kind = KINDS[name]
    image, bare = disguises.lay(rng, kind, image, bare, landmarks)
  return _taken(rng, image, bare) if degraded else (image, bare)


def _as_painted(portrait: Portrait) -> tuple[Image, Plane, Landmarks]:
  image = portrait.image.astype(np.float32) / 255
  return image, portrait.bare.astype(np.float32) / 255, portrait.landmarks


def _placed(rng: Rng, portrait: Portrait) -> tuple[Image, Plane, Landmarks]:
  """Moves, scales and mirrors a portrait, as inexact landmarks do."""
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
  # Two pictures, not one of four channels: Pillow would weigh colors with the fourth.
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
  landmarks = portrait.landmarks @ linear.T + shift
  if np.linalg.det(linear) < 0:
    landmarks = landmarks[standard.MIRRORED]
  return moved, bare, landmarks.astype(np.float32)


def _taken(rng: Rng, image: Image, bare: Plane) -> tuple[Image, Plane]:
  """Adds light, the edge of the photo and the faults of the camera."""
  image = _shadow(rng, image)
  image, bare = _cut(rng, image, bare)
  image = _tone(rng, image)
  return _degraded(rng, image), bare.astype(np.float32)


def _shadow(rng: Rng, image: Image) -> Image:
  """Adds, sometimes, a shadow or a patch of sun with a soft or hard edge."""
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
  """Repeats, sometimes, an edge of the photo, as crops beyond it do."""
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
  """Changes exposure, contrast, color cast and saturation."""
  image = image ** np.float32(np.exp(rng.normal(0, 0.18)))
  cast = np.exp(rng.normal(0, 0.08, 3) * rng.choice([0.4, 1, 1.5]))
  image = (image - 0.5) * np.exp(rng.normal(0.05, 0.15)) + 0.5 + rng.normal(0, 0.05)
  image = np.clip(image, 0, 1.2) * cast
  gray = image.mean(-1, keepdims=True)
  share = 0.0 if rng.random() < 0.1 else np.exp(rng.normal(0, 0.3))
  return np.clip(gray + (image - gray) * share, 0, 1)


def _degraded(rng: Rng, image: Image) -> Image:
  """Loses resolution, adds noise, compresses as JPEG."""
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
