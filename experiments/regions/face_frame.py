"""Coordinates of a face in a picture, and shapes in them."""

import numpy as np
from jaxtyping import Float

from experiments.regions import textures
from experiments.regions.textures import Image, Plane, Rng

Landmarks = Float[np.ndarray, "68 2"]
Point = Float[np.ndarray, " 2"]
# A thing that lies before a face: a picture and its opacity.
Thing = tuple[Image, Plane]


class Frame:
  """Coordinates of a face: origin between the eyes, unit = distance of their centers.

  Attributes:
    x: Coordinate to the right of the picture along the line of the eyes.
    y: Coordinate down the face.
    px: Columns of the picture, px.
    py: Rows of the picture, px.
    unit: Length of the unit, px.
    edge: Length of a pixel, units.
    reach: Distance of an eye from the origin, units.
    mouth: y of the mouth.
    chin: y of the chin.
  """

  def __init__(self, landmarks: Landmarks, size: int):
    left, right = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    # Seen from the side, the eyes' distance says little about the size of the face.
    tall = np.linalg.norm(landmarks[8] - 0.5 * (left + right))
    self.unit = float(max(np.linalg.norm(right - left), 0.5 * tall, 1.0))
    self.reach = float(np.linalg.norm(right - left)) / self.unit / 2
    angle = np.arctan2(*(right - left)[::-1])
    px, py = textures.grid(size)
    middle = 0.5 * (left + right)
    x, y = textures.turned(px - middle[0], py - middle[1], angle)
    self.x, self.y = x / self.unit, y / self.unit
    self.px, self.py = px, py
    self.edge = 1 / self.unit
    self.mouth = float((landmarks[62] - middle)[1]) / self.unit
    self.chin = float((landmarks[8] - middle)[1]) / self.unit

  def soft(self, inside: Plane, width: float = 1.0) -> Plane:
    """Returns opacity 1 where a distance is positive, with an edge `width` px wide."""
    return np.clip(0.5 + inside / (width * self.edge), 0, 1)


def superellipse(
  f: Frame, cx: float, cy: float, wide: float | Plane, high: float, power: float
) -> Plane:
  """Returns the approximate distance inside an ellipse with a power other than 2."""
  a, b = np.abs(f.x - cx) / wide, np.abs(f.y - cy) / high
  return (1 - (a**power + b**power + 1e-9) ** (1 / power)) * np.minimum(wide, high)


def wave(rng: Rng, t: Plane, size: float) -> Plane:
  """Returns a smooth random function of one coordinate."""
  total = np.zeros_like(t)
  for octave in (1.0, 2.3, 5.1):
    total += np.sin(t * octave * rng.uniform(0.7, 1.6) * 2 + rng.uniform(0, 6)) / octave
  return size * total


def place(rng: Rng) -> tuple[float, float]:
  """Draws a point on or near the face."""
  return rng.uniform(-1.1, 1.1), rng.uniform(-1.0, 1.8)


def polygon(rng: Rng, f: Frame) -> Plane:
  """Returns the distance inside a random convex polygon."""
  cx, cy = place(rng)
  size = rng.uniform(0.2, 0.8)
  inside = np.full_like(f.x, 9)
  turn = rng.uniform(0, 6.3)
  count = rng.integers(3, 8)
  for k in range(count):
    angle = turn + 6.283 * (k + rng.uniform(-0.3, 0.3)) / count
    distance = size * rng.uniform(0.6, 1)
    away = (f.x - cx) * np.cos(angle) + (f.y - cy) * np.sin(angle)
    inside = np.minimum(inside, distance - away)
  return inside
