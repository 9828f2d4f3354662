"""Draws the picture of docs/landmarks.md: the landmarks of the embedded portrait.

python -m experiments.figures.landmarks
"""

import io
import pathlib

import numpy as np
from PIL import Image, ImageDraw

from affjax.assets import store
from affjax.faces import find_faces

TARGET = pathlib.Path(__file__).parents[2] / "docs" / "images" / "landmarks.jpg"
CELL = 400
BLUE, RED, GREEN = (40, 120, 255), (255, 60, 40), (60, 255, 60)


def cell(
  portrait: Image.Image,
  box: tuple[float, float, float, float],
  points: np.ndarray,
  radius: float,
  color: tuple[int, int, int],
) -> np.ndarray:
  """Draws a part of the portrait with dots."""
  x0, y0, x1, _ = box
  scale = CELL / (x1 - x0)
  part = portrait.resize((CELL, CELL), Image.Resampling.BICUBIC, box)
  draw = ImageDraw.Draw(part)
  for x, y in (points + 0.5 - [x0, y0]) * scale:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
  return np.asarray(part)


def main() -> None:
  """Finds the landmarks, draws them and writes the picture."""
  data = io.BytesIO(store.read_asset("astronaut.jpg"))
  portrait = Image.open(data).convert("RGB")
  (face,) = find_faces(np.asarray(portrait))
  head = (160, 55, 290, 185)
  x, y = face.iris[:, 0].mean(0)
  eyes = (x - 34, y - 34, x + 34, y + 34)
  cells = [
    cell(portrait, head, face.landmarks[:, :2], 1.5, BLUE),
    cell(portrait, head, face.landmarks68, 3, RED),
    cell(portrait, eyes, face.iris.reshape(-1, 2), 2.5, GREEN),
  ]
  Image.fromarray(np.concatenate(cells, 1)).save(TARGET, quality=88, optimize=True)


if __name__ == "__main__":
  main()
