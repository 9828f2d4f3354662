"""Things before a face that only the final test shows.

They are kinds as in `experiments.regions.disguises`, with shapes and patterns that
training never sees.
"""

from collections.abc import Mapping

import numpy as np

from experiments.regions import face_frame, textures
from experiments.regions.disguises import Kind
from experiments.regions.face_frame import Frame, Thing
from experiments.regions.textures import Rng


def _aviators(rng: Rng, f: Frame) -> Thing:
  """Draws large dark drops that hang from a double bridge."""
  reach = max(f.reach, 0.15)
  drop = lambda cx: face_frame.superellipse(
    f, cx, 0.16, 0.42 - 0.14 * (f.y - 0.1), 0.4, 2.4
  )
  inside = np.maximum(drop(-reach), drop(reach))
  bridge = np.minimum(np.abs(f.y + 0.18), np.abs(f.y + 0.05))
  bridge = np.where(np.abs(f.x) < reach, bridge, 9)
  rim = f.soft(0.025 - np.minimum(np.abs(inside), bridge))
  tint = textures.color(rng) * np.clip(0.1 + 0.5 * f.y, 0, 1)[..., None]
  metal = np.array([0.8, 0.7, 0.4]) * rng.uniform(0.4, 1.1)
  image = np.clip(tint + (metal - tint) * rim[..., None], 0, 1)
  return image, np.maximum(rim, 0.95 * f.soft(inside))


def _leaves(rng: Rng, f: Frame) -> Thing:
  """Draws a twig with pointed leaves."""
  cx, cy = face_frame.place(rng)
  alpha = np.zeros_like(f.x)
  green = np.array([rng.uniform(0.1, 0.6), rng.uniform(0.35, 0.7), 0.15])
  image = np.zeros((*f.x.shape, 3), np.float32)
  turn = rng.uniform(0, 6.3)
  for k in range(9):
    u, v = textures.turned(
      f.x - cx - 0.16 * k * np.cos(turn) + 0.5 * np.cos(turn),
      f.y - cy - 0.16 * k * np.sin(turn) + 0.5 * np.sin(turn),
      turn + (0.9 if k % 2 else -0.9),
    )
    t = np.clip(u / 0.5, 0, 1)
    cover = f.soft(0.32 * t * (1 - t) - np.abs(v))[..., None] * (t > 0)[..., None]
    shade = green * (0.7 + 0.6 * (np.abs(v) < 0.02)[..., None] + rng.normal(0, 0.1))
    image, alpha = image + (shade - image) * cover, np.maximum(alpha, cover[..., 0])
  return np.clip(image, 0, 1), alpha


def _phone(rng: Rng, f: Frame) -> Thing:
  """Draws a rounded slab with a lens or a screen."""
  (cx, cy), angle = face_frame.place(rng), rng.normal(0, 0.5)
  u, v = textures.turned(f.x - cx, f.y - cy, angle)
  box = 1 - ((np.abs(u) / 0.42) ** 8 + (np.abs(v) / 0.85) ** 8) ** 0.125
  body = textures.color(rng)
  image = np.broadcast_to(body, (*u.shape, 3)).astype(np.float32)
  screen = (box > 0.08)[..., None] * (rng.random() < 0.5)
  image = np.where(screen, textures.unseen(rng, f.px, f.py), image)
  eye = (np.hypot(u - 0.22, v + 0.6) < 0.1)[..., None]
  return np.where(eye, 0.05, image), f.soft(0.42 * box)


def _braid(rng: Rng, f: Frame) -> Thing:
  """Draws plaited hair: a chain of slanted drops."""
  at, slant = rng.uniform(-1, 1), rng.normal(0, 0.3)
  base = textures.hair_color(rng)
  image = np.zeros((*f.x.shape, 3), np.float32)
  alpha = np.zeros_like(f.x)
  for k in range(18):
    y = -1.6 + 0.22 * k
    side = 0.09 if k % 2 else -0.09
    u, v = textures.turned(f.x - at - slant * y - side, f.y - y, 0.8 if k % 2 else -0.8)
    radius = np.hypot(u / 0.13, v / 0.24)
    streak = 0.75 + 0.35 * np.sin(u * 90)
    tone = base * (np.clip(1.2 - 0.6 * radius, 0.3, 2) * streak)[..., None]
    cover = f.soft((1 - radius) * 0.13)[..., None]
    image, alpha = image + (tone - image) * cover, np.maximum(alpha, cover[..., 0])
  return np.clip(image, 0, 1), alpha


def _cup(rng: Rng, f: Frame) -> Thing:
  """Draws a tapered vessel before mouth and chin, with a handle."""
  cx, top = rng.uniform(-0.5, 0.5), f.mouth + rng.uniform(-0.35, 0.2)
  half = 0.45 - 0.1 * (f.y - top)
  inside = np.minimum(half - np.abs(f.x - cx), f.y - top)
  ring = 0.06 - np.abs(np.hypot(f.x - cx - 0.5, f.y - top - 0.45) - 0.25)
  image = textures.unseen(rng, f.px, f.py)
  side = np.clip(1 - 0.6 * ((f.x - cx) / 0.5) ** 2, 0.4, 1)[..., None]
  return image * side, f.soft(np.maximum(inside, ring))


def _patches(rng: Rng, f: Frame) -> Thing:
  """Draws a polygon with a pattern that training never shows."""
  return textures.unseen(rng, f.px, f.py), f.soft(face_frame.polygon(rng, f))


UNSEEN: Mapping[str, Kind] = {
  "aviators": _aviators,
  "leaves": _leaves,
  "phone": _phone,
  "braid": _braid,
  "cup": _cup,
  "patches": _patches,
}
