"""Flat things of many kinds that are laid before a portrait, as photos have them.

Each kind is a function of a generator and the portrait's frame that returns an image
and its opacity. `SEEN` is for training, `validation_disguises.VALIDATION` for choosing
among networks, `unseen_disguises.UNSEEN` for the final test.
"""

from collections.abc import Callable, Mapping

import numpy as np

from experiments.regions import face_frame, random_disguises, textures
from experiments.regions.face_frame import Frame, Landmarks, Point, Thing
from experiments.regions.textures import Image, Plane, Rng


def _glasses(rng: Rng, f: Frame, lens: float) -> Thing:
  """Draws glasses with frames of any width; `lens` is the opacity of their lenses."""
  wide, high = rng.uniform(0.32, 0.48), rng.uniform(0.2, 0.42)
  power, thick = rng.uniform(2, 5), np.exp(rng.uniform(np.log(0.012), np.log(0.07)))
  cy, reach = rng.uniform(-0.02, 0.12), max(f.reach, 0.12) * rng.uniform(0.95, 1.1)
  wide = wide * (0.4 + 1.2 * min(reach, 0.5))
  inside = np.maximum(
    face_frame.superellipse(f, -reach, cy, wide, high, power),
    face_frame.superellipse(f, reach, cy, wide, high, power),
  )
  line = np.abs(inside) if rng.random() < 0.85 else np.where(f.y < cy, abs(inside), 9)
  bridge = np.maximum(
    np.abs(f.y - cy + 0.1), np.maximum(np.abs(f.x) - reach + 0.7 * wide, 0)
  )
  arm = np.abs(f.y - cy + 0.3 * high + 0.05 * np.abs(f.x))
  arm = np.where(np.abs(f.x) > reach + wide * 0.95, arm, 9)
  arm = np.where(np.abs(f.x) < reach + wide + rng.uniform(0.1, 0.8), arm, 9)
  frame = np.minimum(line, np.minimum(np.where(inside > 0, 9, bridge), arm))
  rim = f.soft(thick - frame)
  glass = f.soft(inside) * lens * np.clip(1 + rng.normal(0, 0.5) * f.y, 0.5, 1)
  shine = np.zeros_like(rim)
  if rng.random() < 0.3:
    u, _ = textures.turned(f.x, f.y, rng.uniform(0, 3))
    band = np.abs(np.abs(u - rng.uniform(-0.8, 0.8)) - rng.uniform(0, 0.3))
    shine = f.soft(inside) * np.clip(1 - band / 0.15, 0, 1) * rng.uniform(0.2, 0.9)
  tone = textures.color(rng) * (0.3 if rng.random() < 0.7 else 1)
  dark = textures.color(rng) * 0.25
  under = dark + (0.9 - dark) * shine[..., None]
  alpha = np.maximum(rim, np.maximum(glass, shine))
  image = under + (tone - under) * rim[..., None]
  return image.astype(np.float32), alpha


def _clear_glasses(rng: Rng, f: Frame) -> Thing:
  return _glasses(rng, f, rng.uniform(0, 0.1))


def _sunglasses(rng: Rng, f: Frame) -> Thing:
  return _glasses(rng, f, rng.uniform(0.65, 1.0))


def _ragged(rng: Rng, along: Plane, across: Plane, fine: float) -> Plane:
  """Returns the displacement of the edge of hair by its locks and strands."""
  locks = textures.noise(rng, along * 3 * fine, across * 22 * fine)
  hairs = textures.noise(rng, along * 6 * fine, across * 70 * fine)
  return rng.uniform(0.02, 0.12) * locks + rng.uniform(0.0, 0.05) * hairs


def _bangs(rng: Rng, f: Frame) -> Thing:
  """Draws hair that falls over the forehead, down to the eyes at most."""
  slant = rng.normal(0, 0.35)
  along, across = f.y - slant * f.x, f.x + slant * f.y
  edge = rng.uniform(-1.0, 0.05) + slant * f.x + face_frame.wave(rng, f.x, 0.08)
  if rng.random() < 0.4:  # parted
    edge = edge - rng.uniform(0.3, 1.2) * np.abs(f.x - rng.normal(0, 0.3)) * rng.choice(
      [-1.0, 1.0]
    )
  inside = edge - f.y + _ragged(rng, along, across, 1.0)
  image = textures.strands(rng, along * f.unit, across * f.unit)
  return image, f.soft(inside, rng.uniform(1, 4))


