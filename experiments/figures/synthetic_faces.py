"""Draws docs/images/synthetic_faces.png and docs/images/synthetic_maps.png.

    python -m experiments.figures.synthetic_faces --out docs/images

Takes about two minutes on two cores. The first picture shows the first 48 samples of
the source, unselected; the second shows the exact maps of four samples.
"""

import argparse
import pathlib

import numpy as np
from PIL import Image

from affjax.data import SyntheticFaces
from affjax.heads import open_head


def faces_sheet(*, size: int = 144, rows: int = 6, columns: int = 8) -> np.ndarray:
  """Returns samples 0, 1, 2, … of the training split, row by row."""
  source = SyntheticFaces(open_head("embedded"), rows * columns, size)
  images = np.stack([source[i]["image"] for i in range(rows * columns)])
  return _tiled(images.reshape(rows, columns, size, size, 3))


def maps_sheet(*, size: int = 192, count: int = 4) -> np.ndarray:
  """Returns photo, render, diffuse, light, position, depth, normal and visibility."""
  source = SyntheticFaces(open_head("embedded"), 100, size)
  # Samples without a hand, which would hide the face.
  chosen = [i for i in range(40) if not source.parameters(i).occluders.hand[0]][2:]
  rows = [_row(source.exact(i), size) for i in chosen[:count]]
  return _tiled(np.stack(rows))


def _row(sample: dict[str, np.ndarray], size: int) -> np.ndarray:
  light = Image.fromarray(sample["light"][..., 0]).resize((size, size), 2)
  light = np.asarray(light)[..., None] * sample["light_color"]
  support = np.any(sample["position"] != 0, -1, keepdims=True)
  position = (sample["position"] / 2.6 + 0.5) * support
  depth = np.where(sample["mask"], (11.2 - sample["depth"]) / 2.4, 0)
  normal = (sample["normal"] * 0.5 + 0.5) * sample["mask"]
  gray = lambda value: np.repeat(value, 3, -1)
  pictures = (
    sample["image"],
    sample["head"],
    sample["diffuse"],
    light * 0.75,
    position,
    gray(depth),
    normal,
    gray(sample["visible"]),
  )
  return np.rint(np.clip(np.stack(pictures), 0, 1) * 255).astype(np.uint8)


def _tiled(images: np.ndarray) -> np.ndarray:
  """Joins images `[rows, columns, H, W, 3]` to one picture."""
  return np.concatenate([np.concatenate(list(row), 1) for row in images])


def _save(picture: np.ndarray, path: pathlib.Path) -> None:
  """Saves 256 dithered colors, since camera noise does not compress otherwise."""
  image = Image.fromarray(picture)
  palette = image.quantize(256, kmeans=2)
  image = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
  image.save(path, optimize=True)
  print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
  """Draws both pictures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/images"))
  folder = parser.parse_args().out
  folder.mkdir(parents=True, exist_ok=True)
  _save(faces_sheet(), folder / "synthetic_faces.png")
  _save(maps_sheet(), folder / "synthetic_maps.png")


if __name__ == "__main__":
  main()
