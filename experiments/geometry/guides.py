"""Measures what a fit knows of a head: the errors of the guides in training.

    python -m experiments.geometry.guides [--count 240] [--fits out/guides.npz]

Fits the embedded head to held-out synthetic photos of 384² (occluders on 35 %) by
`fit_surface`, and compares coefficients, poses and places with the truth. Then degrades
the same true heads as training does (`affjax.data.Degradation`), and compares those.
Fits that the networks don't believe, because their pose is impossible, are counted and
left out: in use they are no guides.
Writes `results/guides.json`, from which the numbers of `affjax/data/_guides.py` come.
The fits are kept in the file `--fits`, with which a later call goes on.
"""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from affjax import files
from affjax.data import SyntheticFaces, _guides, degradation, with_guide_noise
from affjax.faces import Crop, find_in_all, fit_surface
from affjax.geometry import rotation
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import MorphableModel, open_head
from affjax.models._guide import trusted
from affjax.types import Camera, Guide
from experiments.benchmarks import measuring

SIZE, CHUNK, SEED = 384, 24, 7
FIELDS = ("identity", "expression", "pose")
RESULT = pathlib.Path(__file__).parents[1] / "results" / "guides.json"


def main() -> None:
  """Fits, or reads the fits, and writes the result."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--count", type=int, default=240)
  parser.add_argument("--fits", type=pathlib.Path, default="out/guides.npz")
  options = parser.parse_args()
  model = open_head("embedded")
  found = fitted(model, options.count, options.fits)
  fits = {name: values[believed(model, found)] for name, values in found.items()}
  result = {
    "machine": measuring.machine("cpu", 2),
    "faces_found": len(found["pose"]),
    "faces_believed": len(fits["pose"]),
    "seed": SEED,
    "size_px": SIZE,
    "coefficients": coefficients(model, fits),
    "fit": errors(model, fits, *heads_of(model, fits, "fit_")),
    "degraded": errors(model, fits, *degraded(model, fits)),
  }
  measuring.write_json(RESULT, result)
  print(RESULT.read_text())


def fitted(
  model: MorphableModel, count: int, kept: pathlib.Path
) -> dict[str, np.ndarray]:
  """Returns truth and fit of each photo on which a face is found.

  Args:
    model: The head.
    count: Number of photos.
    kept: The file of fits so far, which is written after every few photos.
  """
  source = SyntheticFaces(
    model, count, SIZE, map_size=8, seed=SEED, split="test", occluders=0.35
  )
  fits = dict(np.load(kept)) if kept.exists() else {}
  for first in range(int(fits.pop("photos", 0)), count, CHUNK):
    last = min(first + CHUNK, count)
    rows = _fitted_rows(model, [source.exact(k) for k in range(first, last)])
    new = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    fits = {name: np.concatenate([fits[name], new[name]]) for name in fits} or new
    kept.parent.mkdir(parents=True, exist_ok=True)
    with files.written_file(kept) as partial, partial.open("wb") as file:
      np.savez(file, allow_pickle=False, photos=last, **fits)
    print(f"{len(fits['pose'])} faces of {last} photos", flush=True)
  return fits


def believed(model: MorphableModel, fits: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns for each fit whether guided networks believe it."""
  vertices, pose = heads_of(model, fits, "fit_")
  guide = Guide(vertices, pose, np.ones(len(pose), np.float32))
  std = model.vertex_std()
  return np.asarray(trusted(guide, len(pose), model.template, std).known) > 0


def _fitted_rows(
  model: MorphableModel, truths: list[dict[str, np.ndarray]]
) -> list[dict[str, np.ndarray]]:
  """Returns truth and fit of the photos on which a face is found."""
  photos = np.rint(np.stack([t["image"] for t in truths]) * 255).astype(np.uint8)
  found = [(k, faces[0]) for k, faces in enumerate(find_in_all(list(photos))) if faces]
  index = [k for k, _ in found]
  crops = [Crop(np.eye(2, 3), SIZE) for _ in found]
  fits = fit_surface(model, [face for _, face in found], crops, photos[index], Camera())
  rows: list[dict[str, np.ndarray]] = []
  for k, fit in zip(index, fits, strict=True):
    own = {f"fit_{name}": np.asarray(getattr(fit, name)) for name in FIELDS}
    rows.append({name: truths[k][name] for name in FIELDS} | own)
  return rows


