"""Fits the head to the photos of folders by both methods; writes errors and sheets.

  python -m experiments.tables.fit_photos PHOTOS... --out out/fit_photos

Every face that is found counts. Writes `fit_photos.json` into `--results` (for each
method one row a face: errors in percent of the distance of the outer eye corners, the
pose in degrees) and `sheet_*.png` of the surface fit into `--out`: for each face the
crop, the crop with landmarks (white: detected; red: of the fitted head, the jaw's where
they slid to), the fitted head over the crop, and the head from the front, from the
left and from the right. Sheets of private photos are private too: `out` is ignored.
"""

import argparse
import dataclasses
import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from affjax.export import to_uint8
from affjax.faces import (
  Crop,
  Face,
  Fit,
  apply_crop,
  face_crop,
  find_faces,
  fit_faces,
  fit_surface,
  read_photo,
  warp,
)
from affjax.geometry import camera as cameras
from affjax.geometry import rotation
from affjax.heads import open_head
from affjax.render import HeadBuffers, head_buffers
from affjax.types import Camera, Template
from experiments.benchmarks import measuring

SIZE, ROWS, CELL = 512, 10, 224
SIDES_DEG = (0, 60, -60)
RESULTS = pathlib.Path(__file__).parents[1] / "results"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclasses.dataclass(frozen=True)
class Case:
  """A face of a photo and its crop."""

  name: str
  face: Face
  crop: Crop
  image: np.ndarray


