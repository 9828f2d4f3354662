"""Sheets of heads in clay: what a method knows of the shape, without its colors.

  python -m experiments.figures.in_clay PHOTOS... --out out/clay
  python -m experiments.figures.in_clay PHOTOS... --methods surface

A row has a face's crop and, for each method of `affjax fit`, the gray head over the
crop and from three sides. Sheets of private photos are private too.
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from affjax.export import to_uint8
from affjax.faces import (
  PhotoError,
  apply_crop,
  face_crops,
  find_faces,
  fit_faces,
  fit_surface,
  read_photo,
)
from affjax.geometry import camera as cameras
from affjax.heads import open_head
from affjax.photos import gather
from affjax.render import head_buffers
from affjax.types import Camera

SIZE, CELL, ROWS = 384, 160, 10
# Yaw of the heads, degrees, and the direction towards the light in camera space.
TURNS_DEG = (-40.0, 0.0, 40.0)
LIGHT = np.array([0.35, 0.45, 0.82])
METHODS = {
  "landmarks": lambda model, faces, crops, images: fit_faces(
    model, faces, crops, Camera()
  ),
  "surface": lambda model, faces, crops, images: fit_surface(
    model, faces, crops, images, Camera()
  ),
}

Cell = UInt8[np.ndarray, "c c 3"]


def main() -> None:
  """Writes the sheets."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("photos", nargs="+", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, default="out/clay")
  parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
  options = parser.parse_args()
  options.out.mkdir(parents=True, exist_ok=True)
  rows = list(_rows(gather(options.photos).photos, options.methods))
  for first in range(0, len(rows), ROWS):
    path = options.out / f"sheet_{first // ROWS + 1}.png"
    Image.fromarray(np.concatenate(rows[first : first + ROWS])).save(path)
    print(path)


def _rows(
  photos: Sequence[pathlib.Path], methods: Sequence[str]
) -> Iterator[UInt8[np.ndarray, "c w 3"]]:
  """Yields the row of the largest face of each photo that shows one."""
  model = open_head("embedded")
  for path in photos:
    try:
      pixels = read_photo(path)
    except PhotoError as error:
      print(error)
      continue
    faces = find_faces(pixels)[:1]
    if not faces:
      print(f"{path}: no face found")
      continue
    crops = face_crops(faces, model.template, Camera(), SIZE)
    image = to_uint8(apply_crop(pixels, crops[0]))
    cells = [_cell(image)]
    for method in methods:
      fit = METHODS[method](model, faces, crops, image[None])[0]
      over, shown = _clay(fit.vertices, fit.pose)
      cells.append(_cell(np.where(shown, over, image)))
      turned = [np.array([0, np.radians(yaw), 0, 0, 0, 0]) for yaw in TURNS_DEG]
      cells += [_cell(_clay(fit.vertices, pose)[0]) for pose in turned]
    yield np.concatenate(cells, 1)


def _clay(
  vertices: Float[np.ndarray, "v 3"], pose: Float[np.ndarray, " 6"]
) -> tuple[UInt8[np.ndarray, "s s 3"], np.ndarray]:
  """Returns a gray head on white, and where it is."""
  world = cameras.head_to_world(vertices[None], np.asarray(pose, np.float32)[None])
  template = open_head("embedded").template
  seen = head_buffers(world, template, Camera(), (SIZE, SIZE))
  light = np.clip(np.asarray(seen.normal[0]) @ LIGHT, 0, 1)
  gray = np.where(np.asarray(seen.mask[0]), 0.12 + 0.78 * light[..., None], 1)
  return to_uint8(np.repeat(gray, 3, -1)), np.asarray(seen.mask[0])


def _cell(image: UInt8[np.ndarray, "s s 3"]) -> Cell:
  return np.asarray(Image.fromarray(image).resize((CELL, CELL), Image.Resampling.BOX))


if __name__ == "__main__":
  main()