def _curtain(rng: Rng, f: Frame) -> Thing:
  """Draws hair that hangs beside the face and over a part of it."""
  side = rng.choice([-1.0, 1.0])
  x = f.x * side
  edge = (
    rng.uniform(0.3, 1.15) + face_frame.wave(rng, f.y, 0.1) + rng.normal(0, 0.2) * f.y
  )
  wave = face_frame.wave(rng, f.y, 0.06)
  inside = x - edge + _ragged(rng, f.y, x + wave, 1.0)
  image = textures.strands(rng, f.y * f.unit, (x + wave) * f.unit)
  return image, f.soft(inside, rng.uniform(1, 4))


def _hood(rng: Rng, f: Frame) -> Thing:
  """Draws hair or cloth all around the face."""
  top, wide = rng.uniform(0.5, 1.2), rng.uniform(0.75, 1.1)
  low = rng.uniform(1.2, 2.2)
  angle = np.arctan2(f.y - 0.2, f.x)
  radius = np.hypot(
    f.x / wide, (f.y - 0.2) / np.where(f.y < 0.2, top + 0.2, low)
  ) + face_frame.wave(rng, angle, 0.05)
  if rng.random() < 0.7:
    rough = _ragged(rng, f.y, radius, 1.0)
    image = textures.strands(rng, angle * f.unit, radius * f.unit)
  else:
    rough, image = 0.0, textures.plain(rng, f.px, f.py)
  return image, f.soft(radius - 1 + rough, rng.uniform(1, 3))


def _wisps(rng: Rng, f: Frame) -> Thing:
  """Draws single locks and strands anywhere."""
  base, alpha = textures.hair_color(rng), np.zeros_like(f.x)
  for _ in range(rng.integers(1, 9)):
    slant = rng.normal(0, 0.6)
    path = rng.uniform(-1, 1) + slant * f.y + face_frame.wave(rng, f.y, 0.1)
    width = np.exp(rng.uniform(np.log(0.008), np.log(0.09)))
    start, end = rng.uniform(-1.8, -0.4), rng.uniform(-0.3, 1.8)
    taper = np.clip((end - f.y) * 2, 0, 1) * (f.y > start)
    line = f.soft(width * taper - np.abs(f.x - path)) * (taper > 0)
    alpha = np.maximum(alpha, line * rng.uniform(0.6, 1))
  grain = textures.noise(rng, f.y * 8, f.x * 60)
  return np.clip(base * np.exp(0.25 * grain)[..., None], 0, 1), alpha


def _capsule(f: Frame, a: Point, b: Point, radius: float) -> tuple[Plane, Plane]:
  """Returns the distance inside a capsule, and the height of its round surface."""
  a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
  d = b - a
  t = np.clip(((f.x - a[0]) * d[0] + (f.y - a[1]) * d[1]) / (d @ d + 1e-6), 0, 1)
  gap = np.hypot(f.x - a[0] - t * d[0], f.y - a[1] - t * d[1])
  return radius - gap, np.clip(1 - (gap / radius) ** 2, 0, 1) ** 0.5


def _hand(rng: Rng, f: Frame) -> Thing:
  """Draws fingers, a thumb, the back of a hand and an arm, of any skin."""
  at = np.array([rng.uniform(-1.1, 1.1), rng.uniform(-0.7, 1.9)])
  angle = rng.uniform(-3.2, 3.2)
  size = rng.uniform(0.7, 1.1)
  up = np.array([np.sin(angle), -np.cos(angle)])
  out = np.array([np.cos(angle), np.sin(angle)])
  tone = textures.skin_color(rng)
  image = np.zeros((*f.x.shape, 3), np.float32)
  alpha = np.zeros_like(f.x)
  spread = rng.uniform(-0.05, 0.25)
  parts = [(at - up * 0.9, at - up * 4, 0.32), (at - up * 0.4, at - up * 0.8, 0.42)]
  for k in range(4):
    base = at + out * (k - 1.5) * 0.22
    bent = rng.uniform(0.3, 1) * (0.85, 1.0, 0.95, 0.75)[k]
    tip = base + (up + out * (k - 1.5) * spread) * bent
    parts.append((base - up * 0.2, tip, rng.uniform(0.095, 0.125)))
  thumb = at + out * 0.42 - up * 0.5
  parts.append((thumb, thumb + (up * rng.uniform(0, 1) + out * 0.5) * 0.6, 0.13))
  lamp = rng.normal(0, 0.12)
  for a, b, radius in parts:
    inside, height = _capsule(f, a * 1, b * 1, radius * size)
    shade = 0.6 + 0.45 * height + lamp * (f.x - a[0])
    cover = f.soft(inside)[..., None]
    image = image + (tone * shade[..., None] - image) * cover
    alpha = np.maximum(alpha, cover[..., 0])
  grain = textures.noise(rng, f.px, f.py)
  return np.clip(image * np.exp(0.05 * grain)[..., None], 0, 1), alpha


