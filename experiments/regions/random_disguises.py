"""Random shapes under random surfaces, laid before a portrait.

Networks train with them beside the kinds of `experiments.regions.disguises`, so that
they learn what a face is rather than what covers it.
"""

from collections.abc import Callable, Mapping

import numpy as np

from experiments.regions import face_frame, textures
from experiments.regions.face_frame import Frame, Point, Thing
from experiments.regions.textures import Image, Plane, Rng


def _lump(rng: Rng, f: Frame) -> Plane:
  """Returns the distance inside a closed curve of a few random waves."""
  cx, cy = face_frame.place(rng)
  size = np.exp(rng.uniform(np.log(0.12), np.log(0.9)))
  u, v = textures.turned(f.x - cx, f.y - cy, rng.uniform(0, 6.3))
  v = v * np.exp(rng.normal(0, 0.4))
  angle, radius = np.arctan2(v, u), np.full_like(u, size)
  for k in range(2, 7):
    radius += size * rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 6.3))
  return radius - np.hypot(u, v)


def _cloud(rng: Rng, f: Frame) -> Plane:
  """Returns the distance inside a ragged patch with holes."""
  cx, cy = face_frame.place(rng)
  wide, high = rng.uniform(0.3, 1.2, 2)
  away = np.hypot((f.x - cx) / wide, (f.y - cy) / high)
  fine = np.exp(rng.uniform(np.log(4), np.log(25)))
  return 0.15 * (textures.noise(rng, f.x * fine, f.y * fine) + 2.0 * (1 - away))


def _limbs(rng: Rng, f: Frame) -> Plane:
  """Returns the distance inside bent, tapering limbs that grow from one place."""
  root = np.array(face_frame.place(rng))
  inside = np.full_like(f.x, -9)
  thick = np.exp(rng.uniform(np.log(0.03), np.log(0.25)))
  first, fan = rng.uniform(0, 6.3), rng.choice([0.25, 0.6, 2.0])
  for _ in range(rng.integers(1, 6)):
    at, angle, radius = root, first + rng.normal(0, fan), thick
    for _ in range(rng.integers(1, 5)):
      angle += rng.normal(0, 0.5)
      to = at + rng.uniform(0.2, 0.6) * np.array([np.cos(angle), np.sin(angle)])
      thin = radius * rng.uniform(0.6, 1.05)
      inside = np.maximum(inside, _bone(f, at, to, radius, thin))
      at, radius = to, thin
  return inside


def _bone(f: Frame, a: Point, b: Point, first: float, last: float) -> Plane:
  """Returns the distance inside a capsule that tapers from `a` to `b`."""
  d = b - a
  t = np.clip(((f.x - a[0]) * d[0] + (f.y - a[1]) * d[1]) / (d @ d + 1e-6), 0, 1)
  gap = np.hypot(f.x - a[0] - t * d[0], f.y - a[1] - t * d[1])
  return first + (last - first) * t - gap


def _hoop(rng: Rng, f: Frame) -> Plane:
  """Returns the distance inside the wall of a bent ring."""
  return rng.uniform(0.02, 0.15) - np.abs(_lump(rng, f))


def _half(rng: Rng, f: Frame) -> Plane:
  """Returns the distance beyond a wavy line across the picture."""
  u, v = textures.turned(f.x, f.y - 0.3, rng.uniform(0, 6.3))
  return u - rng.uniform(0.2, 1.2) + face_frame.wave(rng, v, rng.uniform(0, 0.15))


SHAPES = (_lump, _lump, _cloud, _limbs, _limbs, _hoop, _half)


