"""Measures how well the fit knows a face's shape, beside the mean head.

    python -m experiments.tables.shape [--photos 60] [--size 256] [--seed 7]

Held-out synthetic photos, whose geometry is known: each face is found and fitted as
`affjax fit` does it. Prints, for the fit and for the mean head, which looks at nothing,

- the mean absolute difference of a coordinate over the mask "face" (dm), raw and after
  a similarity on that mask,
- the NoW-like distance from the truth's points within 0.95 dm of the tip of the nose
  (mm), after a similarity ICP that starts from the 68 landmarks,

with the ratio of the two, its 95 % bootstrap interval over photos, and the ratio by
yaw. Writes `experiments/results/shape.json`. About five minutes on two cores.
"""

import argparse
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from affjax.data import SyntheticFaces
from affjax.eval import position_error, scan_distances
from affjax.faces import face_crop, find_faces, fit_faces
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Camera, Template
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "shape.json"
MAP_SIZE = 128
NOSE_TIP, RADIUS_DM = 30, 0.95
YAWS = ((0, 15), (15, 30), (30, 90))


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description="The fit's shape against 3D truth.")
  parser.add_argument("--photos", type=int, default=60)
  parser.add_argument("--size", type=int, default=256)
  parser.add_argument("--seed", type=int, default=7)
  parser.add_argument("--out", type=pathlib.Path, default=RESULT)
  options = parser.parse_args()
  model, camera = open_head("embedded"), Camera()
  photos = SyntheticFaces(
    model, options.photos, options.size, seed=options.seed, split="test", map_size=64
  )
  truth, fitted, poses = [], [], []
  for index in range(options.photos):
    record = photos[index]
    faces = find_faces(record["image"])
    if not faces:
      continue
    crop = face_crop(faces[0], model.template, camera, 512)
    (fit,) = fit_faces(model, faces[:1], [crop], camera)
    truth.append(record["vertices"])
    fitted.append(fit.vertices)
    poses.append(record["pose"])
  yaw = np.abs(Rotation.from_rotvec(np.stack(poses)[:, :3]).as_euler("YXZ")[:, 0])
  rows = compared(
    np.stack(truth), np.stack(fitted), model.template, np.degrees(yaw), options.seed
  )
  for name, row in rows.items():
    print(f"{name:24} {row}")
  result = {
    "command": "python -m experiments.tables.shape",
    "photos": options.photos,
    "found": len(truth),
    "size": options.size,
    "seed": options.seed,
    "machine": measuring.machine("cpu", 2),
    "rows": rows,
  }
  measuring.write_json(options.out, result)


def compared(
  truth: np.ndarray,
  fitted: np.ndarray,
  template: Template,
  yaw_deg: np.ndarray,
  seed: int,
) -> dict[str, dict[str, Any]]:
  """Returns fit, mean head and their ratio for each measure; arrays `[N, V, 3]`."""
  mean = np.broadcast_to(template.vertices[None], truth.shape)
  table = uv.uv_table(template, MAP_SIZE)
  face = uv.resize_mask(template.masks["face"], MAP_SIZE) * table.support
  texels = lambda heads: np.stack(
    [
      np.asarray(uv.map_from_vertices(jnp.asarray(h), table)).reshape(-1, 3)
      for h in heads
    ]
  )
  places, weights = texels(truth), face.reshape(-1)
  rows = {}
  for alignment, name in (("none", "position, raw"), ("similarity", "position")):
    measure = lambda heads, how=alignment: np.asarray(
      position_error(texels(heads), places, weights, alignment=how)
    )
    rows[f"{name}, dm"] = _row(measure(fitted), measure(mean), yaw_deg, seed)
  scans = lambda heads: np.array(
    [_scan_error(h, t, template) for h, t in zip(heads, truth, strict=True)]
  )
  rows["NoW-like, mm"] = _row(scans(fitted), scans(mean), yaw_deg, seed)
  return rows


def _scan_error(head: np.ndarray, truth: np.ndarray, template: Template) -> float:
  """Mean distance of the true face's vertices from a head's skin, mm."""
  skin = template.faces[template.face_groups == template.group_names.index("skin")]
  marks = template.landmark_positions(truth)
  near = np.linalg.norm(truth - marks[NOSE_TIP], axis=-1) < RADIUS_DM
  points = truth[np.intersect1d(np.flatnonzero(near), np.unique(skin))]
  start = (template.landmark_positions(head), marks)
  return float(
    scan_distances(points, head, skin, start=start, steps=10).distances.mean()
  )


def _row(
  fit: np.ndarray, mean: np.ndarray, yaw_deg: np.ndarray, seed: int
) -> dict[str, Any]:
  rng = np.random.default_rng(seed)
  picks = rng.integers(0, len(fit), (2000, len(fit)))
  ratios = fit[picks].mean(1) / mean[picks].mean(1)
  by_yaw = {}
  for low, high in YAWS:
    chosen = (yaw_deg >= low) & (yaw_deg < high)
    if chosen.any():
      by_yaw[f"{low}-{high} deg"] = float(fit[chosen].mean() / mean[chosen].mean())
  return {
    "fit": float(fit.mean()),
    "mean_head": float(mean.mean()),
    "ratio": float(fit.mean() / mean.mean()),
    "interval": [float(q) for q in np.quantile(ratios, (0.025, 0.975))],
    "ratio_by_yaw": by_yaw,
    "n": len(fit),
  }


if __name__ == "__main__":
  main()
