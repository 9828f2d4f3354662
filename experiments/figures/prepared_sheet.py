"""Draws samples of a prepared data set as a training step sees them.

    python -m experiments.figures.prepared_sheet DATA --out sheet.png --count 24

Each sample is four pictures: the photo with its landmarks; the photo with red wherever
it does not show the head's own surface; the head over the photo, its vertices read from
the position map; the same for the mirrored sample. The sheet shows photos of people: do
not publish it unless you may publish them.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from affjax.data import FIELDS, PreparedSource, _mirroring, to_batch
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world
from affjax.heads import open_head
from affjax.render import head_buffers
from affjax.types import Camera

_SIDE = 224
_LIGHT = np.array([-0.35, 0.45, 0.82], np.float32)


def main() -> None:
  """Writes the sheet."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("data", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--split", default="train")
  parser.add_argument("--count", type=int, default=24)
  parser.add_argument("--columns", type=int, default=2)
  parser.add_argument("--map-size", type=int, default=256)
  arguments = parser.parse_args()
  template = open_head("embedded").template
  source = PreparedSource(
    arguments.data,
    arguments.split,
    template,
    size=_SIDE,
    map_size=arguments.map_size,
  )
  places = np.linspace(0, len(source) - 1, min(arguments.count, len(source)))
  strips = [
    _strip(source[int(place)], template) for place in np.unique(places.astype(int))
  ]
  blank = [np.full_like(strips[0], 255)] * (-len(strips) % arguments.columns)
  rows = [*strips, *blank]
  sheet = [
    np.concatenate(rows[k : k + arguments.columns], 1)
    for k in range(0, len(rows), arguments.columns)
  ]
  Image.fromarray(np.concatenate(sheet, 0)).save(arguments.out)


def _strip(record: dict[str, np.ndarray], template) -> np.ndarray:
  """Returns the pictures of a sample, uint8 `[_SIDE, 4 _SIDE + 6, 3]`."""
  photo = Image.fromarray(record["image"])
  draw = ImageDraw.Draw(photo)
  for x, y in record["landmarks"]:
    draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="#3ddc4a")
  shown = record["visible"] / np.float32(255)
  masked = record["image"] * shown + (1 - shown) * (
    0.3 * record["image"] + np.array([150, 0, 0])
  )
  pictures = [
    np.asarray(photo),
    np.clip(masked, 0, 255).astype(np.uint8),
    _overlaid(record, template),
    _overlaid(_mirroring.mirror_record(record, template), template),
  ]
  return np.pad(np.concatenate(pictures, 1), ((2, 2), (3, 3), (0, 0)))


def _overlaid(record: dict[str, np.ndarray], template) -> np.ndarray:
  """Returns the head of a record's position map over its photo, with landmarks."""
  stacked = {name: np.asarray(record[name])[None] for name in FIELDS}
  painted, cover = _rendered(
    stacked, template=template, size=record["diffuse"].shape[0]
  )
  alpha = 0.65 * np.asarray(cover[0])
  color = np.asarray(painted[0]) * np.array([90, 170, 255], np.float32)
  picture = Image.fromarray(
    np.clip(record["image"] * (1 - alpha) + color * alpha, 0, 255).astype(np.uint8)
  )
  draw = ImageDraw.Draw(picture)
  for x, y in record["landmarks"]:
    draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="#ff5050")
  return np.asarray(picture)


@functools.partial(jax.jit, static_argnames=("template", "size"))
def _rendered(record, *, template, size: int):
  """Returns shading and coverage of the heads of records, from their position maps."""
  table = uv.uv_table(template, size)
  batch = to_batch(record, table)
  world = head_to_world(uv.vertices_from_map(batch.position, table), batch.pose)
  buffers = head_buffers(world, template, Camera(), (_SIDE, _SIDE))
  light = jnp.sum(buffers.normal * _LIGHT.reshape(1, 1, 1, 3), -1, keepdims=True)
  return 0.25 + 0.85 * jnp.maximum(light, 0), buffers.mask.astype(jnp.float32)


if __name__ == "__main__":
  main()