def _stained(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints three colors in drifts, coarse or fine, sharp or soft, as in photos."""
  draw = textures.skin_color if rng.random() < 0.25 else textures.color
  image = np.broadcast_to(draw(rng), (*x.shape, 3)).astype(np.float32)
  u, v = textures.turned(x, y, rng.uniform(0, 6.3))
  for _ in range(2):
    fine = np.exp(rng.uniform(-1.5, 1.0)) * 128 / len(x)
    drift = textures.noise(rng, u * fine, v * fine * np.exp(rng.normal(0, 0.4)))
    share = 0.5 + 0.5 * np.tanh(np.exp(rng.uniform(-1, 1.5)) * (drift - rng.normal()))
    image = image + (draw(rng) - image) * share[..., None] * rng.uniform(0.2, 1)
  return image


def _blended(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints one color that fades into another."""
  u, _ = textures.turned(x / len(x) - 0.5, y / len(x) - 0.5, rng.uniform(0, 6.3))
  share = 0.5 + 0.5 * np.tanh(np.exp(rng.uniform(0, 2.5)) * (u - rng.normal(0, 0.2)))
  first, last = textures.color(rng), textures.color(rng)
  return first + (last - first) * share[..., None].astype(np.float32)


def _flesh(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints a skin of uneven redness and small grain."""
  fine = 128 / len(x)
  red = textures.noise(rng, x * 0.3 * fine, y * 0.3 * fine)
  grain = textures.noise(rng, x * fine, y * fine)
  tint = np.exp(
    np.array([0.3, 1.0, 1.0]) * (rng.uniform(0, 0.12) * red)[..., None]
    + rng.uniform(0, 0.08) * grain[..., None]
  )
  return textures.skin_color(rng) * tint


SURFACES = (_stained, _stained, _blended, _flesh, textures.plain, textures.strands)


def _lit(rng: Rng, image: Image, inside: Plane, edge: float) -> Image:
  """Shades a picture as if it bulged towards the camera, sometimes with highlights."""
  if rng.random() < 0.6:
    deep = np.exp(rng.uniform(np.log(0.03), np.log(0.4)))
    height = np.sqrt(np.clip(1 - (1 - np.clip(inside / deep, 0, 1)) ** 2, 0, 1))
    slope_y, slope_x = np.gradient(height * deep / edge)
    lamp = rng.normal(0, 0.25, 2)
    dark = rng.uniform(0.4, 0.95)
    shade = dark + (1.05 - dark) * height
    image = (
      image
      * (shade + np.clip(slope_x * lamp[0] + slope_y * lamp[1], -0.5, 0.5))[..., None]
    )
  if rng.random() < 0.25:
    size = len(image)
    x, y = textures.grid(size)
    for _ in range(rng.integers(1, 4)):
      at = rng.uniform(0, size, 2)
      u, v = textures.turned(x - at[0], y - at[1], rng.uniform(0, 6.3))
      wide, high = size * np.exp(rng.uniform(np.log(0.02), np.log(0.2), 2))
      spot = rng.uniform(0.2, 0.9) * np.exp(-((u / wide) ** 2) - (v / high) ** 2)
      image = image + (1 - image) * spot[..., None]
  return np.clip(image, 0, 1)


def _surfaced(rng: Rng, f: Frame, inside: Plane) -> Thing:
  surface = SURFACES[rng.integers(len(SURFACES))]
  image = _lit(rng, surface(rng, f.px, f.py), inside, f.edge)
  return image, f.soft(inside, rng.choice([1.0, 1.0, 2.0, 4.0]))


def _thing(rng: Rng, f: Frame) -> Thing:
  return _surfaced(rng, f, SHAPES[rng.integers(len(SHAPES))](rng, f))


def _visor(rng: Rng, f: Frame) -> Thing:
  """Draws a thing over one eye or both, with mirrored outlines of random waves."""
  reach, cy = max(f.reach, 0.12), rng.uniform(-0.1, 0.12)
  wide, high = rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.45)
  waves = [(k, rng.normal(0, 0.12 / k), rng.uniform(0, 6.3)) for k in range(2, 6)]
  inside = np.full_like(f.x, -9)
  for side in (-1.0, 1.0)[: 1 if rng.random() < 0.15 else 2]:
    u, v = (f.x * side - reach) / wide, (f.y - cy) / high
    angle = np.arctan2(v, u)
    radius = 1 + sum(a * np.cos(k * angle + turn) for k, a, turn in waves)
    inside = np.maximum(inside, (radius - np.hypot(u, v)) * min(wide, high))
  if rng.random() < 0.3:  # joined into one pane
    bridge = np.minimum(reach - np.abs(f.x), 0.5 * high - np.abs(f.y - cy))
    inside = np.maximum(inside, bridge)
  pane, alpha = _surfaced(rng, f, inside)
  if rng.random() < 0.6:
    rim = f.soft(rng.uniform(0.01, 0.06) - np.abs(inside))
    tone = textures.color(rng) * (0.3 if rng.random() < 0.5 else 1)
    pane = pane + (tone - pane) * rim[..., None]
    alpha = np.maximum(alpha * rng.uniform(0.6, 1), rim)
  return pane, alpha


RANDOM: Mapping[str, Callable[[Rng, Frame], Thing]] = {
  "thing": _thing,
  "visor": _visor,
}
