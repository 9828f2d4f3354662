"""Draws where layers read a photo, for the paper's network and the guided one.

    python -m experiments.figures.sampling [--runs runs/guided_steps]

The embedded portrait, six points of the head, and the taps of layers 1 to 4 at the
texel of each point: small dots for layer 1, larger ones for later layers; a white cross
is where the photo truly shows the point. The weights are those of
`experiments.training.guided_steps`, if that has run, otherwise fresh ones. Writes
`docs/images/sampling.png` and prints the distance of the middle taps from the crosses,
which holds the rounding to a texel: one of layer 4 is 8 px of 64 wide. Half a minute.
"""

import argparse
import io
import pathlib
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw

from affjax import build
from affjax.assets import store
from affjax.export import to_uint8
from affjax.faces import apply_crop, face_crops, find_faces, fit_surface, warp
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Camera, Guide

TARGET = pathlib.Path(__file__).parents[2] / "docs" / "images" / "sampling.png"
NAMES = ("paper", "guided")
# Landmarks: outer eye corners, nose tip, mouth corners, chin.
POINTS = (36, 45, 30, 48, 54, 8)
COLORS = ("#ff5533", "#33aaff", "#ffd11a", "#55dd55", "#cc66ff", "#ff88bb")
CELL, HEADER = 480, 26


def networks(name: str, runs: pathlib.Path) -> tuple[Any, Any]:
  """Returns the networks of an architecture and their weights."""
  if (runs / name / "stage1").is_dir():
    run = build.load_run(runs / name / "stage1")
    return run.reconstructor, run.params
  config = build.default_config()
  config.model.architecture, config.model.size = name, 64
  fresh = build.reconstructor(config)
  return fresh, fresh.init(0)


def portrait(size: int) -> tuple[np.ndarray, np.ndarray, Guide, np.ndarray]:
  """Returns large crop, crop of `size`, guide and landmarks (px of the small crop)."""
  model = open_head("embedded")
  pixels = np.asarray(Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))))
  faces = find_faces(pixels)[:1]
  large, small = (
    face_crops(faces, model.template, Camera(), side) for side in (CELL, size)
  )
  image = apply_crop(pixels, large[0])
  fit = fit_surface(model, faces, large, to_uint8(image)[None], Camera())[0]
  guide = Guide(
    fit.vertices[None].astype(np.float32),
    np.asarray(fit.pose, np.float32)[None],
    np.ones(1, np.float32),
  )
  px = warp.transform(small[0].matrix, faces[0].landmarks68)
  return image, apply_crop(pixels, small[0]), guide, px[list(POINTS)]


def texels(size: int) -> np.ndarray:
  """Returns (column, row) of each point's texel in a map of a size."""
  template = open_head("embedded").template
  index = list(POINTS)
  corners = template.faces_uv[template.landmark_faces[index]]
  places = np.einsum(
    "pkc,pk->pc", template.uvs[corners], template.landmark_weights[index]
  )
  return np.clip(np.rint(uv.uv_to_texel(places, size)), 0, size - 1).astype(int)


def cell(
  image: np.ndarray, name: str, levels: list[np.ndarray], true: np.ndarray, size: int
) -> np.ndarray:
  """Draws the photo with the taps of all layers."""
  page = Image.new("RGB", (CELL, CELL + HEADER), "white")
  page.paste(Image.fromarray(to_uint8(image)), (0, HEADER))
  draw = ImageDraw.Draw(page)
  draw.text((6, 6), name, fill="black", font_size=14)
  scale = CELL / size
  on_page = lambda xy: (xy + 0.5) * scale + [0, HEADER]
  for number, places in reversed(list(enumerate(levels))):
    radius = 1.5 + number
    for point, taps in enumerate(on_page(places)):
      for x, y in taps:
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=COLORS[point], outline="black")
  for x, y in on_page(true):
    for width, color in ((4, "black"), (2, "white")):
      draw.line((x - 6, y - 6, x + 6, y + 6), fill=color, width=width)
      draw.line((x - 6, y + 6, x + 6, y - 6), fill=color, width=width)
  return np.asarray(page)


def main() -> None:
  """Draws, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--runs", type=pathlib.Path, default="runs/guided_steps")
  options = parser.parse_args()
  cells = []
  for name in NAMES:
    nets, params = networks(name, options.runs)
    size = nets.networks.size
    image, small, guide, true = portrait(size)
    given = guide if name == "guided" else None
    run = jax.jit(lambda p, x, g, nets=nets: nets.places(p, x, guide=g))
    found = [np.asarray(v)[0] for v in run(params, small[None], given)]
    levels = [
      level[texels(len(level))[:, 1], texels(len(level))[:, 0]] for level in found
    ]
    for number, places in enumerate(levels, start=1):
      away = np.linalg.norm(places[:, places.shape[1] // 2] - true, axis=-1)
      print(f"{name}, layer {number}: {away.mean():.1f} px of {size} from the truth")
    cells.append(cell(image, name, levels, true, size))
  Image.fromarray(np.concatenate(cells, 1)).save(TARGET, optimize=True)
  print(TARGET)


if __name__ == "__main__":
  main()
