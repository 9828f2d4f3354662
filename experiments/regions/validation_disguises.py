"""Things before a face by which weights and settings are chosen.

Neither training nor the final test shows them. They are kinds as in
`experiments.regions.disguises`, with shapes and patterns of their own.
"""

from collections.abc import Mapping

import numpy as np

from experiments.regions import face_frame, textures
from experiments.regions.disguises import Kind
from experiments.regions.face_frame import Frame, Thing
from experiments.regions.textures import Image, Plane, Rng


def _printed(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints patterns kept for validation: rings, honeycombs and lines of letters."""
  u, v = textures.turned(x, y, rng.uniform(0, 6.3))
  period = len(x) * rng.uniform(0.05, 0.15)
  u, v = u / period, v / period
  kind = rng.integers(3)
  if kind == 0:
    share = np.sin(6.28 * np.hypot(u - rng.normal(0, 3), v - rng.normal(0, 3))) > 0
  elif kind == 1:
    turns = (0.0, 2.094, 4.189)
    waves = [np.cos(6.28 * (np.cos(a) * u + np.sin(a) * v)) for a in turns]
    share = sum(waves, np.zeros_like(u)) > 0.3
  else:
    letter = np.sin(9 * u + 7 * np.floor(v)) + np.sin(23 * u + 3 * np.floor(v)) > 0
    share = letter & (v % 1 < 0.55)
  first, second = textures.color(rng), textures.color(rng)
  return first + (second - first) * share[..., None].astype(np.float32)


def _goggles(rng: Rng, f: Frame) -> Thing:
  """Draws one wide mirrored pane before both eyes, in a frame with a strap."""
  wide, high = max(f.reach, 0.2) + rng.uniform(0.35, 0.55), rng.uniform(0.35, 0.55)
  pane = face_frame.superellipse(f, 0, 0.03, wide, high, rng.uniform(3, 5))
  nose = np.hypot(f.x / 0.28, (f.y - 0.03 - high) / 0.4) - 1
  pane = np.minimum(pane, 0.3 * nose)
  strap = np.where(np.abs(f.x) > wide, 0.16 - np.abs(f.y - 0.03), -9)
  first, second, rim = (textures.color(rng) for _ in range(3))
  t = np.clip(
    0.5 + 0.5 * np.sin(rng.uniform(1, 3) * f.y + rng.normal(0, 1) * f.x), 0, 1
  )
  glass = first + (second - first) * t[..., None]
  shown = np.where((pane > rng.uniform(0.05, 0.12))[..., None], glass, rim)
  return shown, f.soft(np.maximum(pane, strap))


def _feather(rng: Rng, f: Frame) -> Thing:
  """Draws a bent plume with barbs."""
  (cx, cy), angle = face_frame.place(rng), rng.uniform(0, 6.3)
  u, v = textures.turned(f.x - cx, f.y - cy, angle)
  v = v + rng.normal(0, 0.3) * u**2
  t = np.clip(0.5 + u / rng.uniform(1.2, 2.4), 0, 1)
  half = rng.uniform(0.25, 0.5) * np.sqrt(t * (1 - t)) * (1.4 - t)
  barbs = np.abs((u * 9 + np.abs(v) * 12) % 1 - 0.5)
  inside = half * np.where(barbs < 0.08, 0.7, 1) - np.abs(v)
  base, tip = textures.color(rng), textures.color(rng)
  image = base + (tip - base) * (t**2)[..., None]
  image = image * (0.75 + 0.5 * barbs)[..., None]
  return np.clip(image, 0, 1), f.soft(np.where((t > 0) & (t < 1), inside, -9))


def _book(rng: Rng, f: Frame) -> Thing:
  """Draws an open book seen askew: two printed pages."""
  cx, cy = face_frame.place(rng)
  cy = cy + 0.4
  u, v = textures.turned(f.x - cx, f.y - cy, rng.normal(0, 0.3))
  v = v + rng.uniform(-0.3, 0.3) * np.abs(u)
  inside = np.minimum(
    rng.uniform(0.4, 0.9) - np.abs(u), rng.uniform(0.35, 0.6) - abs(v)
  )
  image = _printed(rng, f.px, f.py) * np.clip(0.6 + np.abs(u), 0, 1)[..., None]
  return np.clip(image, 0, 1), f.soft(inside)


def _ribbon(rng: Rng, f: Frame) -> Thing:
  """Draws a satin band in windings."""
  (cx, cy), angle = face_frame.place(rng), rng.uniform(0, 3.2)
  u, v = textures.turned(f.x - cx, f.y - cy, angle)
  often, deep = rng.uniform(2, 6), rng.uniform(0.1, 0.5)
  path = deep * np.sin(often * u)
  lean = np.hypot(1, deep * often * np.cos(often * u))
  inside = rng.uniform(0.06, 0.16) - np.abs(v - path) / lean
  sheen = 0.6 + 0.5 * np.abs(np.sin(0.5 * often * u + 0.7))
  return np.clip(textures.color(rng) * sheen[..., None], 0, 1), f.soft(inside)


def _balloon(rng: Rng, f: Frame) -> Thing:
  """Draws a shaded ball with a highlight, and its string."""
  (cx, cy), size = face_frame.place(rng), rng.uniform(0.25, 0.7)
  radius = np.hypot(f.x - cx, f.y - cy) / size
  height = np.sqrt(np.clip(1 - radius**2, 0, 1))
  shade = np.clip(0.35 + 0.65 * (0.8 * height - 0.4 * (f.y - cy) / size), 0.1, 1.2)
  light = np.hypot(f.x - cx + 0.35 * size, f.y - cy + 0.4 * size) / size
  shine = np.clip(1.2 - light / 0.22, 0, 1)[..., None] * rng.uniform(0.3, 1)
  image = textures.color(rng) * shade[..., None]
  image = image + (1 - image) * shine
  string = np.where(f.y > cy, 0.02 - np.abs(f.x - cx - 0.05 * np.sin(6 * f.y)), -9)
  return np.clip(image, 0, 1), f.soft(np.maximum((1 - radius) * size, string))


VALIDATION: Mapping[str, Kind] = {
  "goggles": _goggles,
  "feather": _feather,
  "book": _book,
  "ribbon": _ribbon,
  "balloon": _balloon,
}