def _hat(rng: Rng, f: Frame) -> Thing:
  """Draws cloth above a bent line, with a band or a visor."""
  line = rng.uniform(-1.1, -0.15) + rng.normal(0, 0.2) * f.x
  line = line + rng.normal(0, 0.25) * f.x**2
  image = textures.plain(rng, f.px, f.py)
  band = np.abs(f.y - line + rng.uniform(0, 0.2)) < rng.uniform(0.05, 0.25)
  if rng.random() < 0.5:
    image = np.where(band[..., None], textures.plain(rng, f.px, f.py), image)
  inside = line - f.y + face_frame.wave(rng, f.x, 0.02)
  return image, f.soft(inside)


def _scarf(rng: Rng, f: Frame) -> Thing:
  """Draws cloth from below, over the chin or up to the nose."""
  line = rng.uniform(0.45 * f.mouth, f.chin + 0.2) + rng.normal(0, 0.2) * f.x
  line = line - rng.uniform(-0.3, 0.6) * f.x**2
  image = textures.plain(rng, f.px, f.py)
  fold = textures.noise(rng, f.x * 12, f.y * 30)
  return np.clip(image * np.exp(0.2 * fold)[..., None], 0, 1), f.soft(
    f.y - line + face_frame.wave(rng, f.x, 0.03)
  )


def _polygon(rng: Rng, f: Frame) -> Thing:
  return textures.plain(rng, f.px, f.py), f.soft(face_frame.polygon(rng, f))


def _blob(rng: Rng, f: Frame) -> Thing:
  cx, cy = face_frame.place(rng)
  wide, high = rng.uniform(0.15, 0.8, 2)
  inside = face_frame.superellipse(f, cx, cy, wide, high, rng.uniform(1.5, 4))
  inside = inside + face_frame.wave(rng, f.x + f.y, 0.04)
  return textures.plain(rng, f.px, f.py), f.soft(inside, rng.uniform(1, 5))


def _bar(rng: Rng, f: Frame) -> Thing:
  """Draws a rod, cable, stripe or seat belt across the picture."""
  (cx, cy), angle = face_frame.place(rng), rng.uniform(0, 3.2)
  u, v = textures.turned(f.x - cx, f.y - cy, angle)
  half = np.exp(rng.uniform(np.log(0.02), np.log(0.25)))
  inside = np.minimum(half - np.abs(v), u + rng.uniform(0, 3))
  image = textures.plain(rng, f.px, f.py)
  return image * np.clip(1.1 - 0.5 * (v / half)[..., None] ** 2, 0.3, 1.1), f.soft(
    inside
  )


Kind = Callable[[Rng, Frame], Thing]

SEEN: Mapping[str, Kind] = {
  "clear_glasses": _clear_glasses,
  "sunglasses": _sunglasses,
  "bangs": _bangs,
  "curtain": _curtain,
  "hood": _hood,
  "wisps": _wisps,
  "hand": _hand,
  "hat": _hat,
  "scarf": _scarf,
  "polygon": _polygon,
  "blob": _blob,
  "bar": _bar,
  **random_disguises.RANDOM,
}


def lay(
  rng: Rng, kind: Kind, image: Image, bare: Plane, landmarks: Landmarks
) -> tuple[Image, Plane]:
  """Lays one thing over a portrait.

  Args:
    rng: Generator, advanced by the call.
    kind: Kind of thing.
    image: Picture in [0, 1].
    bare: Share of each pixel that shows bare skin, in [0, 1].
    landmarks: The 68 landmarks, px.

  Returns:
    The picture and its bare skin with the thing before them.
  """
  color, alpha = kind(rng, Frame(landmarks, len(image)))
  alpha = alpha.astype(np.float32)
  image = image + (color.astype(np.float32) - image) * alpha[..., None]
  return image, bare * (1 - alpha)
