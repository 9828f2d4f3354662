"""Patterns for things laid over synthetic portraits, in NumPy, fast and coarse."""

import functools

import numpy as np
from jaxtyping import Float

Rng = np.random.Generator
Image = Float[np.ndarray, "s s 3"]
Plane = Float[np.ndarray, "s s"]


def grid(size: int) -> tuple[Plane, Plane]:
  """Returns x to the right and y down, px, 0 at the center of the first pixel."""
  y, x = np.mgrid[:size, :size].astype(np.float32)
  return x, y


@functools.cache
def _noise_bank() -> Float[np.ndarray, "24 256 256"]:
  """Returns fractal noise that wraps around, with zero mean and unit deviation."""
  rng = np.random.default_rng(11)
  f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None]) * 256
  out = []
  for k in range(24):
    slope = 0.8 + 1.0 * (k % 6) / 5
    white = np.fft.rfft2(rng.normal(size=(256, 256)))
    plane = np.fft.irfft2(white / np.maximum(f, 1.5) ** slope)
    out.append((plane - plane.mean()) / plane.std())
  return np.stack(out).astype(np.float32)


def noise(rng: Rng, u: Plane, v: Plane) -> Plane:
  """Returns fractal noise of unit deviation at places in px, read at nearest texels."""
  bank = _noise_bank()
  a, b = rng.integers(0, 256, 2)
  plane = bank[rng.integers(len(bank))]
  return plane[(v + a).astype(np.int64) & 255, (u + b).astype(np.int64) & 255]


def turned(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
  """Returns coordinates along and across a direction."""
  c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
  return c * x + s * y, c * y - s * x


def color(rng: Rng) -> Float[np.ndarray, "3"]:
  """Draws an sRGB color: gray, black, white, muted or loud."""
  kind = rng.random()
  if kind < 0.3:
    return np.repeat(rng.random() ** 1.5, 3) * rng.uniform(0.92, 1, 3)
  if kind < 0.6:
    return np.clip(rng.random() + rng.normal(0, 0.15, 3), 0, 1)
  return rng.random(3)


def skin_color(rng: Rng) -> Float[np.ndarray, "3"]:
  """Draws an sRGB color of human skin, or of wood and sand, which look like it."""
  pale = np.array([0.95, 0.8, 0.72])
  dark = np.array([0.25, 0.15, 0.1])
  share = rng.random()
  mixed = pale * share + dark * (1 - share)
  return np.clip(mixed * rng.uniform(0.8, 1.15) + rng.normal(0, 0.025, 3), 0, 1)


def hair_color(rng: Rng) -> Float[np.ndarray, "3"]:
  """Draws an sRGB color of hair: black to blond, red, gray, white, rarely dyed."""
  kind = rng.random()
  if kind < 0.08:
    return rng.random(3)
  if kind < 0.2:
    return np.repeat(rng.uniform(0.3, 0.95), 3)
  dark, fair = np.array([0.06, 0.05, 0.045]), np.array([0.85, 0.68, 0.45])
  red = np.array([0.5, 0.22, 0.1])
  share = rng.random() ** 1.8
  base = dark * (1 - share) + fair * share
  if rng.random() < 0.2:
    base = 0.5 * (base + red)
  return np.clip(base * rng.uniform(0.8, 1.2) + rng.normal(0, 0.02, 3), 0, 1)


def plain(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints cloth, plastic, walls: a gradient, noise, stripes or two of them."""
  base = skin_color(rng) if rng.random() < 0.25 else color(rng)
  u, v = turned(x, y, rng.uniform(0, 6.3))
  image = np.broadcast_to(base, (*x.shape, 3)).astype(np.float32)
  if rng.random() < 0.35:
    width = np.exp(rng.uniform(np.log(0.02), np.log(0.3))) * len(x)
    sharp = rng.choice([1.0, 6.0])
    share = np.clip(0.5 + sharp * np.sin(u * (3.14 / width)), 0, 1) * rng.random()
    image = image + (color(rng) - image) * share[..., None]
  if rng.random() < 0.6:
    scale = np.exp(rng.uniform(-1, 1.2)) * 128 / len(x)
    grain = noise(rng, u * scale, v * scale * rng.choice([1.0, 1.0, 0.3]))
    image = image * np.exp(rng.uniform(0.03, 0.35) * grain)[..., None]
  return np.clip(_shaded(rng, image, u / len(x)), 0, 1)


def unseen(rng: Rng, x: Plane, y: Plane) -> Image:
  """Paints patterns kept for tests: checks, dots and tartan."""
  u, v = turned(x, y, rng.uniform(0, 6.3))
  period = len(x) * rng.uniform(0.06, 0.2)
  u, v = u / period, v / period
  kind = rng.integers(3)
  if kind == 0:
    share = ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
  elif kind == 1:
    share = (np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3).astype(np.float32)
  else:
    share = 0.5 * (u % 1 < 0.3) + 0.5 * (v % 1 < 0.3)
  first, second = color(rng), color(rng)
  image = first + (second - first) * share[..., None]
  return np.clip(_shaded(rng, image.astype(np.float32), u * period / len(x)), 0, 1)


def strands(rng: Rng, along: Plane, across: Plane) -> Image:
  """Paints hair seen from near: streaks along a direction, with a sheen."""
  base = hair_color(rng)
  fine = 128 / len(along)
  streak = noise(rng, along * 0.12 * fine, across * rng.uniform(1, 2.5) * fine)
  broad = noise(rng, along * 0.06 * fine, across * 0.5 * fine)
  value = np.exp(rng.uniform(0.15, 0.45) * streak + rng.uniform(0.1, 0.4) * broad)
  image = base * value[..., None]
  if rng.random() < 0.5:
    at = rng.uniform(-0.5, 1.2) * len(along)
    sheen = np.exp(-(((along - at) / (0.2 * len(along))) ** 2))
    image = image + 0.2 * rng.random() * (sheen * value)[..., None]
  return np.clip(image, 0, 1)


def _shaded(rng: Rng, image: Image, ramp: Plane) -> Image:
  return (
    image * np.clip(1 + rng.normal(0, 0.35) * (ramp - ramp.mean()), 0.3, 1.6)[..., None]
  )