def main() -> None:
  """Fits the faces, writes and prints the errors."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("photos", nargs="+", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, help="folder for sheets")
  parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
  options = parser.parse_args()
  cases, failures = gather(options.photos)
  if not cases:
    raise SystemExit("no faces in these photos")
  model, camera = open_head("embedded"), Camera()
  faces, crops = [c.face for c in cases], [c.crop for c in cases]
  images = np.stack([c.image for c in cases])
  found = fit_surface(model, faces, crops, images, camera)
  fits = {"surface": found, "landmarks": fit_faces(model, faces, crops, camera)}
  records = {
    method: [row(case, one) for case, one in zip(cases, every, strict=True)]
    for method, every in fits.items()
  }
  sums = {method: summary(rows) for method, rows in records.items()}
  report = {"summary": sums, "failures": failures, "faces": records}
  measuring.write_json(options.results / "fit_photos.json", report)
  for method, values in sums.items():
    for name, value in values.items():
      print(f"{method:>10} {name:>32} {value}")
  if options.out:
    options.out.mkdir(parents=True, exist_ok=True)
    errors = [-r["inner_error"] for r in records["surface"]]
    worst = np.argsort(errors, kind="stable")
    for k in range(0, len(worst), 2 * ROWS):
      part = [(cases[i], found[i]) for i in worst[k : k + 2 * ROWS]]
      path = options.out / f"sheet_{k // (2 * ROWS) + 1}.png"
      Image.fromarray(sheet(part, camera)).save(path)
      print(path)


def gather(places: list[pathlib.Path]) -> tuple[list[Case], dict[str, str]]:
  """Returns the faces of photos, and the reason by photo where there are none."""
  files = []
  for place in places:
    inside = sorted(place.rglob("*")) if place.is_dir() else [place]
    files += [p for p in inside if p.suffix.lower() in _SUFFIXES]
  cases, failures = [], {}
  for path in files:
    name = f"{path.parent.name}/{path.name}"
    try:
      pixels = read_photo(path)
    except ValueError as error:
      failures[name] = str(error).replace(str(path), path.name)
      continue
    faces = find_faces(pixels)
    if not faces:
      failures[name] = "no face found"
    for k, face in enumerate(faces):
      placed = face_crop(face, open_head("embedded").template, Camera(), SIZE)
      image = to_uint8(apply_crop(pixels, placed))
      cases.append(Case(f"{name}#{k + 1}", face, placed, image))
  print(f"{len(cases)} faces of {len(files)} photos", file=sys.stderr)
  return cases, failures


def row(case: Case, one: Fit) -> dict:
  """Returns the record of a face."""
  turn = np.asarray(rotation.axis_angle_to_matrix(jnp.asarray(one.pose[:3])))
  yaw = np.degrees(np.arcsin(np.clip(turn[0, 2], -1, 1)))
  return {
    "name": case.name,
    "inner_error": one.inner_error,
    "contour_error": one.contour_error,
    "yaw_deg": float(yaw),
    "identity_rms": float(np.sqrt(np.mean(one.identity**2))),
    "largest_expression": float(one.expression.max()),
    "converged": one.converged,
  }


def summary(rows: list[dict]) -> dict:
  """Returns means, medians and the worst of the rows."""
  result: dict = {"faces": len(rows)}
  for name in ("inner_error", "contour_error"):
    values = np.array([r[name] for r in rows])
    result[f"{name}_mean_percent"] = round(float(values.mean()), 2)
    result[f"{name}_median_percent"] = round(float(np.median(values)), 2)
    result[f"{name}_worst_percent"] = round(float(values.max()), 2)
  for name in ("identity_rms", "largest_expression"):
    result[f"{name}_mean"] = round(float(np.mean([r[name] for r in rows])), 2)
  result["converged"] = sum(r["converged"] for r in rows)
  return result


def sheet(part: list[tuple[Case, Fit]], camera: Camera) -> np.ndarray:
  """Draws two faces a row, six cells each."""
  pictures = [np.concatenate(cells(case, one, camera), 1) for case, one in part]
  pictures += [np.full_like(pictures[0], 255)] * (len(pictures) % 2)
  pairs = zip(pictures[::2], pictures[1::2], strict=True)
  return np.concatenate([np.concatenate(pair, 1) for pair in pairs])


def cells(case: Case, one: Fit, camera: Camera) -> list[np.ndarray]:
  """Draws the crop, its landmarks, the head over the crop and from three sides."""
  marked = Image.fromarray(case.image)
  draw = ImageDraw.Draw(marked)
  px = warp.transform(case.crop.matrix, case.face.landmarks68)
  for points, color, r in ((px, "white", 4), (one.landmarks, "red", 3)):
    for x, y in points:
      draw.ellipse([x - r, y - r, x + r, y + r], fill=color)
  over, alpha = shaded(one.vertices, one.pose, camera)
  mixed = case.image / 255 * (1 - 0.75 * alpha) + 0.75 * over
  pictures = [case.image, np.asarray(marked), mixed]
  for yaw in np.radians(SIDES_DEG):
    pose = np.array([0, yaw, 0, 0, 0, -1.0], np.float32)
    alone, alpha = shaded(one.vertices, pose, camera)
    pictures.append(alone + 1 - alpha)
  return [small(picture) for picture in pictures]


def shaded(
  vertices: np.ndarray, pose: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the untextured head lit from the camera, over black; returns its mask too."""
  world = cameras.head_to_world(jnp.asarray(vertices)[None], jnp.asarray(pose)[None])
  buffers = _buffers(world, open_head("embedded").template, camera)
  alpha = np.asarray(buffers.mask[0], np.float32)
  light = 0.25 + 0.7 * np.clip(np.asarray(buffers.normal[0]) @ [0.3, 0.3, 0.9], 0, 1)
  tone = np.where(np.asarray(buffers.group[0]) == 0, 0.85, 1.0)
  return np.repeat((light * tone)[..., None], 3, -1) * alpha, alpha


@functools.partial(jax.jit, static_argnums=(1, 2))
def _buffers(world: jax.Array, template: Template, camera: Camera) -> HeadBuffers:
  return head_buffers(world, template, camera, (SIZE, SIZE))


def small(picture: np.ndarray) -> np.ndarray:
  """Resizes a picture to a cell."""
  image = Image.fromarray(to_uint8(picture))
  return np.asarray(image.resize((CELL, CELL), Image.Resampling.LANCZOS))


if __name__ == "__main__":
  main()
