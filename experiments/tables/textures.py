"""Measures diffuse maps that are read off photos whose own maps are known.

    python -m experiments.tables.textures [--photos 30] [--size 256] [--seed 7]

Held-out synthetic photos with their true geometry and the visible skin that
`visible_skin` finds. A photo does not tell its exposure and the color of its light, so
each map is first scaled, channel by channel, by one factor: the median on skin that is
seen. Prints the mean PSNR (dB) over skin without the scalp that the photo shows
("seen"), that it does not ("hidden"), and the part of that on the face ("hidden face").
The row "plain" is the plain face, which looks at nothing. Writes
`experiments/results/textures.json`; `--label` names the row, and other rows stay. The
row "pyramid" is the commit e1d851a, whose package is taken in place of this one:

    PYTHONPATH=CHECKOUT python experiments/tables/textures.py --label pyramid
"""

import argparse
import json
import pathlib

import numpy as np

from affjax.data import SyntheticFaces
from affjax.faces import read_colors, visible_skin
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head, plain_diffuse
from affjax.types import Camera, Template
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "textures.json"


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description="Diffuse maps against known ones.")
  parser.add_argument("--photos", type=int, default=30)
  parser.add_argument("--size", type=int, default=256)
  parser.add_argument("--seed", type=int, default=7)
  parser.add_argument("--label", default="read_colors")
  parser.add_argument("--out", type=pathlib.Path, default=RESULT)
  options = parser.parse_args()
  template, camera = open_head("embedded").template, Camera()
  photos = SyntheticFaces(
    open_head("embedded"), options.photos, options.size, seed=options.seed, split="test"
  )
  plain = plain_diffuse(template, options.size)
  rows: dict[str, list[dict[str, float]]] = {"plain": [], options.label: []}
  for index in range(options.photos):
    truth = photos.exact(index)
    pixels = np.rint(np.clip(truth["image"], 0, 1) * 255).astype(np.uint8)
    skin = visible_skin(pixels[None])[0]
    maps = read_colors(
      *(pixels.astype(np.float32) / 255, skin, truth["vertices"], truth["pose"]),
      *(template, camera, plain),
    )
    parts = regions(truth, template, camera)
    rows["plain"].append(errors(plain, truth["diffuse"], parts))
    rows[options.label].append(errors(maps.diffuse, truth["diffuse"], parts))
  old = json.loads(options.out.read_text())["rows"] if options.out.exists() else {}
  means = {name: mean(row) for name, row in rows.items()}
  for name, row in {**old, **means}.items():
    print(f"{name:24} {row}")
  result = {
    "command": "python -m experiments.tables.textures",
    "photos": options.photos,
    "size": options.size,
    "seed": options.seed,
    "machine": measuring.machine("cpu", 2),
    "rows": {**old, **means},
  }
  measuring.write_json(options.out, result)


def regions(
  truth: dict[str, np.ndarray], template: Template, camera: Camera
) -> dict[str, np.ndarray]:
  """Returns weights of texels by region, from the photo's exact mask."""
  size, width = len(truth["diffuse"]), len(truth["image"])
  table = uv.uv_table(template, size)
  world = np.asarray(head_to_world(truth["vertices"][None], truth["pose"][None]))
  place = np.asarray(uv.map_from_vertices(world, table))[0]
  px = np.asarray(world_to_px(place, camera, width, width))
  column, row = np.clip(np.rint(px), 0, width - 1).astype(int).transpose(2, 0, 1)
  behind = camera.distance - place[..., 2] - truth["depth"][row, column, 0]
  shown = truth["visible"][row, column, 0] * (np.abs(behind) < 0.05)
  mask = {
    name: uv.resize_mask(template.masks[name], size)
    for name in ("skin", "scalp", "face")
  }
  skin = mask["skin"] * (1 - mask["scalp"]) * table.inside
  hidden = skin * (shown < 0.1)
  return {
    "seen": skin * (shown > 0.9),
    "hidden": hidden,
    "hidden face": hidden * mask["face"],
  }


def errors(
  diffuse: np.ndarray, truth: np.ndarray, parts: dict[str, np.ndarray]
) -> dict[str, float]:
  """Returns the PSNR of each region, dB."""
  chosen = parts["seen"] > 0.5
  gain = np.median((truth / np.maximum(diffuse, 0.02))[chosen], 0)
  square = np.square(np.clip(diffuse * gain, 0, 1) - truth).mean(-1)
  return {
    name: float(-10 * np.log10(np.average(square, weights=weight)))
    for name, weight in parts.items()
  }


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
  """Returns means over photos."""
  return {
    name: round(float(np.mean([row[name] for row in rows])), 2) for name in rows[0]
  }


if __name__ == "__main__":
  main()
