"""A sheet of heads that `affjax reconstruct` or `affjax fit` wrote, one row a face.

    python -m experiments.figures.reconstructions out/demo/heads docs/images/demo.jpg

Columns: the crop, the overlay, the lit head, the unlit head from three sides, the
diffuse map, the light map, the position map.
"""

import argparse
import json
import pathlib

import jax
import numpy as np
from PIL import Image

from affjax.export import position_picture, to_uint8
from affjax.geometry import camera as cameras
from affjax.geometry import rotation, uv
from affjax.heads import open_head
from affjax.render import render_head
from affjax.types import Camera, Template

CELL = 192
TURNS_DEG = (-35.0, 0.0, 35.0)


def main() -> None:
  """Writes the sheet."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("heads", type=pathlib.Path, help="folder of heads")
  parser.add_argument("sheet", type=pathlib.Path, help="PNG or JPEG file to write")
  parser.add_argument("--rows", type=int, default=8, help="largest number of faces")
  parser.add_argument("--template", default="embedded", help="head of the faces")
  arguments = parser.parse_args()
  template = open_head(arguments.template).template
  faces = sorted(path.parent for path in arguments.heads.glob("*/face*/pose.json"))
  if not faces:
    raise SystemExit(f"no reconstructions in {arguments.heads}")
  rows = [np.concatenate(row(face, template), 1) for face in faces[: arguments.rows]]
  sheet = Image.fromarray(np.concatenate(rows, 0))
  sheet.save(arguments.sheet, quality=88, optimize=True)
  print(f"{arguments.sheet}: {len(rows)} faces")


def row(face: pathlib.Path, template: Template) -> list[np.ndarray]:
  """Returns the cells of a face, uint8 `[CELL, CELL, 3]` each."""
  position = np.load(face / "position.npy", allow_pickle=False)
  facts = json.loads((face / "pose.json").read_text())
  cells = [_picture(face / "crop.png"), _overlay_crop(face, facts)]
  cells.append(_picture(face / "render.png"))
  diffuse = np.asarray(Image.open(face / "diffuse.png")) / 255
  cells += turned(position, diffuse, template)
  cells += [_picture(face / "diffuse.png"), _picture(face / "light.png")]
  support = uv.uv_table(template, len(position)).support
  cells.append(_cell(position_picture(position, support)))
  return cells


def turned(
  position: np.ndarray, diffuse: np.ndarray, template: Template
) -> list[np.ndarray]:
  """Returns views of the unlit head, turned about the vertical axis."""
  table = uv.uv_table(template, len(position))
  vertices = np.asarray(uv.vertices_from_map(position, table))
  angle = np.asarray(TURNS_DEG, np.float32)
  zero = np.zeros_like(angle)
  pose = rotation.euler_deg_to_axis_angle(angle, zero, zero)
  pose = np.concatenate([np.asarray(pose), np.tile([0, -0.1, -3.0], (3, 1))], 1)
  world = cameras.head_to_world(np.repeat(vertices[None], 3, 0), pose)
  texture = np.repeat(diffuse[None].astype(np.float32), 3, 0)
  render, alpha = jax.jit(
    lambda v, t: render_head(v, t, template, Camera(), (2 * CELL, 2 * CELL))
  )(world, texture)
  return [_cell(np.asarray(r + 1 - a)) for r, a in zip(render, alpha, strict=True)]


def _overlay_crop(face: pathlib.Path, facts: dict) -> np.ndarray:
  """Returns the part of the overlay inside of the crop."""
  matrix = np.array(facts["crop"]["photo_px_to_crop_px"])
  size = facts["crop"]["size"]
  scale = size / CELL
  inverse = np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))
  inverse = inverse @ np.diag([scale, scale, 1])
  overlay = Image.open(face / "overlay.png").convert("RGB")
  cell = overlay.transform(
    (CELL, CELL),
    Image.Transform.AFFINE,
    tuple(inverse[:2].reshape(-1)),
    Image.Resampling.BICUBIC,
  )
  return np.asarray(cell)


def _picture(path: pathlib.Path) -> np.ndarray:
  picture = Image.open(path).convert("RGBA")
  white = Image.new("RGBA", picture.size, "white")
  return _cell(np.asarray(Image.alpha_composite(white, picture).convert("RGB")))


def _cell(image: np.ndarray) -> np.ndarray:
  """Returns an image in the size of a cell."""
  picture = Image.fromarray(to_uint8(image))
  return np.asarray(picture.resize((CELL, CELL), Image.Resampling.BICUBIC))


if __name__ == "__main__":
  main()