def coefficients(
  model: MorphableModel, fits: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
  """Returns gain and error by group: a fit is the gain times the truth, plus an error.

  The gain is that of least squares over all coefficients of the group; means of the
  fits, which are no error of one photo, are taken off first.
  """
  found, first = {}, 0
  for last in _guides.MODE_GROUPS:
    own = slice(first, last)
    found[f"modes {first} to {last - 1}"] = _regressed(
      fits["identity"][:, own], fits["fit_identity"][:, own]
    )
    first = last
  left = list(range(len(model.expression_names)))
  for start in _guides.UNIT_GROUPS:
    own = [k for k in left if model.expression_names[k].startswith(start)]
    left = [k for k in left if k not in own]
    found[f"units {start or 'others'}"] = _regressed(
      fits["expression"][:, own], fits["fit_expression"][:, own]
    )
  return found


def _regressed(true: np.ndarray, fit: np.ndarray) -> dict[str, float]:
  true, fit = (x.astype(np.float64) - x.mean(0) for x in (true, fit))
  gain = (true * fit).sum() / (true**2).sum()
  error = np.sqrt(((fit - gain * true) ** 2).mean())
  deviation = np.sqrt((true**2).mean())
  return {
    "gain": float(gain),
    "error": float(error),
    "true_deviation": float(deviation),
  }


def heads_of(
  model: MorphableModel, fits: Mapping[str, np.ndarray], prefix: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns vertices and poses of the truth ("") or the fit ("fit_")."""
  parts = [jnp.asarray(fits[prefix + name]) for name in ("identity", "expression")]
  return np.asarray(model.vertices(*parts)), fits[prefix + "pose"]


def degraded(
  model: MorphableModel, fits: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
  """Returns vertices and poses of the same true heads as training degrades them.

  Those without a guide and the wrong ones are left out.
  """
  vertices, pose = heads_of(model, fits, "")
  record: dict[str, Any] = {"vertices": vertices, "pose": pose}
  noise = [with_guide_noise({}, np.random.default_rng(k)) for k in range(len(pose))]
  record |= {name: np.stack([row[name] for row in noise]) for name in noise[0]}
  for name in noise[0]:
    record[name][:, -1] = 0.5  # neither wrong nor none
  record["visible"] = np.full((len(pose), 8, 8, 1), 255, np.uint8)
  record["has_pose"] = np.ones(len(pose), np.float32)
  guide = degradation(model)(record)
  return np.asarray(guide.vertices), np.asarray(guide.pose)


def errors(
  model: MorphableModel,
  fits: Mapping[str, np.ndarray],
  vertices: np.ndarray,
  pose: np.ndarray,
) -> dict[str, Any]:
  """Returns how far heads and poses are from the truth, beside the mean head."""
  true, true_pose = heads_of(model, fits, "")
  # What a face shows: the front half of the mean head's skin.
  front = np.unique(model.template.faces[model.template.face_groups == 0])
  front = front[model.template.vertices[front, 2] > 0.1]
  away = np.linalg.norm(vertices - true, axis=-1)[:, front].mean(1)
  mean = np.linalg.norm(model.template.vertices - true, axis=-1)[:, front].mean(1)
  places = [
    np.asarray(world_to_px(head_to_world(v, p), Camera(), 64, 64))[:, front]
    for v, p in ((vertices, pose), (true, true_pose))
  ]
  px = np.linalg.norm(places[0] - places[1], axis=-1)
  turn, shift = _pose_errors(model, vertices, pose, true, true_pose)
  return {
    "position_dm": float(away.mean()),
    "mean_head_dm": float(mean.mean()),
    "ratio": float(away.mean() / mean.mean()),
    "rotation_deg": np.degrees(np.sqrt((turn**2).mean(0))).tolist(),
    "translation_dm": np.sqrt((shift**2).mean(0)).tolist(),
    "translation_dm_mean": shift.mean(0).tolist(),
    "rotation_deg_usual": np.degrees(_usual(turn)).tolist(),
    "translation_dm_usual": _usual(shift).tolist(),
    "places_px_of_64": float(px.mean()),
    "places_px_of_64_median": float(np.median(px.mean(1))),
    "places_px_of_64_worst_tenth": float(np.quantile(px.mean(1), 0.9)),
  }


def _usual(errors: np.ndarray) -> np.ndarray:
  """Returns the standard deviation of normal errors with the same median size."""
  return np.median(np.abs(errors), 0) / 0.6745


def _pose_errors(
  model: MorphableModel,
  vertices: np.ndarray,
  pose: np.ndarray,
  true: np.ndarray,
  true_pose: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns rotation vectors and translations beyond the pose that fits best.

  The best pose is the one in which the head lies on the true one in three dimensions.
  """
  known = degradation(model)
  step = (true - vertices)[:, known.points].reshape(len(true), -1) @ known.rigid.T
  matrix = lambda r: np.asarray(rotation.axis_angle_to_matrix(r))
  best = matrix(true_pose[:, :3]) @ matrix(step[:, :3])
  turn = matrix(pose[:, :3]) @ best.transpose(0, 2, 1)
  place = true_pose[:, 3:] + np.einsum(
    "nij,nj->ni", matrix(true_pose[:, :3]), step[:, 3:]
  )
  return np.asarray(rotation.matrix_to_axis_angle(turn)), pose[:, 3:] - place


if __name__ == "__main__":
  main()
