"""Measures fits of the head to landmarks: faces a second by batch, and errors.

  python -m experiments.benchmarks.fit            # about two minutes
  python -m experiments.benchmarks.fit --quick    # a trial, writes nothing

The ground truth are random heads in random poses. The fit gets their 68 landmarks, seen
by the standard camera, with noise of one percent of the interocular distance on each
coordinate. Errors of vertices are those of the front of the head (the part that the
landmarks span) after the best rigid motion, which pictures do not show. Writes
`results/bench_fit_<device>.json`.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.benchmarks import measuring

if TYPE_CHECKING:
  from affjax.faces import Face

EXPERIMENTS = pathlib.Path(__file__).parents[1]
SIZE, NOISE_PERCENT, TARGET = 512, 1.0, 30.0
CROP = np.array([[1.0, 0, 0], [0, 1, 0]])


def people(count: int) -> tuple[np.ndarray, np.ndarray, list["Face"]]:
  """Draws vertices, poses and faces of random people, noise included."""
  import jax
  import jax.numpy as jnp

  from affjax.faces import Face
  from affjax.geometry import camera as cameras
  from affjax.geometry import rotation
  from affjax.heads import open_head, random_vertices
  from affjax.types import Camera

  rng = np.random.default_rng(11)
  model = open_head("embedded")
  vertices = random_vertices(rng, model, count)
  degrees = rng.uniform(-1, 1, (count, 3)) * [40, 20, 10]
  turn = np.asarray(rotation.euler_deg_to_axis_angle(*degrees.T))
  shift = rng.uniform(-1, 1, (count, 3)) * [0.1, 0.1, 0.5]
  pose = np.concatenate([turn, shift], 1).astype(np.float32)
  points = jax.vmap(lambda v: model.template.landmark_positions(v))(vertices)
  world = cameras.head_to_world(points, jnp.asarray(pose))
  px = np.asarray(cameras.world_to_px(world, Camera(), SIZE, SIZE))
  between = np.linalg.norm(px[:, 36] - px[:, 45], axis=-1)[:, None, None]
  px = px + NOISE_PERCENT / 100 * between * rng.standard_normal(px.shape)
  none = np.zeros((468, 3))
  faces = [Face(np.r_[p.min(0), p.max(0)], 1.0, none, p) for p in px]
  return vertices, pose, faces


def speeds(faces: list["Face"], batches: Sequence[int], rounds: int) -> list[dict]:
  """Measures faces a second of each batch size."""

  from affjax.faces import Crop, fit_faces
  from affjax.heads import open_head
  from affjax.types import Camera

  def run(batch: int):
    crops = [Crop(CROP, SIZE)] * batch
    return lambda: fit_faces(open_head("embedded"), faces[:batch], crops, Camera())

  variants = {str(n): measuring.Variant(run(n)) for n in batches}
  times = measuring.interleaved(variants, rounds=rounds)
  return [
    {"batch": n, "faces_a_second": n / times[str(n)].median, "time": times[str(n)]}
    for n in batches
  ]


def surface_speeds(batches: Sequence[int], rounds: int) -> list[dict]:
  """Measures faces a second of the fit to what pixels show, network included."""
  from affjax.assets import store
  from affjax.faces import apply_crop, decode_photo, face_crops, find_faces, fit_surface
  from affjax.heads import open_head
  from affjax.types import Camera

  photo = decode_photo(store.read_asset("astronaut.jpg"), "astronaut.jpg")
  model = open_head("embedded")
  faces = find_faces(photo)[:1]
  crops = face_crops(faces, model.template, Camera(), SIZE)
  image = np.rint(apply_crop(photo, crops[0]) * 255).astype(np.uint8)[None]

  def run(batch: int):
    images = np.repeat(image, batch, 0)
    return lambda: fit_surface(model, faces * batch, crops * batch, images, Camera())

  variants = {str(n): measuring.Variant(run(n)) for n in batches}
  times = measuring.interleaved(variants, rounds=rounds)
  return [
    {"batch": n, "faces_a_second": n / times[str(n)].median, "time": times[str(n)]}
    for n in batches
  ]


def truth(vertices: np.ndarray, pose: np.ndarray, faces: list["Face"]) -> dict:
  """Returns errors of poses and of the front of heads, beside the mean head's."""
  from affjax.faces import Crop, fit_faces
  from affjax.heads import open_head
  from affjax.types import Camera

  model = open_head("embedded")
  crops = [Crop(CROP, SIZE)] * len(faces)
  found = fit_faces(model, faces, crops, Camera())
  template = model.template
  low = template.vertices[template.faces[template.landmark_faces]].min((0, 1))
  front = np.all(template.vertices >= low - 0.05, axis=1)
  ours = [
    gap_mm(f.vertices[front], v[front]) for f, v in zip(found, vertices, strict=True)
  ]
  mean = [gap_mm(template.vertices[front], v[front]) for v in vertices]
  turns = [gap_deg(f.pose[:3], p[:3]) for f, p in zip(found, pose, strict=True)]
  return {
    "faces": len(faces),
    "rotation_error_deg": {"median": np.median(turns), "worst": max(turns)},
    "vertex_error_mm": {"median": np.median(ours), "worst": max(ours)},
    "vertex_error_of_mean_head_mm": {"median": np.median(mean), "worst": max(mean)},
  }


def gap_mm(found: np.ndarray, true: np.ndarray) -> float:
  """Returns the mean distance of vertices, mm, after the best rigid motion (Kabsch)."""
  a, b = found - found.mean(0), true - true.mean(0)
  u, _, vt = np.linalg.svd(a.T @ b)
  flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
  return float(100 * np.linalg.norm(a @ u @ flip @ vt - b, axis=1).mean())


def gap_deg(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the angle between two rotations, degrees."""
  from scipy.spatial.transform import Rotation

  turn = Rotation.from_rotvec(a).inv() * Rotation.from_rotvec(b)
  return float(np.degrees(turn.magnitude()))


def main() -> None:
  """Measures and writes the figures."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="a trial, writes nothing")
  parser.add_argument("--device", choices=("cpu", "gpu"))
  parser.add_argument("--threads", type=int, default=2, help="number of CPU cores used")
  parser.add_argument("--out", type=pathlib.Path, default=EXPERIMENTS)
  options = parser.parse_args()
  device = measuring.start(options.device, options.threads)
  origin = measuring.machine(device, options.threads)
  vertices, pose, faces = people(16 if options.quick else 128)
  batches = (1, 16) if options.quick else (1, 4, 16, 64)
  rows = speeds(faces, batches, 2 if options.quick else 9)
  surface_rows = surface_speeds((1, 16), 2 if options.quick else 9)
  best = max(row["faces_a_second"] for row in surface_rows)
  met = bool(best >= TARGET)
  result = {
    "machine": origin,
    "method": {
      "warm_up": "a round, then one call a turn, not counted",
      "precision": "float32",
      "landmark_noise_percent": NOISE_PERCENT,
    },
    "targets": [
      {"what": "faces a second", "value": best, "target": TARGET, "met": met}
    ],
    "speed": rows,
    "surface_speed": surface_rows,
    "truth": truth(vertices, pose, faces),
  }
  table = [
    [name, str(r["batch"]), f"{r['faces_a_second']:.1f}"]
    for name, some in (("landmarks", rows), ("surface", surface_rows))
    for r in some
  ]
  print(measuring.markdown(["fit to", "batch", "faces a second"], table))
  print(json.dumps(result["truth"], indent=1))
  if not options.quick:
    measuring.write_json(options.out / "results" / f"bench_fit_{device}.json", result)


if __name__ == "__main__":
  main()
