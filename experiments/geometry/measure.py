"""Measures how well faces are read off photos, and writes the asset of the fit.

  python -m experiments.geometry.bank --photos 1024 --split test
  python -m experiments.geometry.measure
  python -m experiments.geometry.measure --weights runs/geometry/train/weights.npz

Of the held-out photos of the bank, the first half gives the distribution of the errors,
three sixteenths choose the number of looks and calibrate the deviations, and the rest
is reported: the mean absolute error of a coordinate on the face, raw and after a
similarity, divided by that of the mean head, by yaw; how often the truth lies within
the deviations that are stated; the same for the fit to landmarks; and what the network
makes of mean heads that lie better or worse than landmarks put them. Writes
`surface.npz`, which holds the network's weights, the directions of expression and the
errors.
"""

import argparse
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax import files
from affjax.eval import position_error
from affjax.faces import Crop, Face, find_in_all, fit_faces, standard68
from affjax.faces._surface import network, read
from affjax.faces._surface.fit import Shape, first_poses, first_views
from affjax.faces._surface.read import Errors, Reading
from affjax.geometry import uv
from affjax.heads import MorphableModel
from affjax.types import Camera
from experiments.geometry import bank, train, truths
from experiments.geometry.truths import Head, Truth

# Shards for the distribution, for the choice, and for the report.
PARTS = range(16), range(16, 22), range(22, 32)
# Numbers of looks that are tried.
PASSES = 1, 2, 3, 4, 5
YAWS = ((0, 15), (15, 30), (30, 90))
# Factors on the errors of pose of drawn views, see `train.rough_views`.
ROUGH = 0.0, 1.0, 2.0, 4.0
# Photos whose face is found farther than this from the middle (px) are not used.
_NEAR = 50
# Weight of the prior, in photos, in the covariance of errors, and of the usual gain, as
# a share of all photos.
_PRIOR, _SAME = 20.0, 0.3


class Part:
  """Held-out photos: what is true of them, and FaceMesh's points (NaN: no face)."""

  def __init__(
    self, head: Head, folder: pathlib.Path, shards: range, cache: pathlib.Path
  ):
    paths = [bank.path(folder, "test", index) for index in shards]
    data = [_arrays(path) for path in paths]
    joined = lambda name: np.concatenate([shard[name] for shard in data])
    self.photos, self.pose = joined("photo"), joined("pose")
    self.identity, self.expression = joined("identity"), joined("expression")
    rows = [truths.truth(head, shard) for shard in data]
    self.truth: Truth = jax.tree.map(lambda *x: np.concatenate(x), *rows)
    named = zip(data, paths, strict=True)
    points = [_mesh_points(d["photo"], cache / p.name) for d, p in named]
    self.points = np.concatenate(points)
    self.there = np.isfinite(self.points).all((1, 2))

  def starts(self, model: MorphableModel) -> Float[np.ndarray, "n 6"]:
    """Returns poses of the mean head on the landmarks; zero where no face is found."""
    pose = np.zeros((len(self.photos), 6), np.float32)
    marks = np.stack([standard68(p) for p in self.points[self.there]])
    pose[self.there] = first_poses(model, marks, [bank.SIZE] * len(marks), Camera())
    return pose


def main() -> None:
  """Measures, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--bank", type=pathlib.Path, default="runs/geometry/bank")
  parser.add_argument(
    "--weights", type=pathlib.Path, help="weights of a training; else the asset's"
  )
  parser.add_argument("--cache", type=pathlib.Path, default="runs/geometry/cache")
  parser.add_argument("--out", type=pathlib.Path, default="runs/geometry/surface.npz")
  parser.add_argument("--table", type=pathlib.Path, help="write the figures here")
  options = parser.parse_args()
  begun, head = time.monotonic(), truths.head()
  stored = _arrays(options.weights) if options.weights else read.load_weights()
  weights = {name: value.astype(np.float32) for name, value in stored.items()}
  parts = [Part(head, options.bank, shards, options.cache) for shards in PARTS]
  print(f"read after {time.monotonic() - begun:.0f} s", flush=True)
  errors, choice = measured_errors(head, weights, parts[0], parts[1])
  report = reported(head, weights, errors, parts[2])
  table = {"choice": choice, "report": report}
  arrays = {f"network/{name}": w.astype(np.float16) for name, w in weights.items()}
  arrays |= {
    "expression_mean": head.components.expression_mean,
    "expression_root": head.components.expression_root,
    "covariance": errors.covariance.astype(np.float16),
    "gain": errors.gain,
  }
  scalars = ("deviation", "doubt", "calibration")
  arrays |= {name: np.float32(getattr(errors, name)) for name in scalars}
  with files.written_file(options.out) as partial, partial.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **arrays)
  print(f"{time.monotonic() - begun:.0f} s", json.dumps(table, indent=1))
  if options.table:
    options.table.write_text(json.dumps(table, indent=1) + "\n")


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _mesh_points(
  photos: np.ndarray, cache: pathlib.Path
) -> Float[np.ndarray, "n 468 2"]:
  """Returns FaceMesh's points, px; NaN where no face is found."""
  if cache.exists():
    return _arrays(cache)["landmarks"]
  points = np.full((len(photos), 468, 2), np.nan, np.float32)
  middle = (photos.shape[1] - 1) / 2
  for k, found in enumerate(find_in_all(list(photos))):
    off = [np.abs((f.box[:2] + f.box[2:]) / 2 - middle).max() for f in found]
    near = [f for f, far in zip(found, off, strict=True) if far < _NEAR]
    if near:
      points[k] = near[0].landmarks[:, :2]
  cache.parent.mkdir(parents=True, exist_ok=True)
  with files.written_file(cache) as partial, partial.open("wb") as file:
    np.savez(file, allow_pickle=False, landmarks=points)
  return points


def readings(
  head: Head, weights: network.Weights, part: Part, passes: int = read.PASSES
) -> Reading:
  """Returns what photos say; the mean head where no face is found."""
  start = first_views(part.starts(head.model), Camera())
  found = read.read(head.chart, weights, part.photos, start, passes)
  return found._replace(face=np.where(part.there[:, None], found.face, 0))


def measured_errors(
  head: Head, weights: network.Weights, first: Part, second: Part
) -> tuple[Errors, dict[str, Any]]:
  """Returns the errors of readings, and the ratios by the number of looks."""
  ratios = {
    passes: errors_of(head, second, readings(head, weights, second, passes).face)
    for passes in PASSES
  }
  choice = {f"passes {k}": row["similarity"]["ratio"] for k, row in ratios.items()}
  found = readings(head, weights, first)
  gain = gains(np.asarray(found.face)[first.there], first.truth.face[first.there])
  away = (gain * np.asarray(found.face) - first.truth.face)[first.there]
  d = away.shape[1]
  covariance = (away.T @ away + _PRIOR * np.eye(d)) / (len(away) + _PRIOR)
  expected = read.expected_error(found.deviations)[first.there]
  rough = Errors(gain, covariance, float(np.median(expected)), 1.0, 1.0)
  doubt = float(np.median(found.doubt[first.there]))
  own = read.calibrated(readings(head, weights, second), rough)
  choice["with gains"] = errors_of(head, second, own.face)["similarity"]["ratio"]
  print(json.dumps(choice), flush=True)
  scale = coverage(head, rough, second, own)["scale"]
  return Errors(gain, covariance, rough.deviation, doubt, 1 / scale), choice


def gains(
  found: Float[np.ndarray, "n d"], true: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " d"]:
  """Returns factors from what is said to what is expected, near their mean."""
  both, square = (found * true).sum(0), (found**2).sum(0)
  usual = both.sum() / square.sum()
  prior = _SAME * square.mean()
  return np.clip((both + prior * usual) / (square + prior), 0, 1).astype(np.float32)


def errors_of(head: Head, part: Part, face: Float[np.ndarray, "n d"]) -> dict[str, Any]:
  """Returns errors of faces, those of the mean head, and their ratios by yaw."""
  return head_errors(head.model, part, *head.components.coefficients(face))


def head_errors(
  model: MorphableModel,
  part: Part,
  identity: Float[np.ndarray, "n k"],
  expression: Float[np.ndarray, "n e"],
) -> dict[str, Any]:
  """Returns errors of heads, those of the mean head, and their ratios by yaw."""
  template = model.template
  table = uv.uv_table(template, 64)
  face = uv.resize_mask(template.masks["face"], 64) * table.support
  at, share, weight = (x[face > 0] for x in (table.corners, table.weights, face))
  on_face = lambda v: np.einsum("...pkx,pk->...px", v[..., at, :], share)
  bases = [on_face(b) for b in (model.identity_basis, model.expression_basis)]
  heads = lambda i, e: (
    on_face(template.vertices)
    + np.tensordot(i, bases[0], 1)
    + np.tensordot(e, bases[1], 1)
  )
  truth = heads(part.identity, part.expression)
  guess = heads(identity, expression)
  mean = np.broadcast_to(on_face(template.vertices), truth.shape)
  turn = Rotation.from_rotvec(part.pose[:, :3]).as_euler("YXZ", degrees=True)
  yaw = np.abs(turn[:, 0])
  out: dict[str, Any] = {"n": len(truth)}
  for alignment in ("none", "similarity"):
    fit, plain = (
      np.asarray(position_error(x, truth, weight, alignment=alignment))
      for x in (guess, mean)
    )
    within = [(yaw >= low) & (yaw < high) for low, high in YAWS]
    ratios = [
      round(float(fit[w].mean() / plain[w].mean()), 3) for w in (yaw >= 0, *within)
    ]
    out[alignment] = {
      "fit_dm": round(float(fit.mean()), 5),
      "mean_head_dm": round(float(plain.mean()), 5),
      "ratio": ratios[0],
      "ratio_by_yaw": ratios[1:],
      "photos_better": round(float((fit < plain).mean()), 3),
    }
  return out


def coverage(
  head: Head, errors: Errors, part: Part, found: Reading
) -> dict[str, float]:
  """Returns how the deviations of vertices on the face compare with true errors.

  `scale` is the predicted over the measured root mean square; `within` the share of
  vertices whose error is at most the deviation that is stated.
  """
  model, vertices = head.model, _face_vertices(head.model)
  identity, expression = head.components.coefficients(np.asarray(found.face))
  change = np.tensordot(identity - part.identity, model.identity_basis[:, vertices], 1)
  change += np.tensordot(
    expression - part.expression, model.expression_basis[:, vertices], 1
  )
  error = 100 * np.linalg.norm(change, axis=-1)[part.there]
  shape = Shape(model, head.components, errors)
  every = np.asarray(found.deviations)[part.there]
  said = np.stack([shape.deviations(row)[vertices] for row in every])
  return {
    "scale": round(float(np.sqrt((said**2).mean() / (error**2).mean())), 3),
    "within": round(float((error <= said).mean()), 3),
    "stated_mm": round(float(np.sqrt((said**2).mean())), 3),
    "measured_mm": round(float(np.sqrt((error**2).mean())), 3),
    "correlation": round(float(np.corrcoef(said.mean(1), error.mean(1))[0, 1]), 3),
  }


def _face_vertices(model: MorphableModel) -> np.ndarray:
  """Returns the vertices at the corners of the face's texels."""
  table = uv.uv_table(model.template, 64)
  face = uv.resize_mask(model.template.masks["face"], 64) * table.support
  return np.unique(table.corners[face > 0.5])


def landmark_fit(
  model: MorphableModel, part: Part
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n e"]]:
  """Returns coefficients by `fit_faces`; zero where no face was found."""
  there = np.flatnonzero(part.there)
  none = np.zeros((468, 3))
  faces = [Face(np.zeros(4), 1.0, none, standard68(part.points[k])) for k in there]
  crops = [Crop(np.eye(3)[:2], bank.SIZE)] * len(faces)
  identity = np.zeros((len(part.points), len(model.identity_basis)), np.float32)
  expression = np.zeros((len(part.points), len(model.expression_basis)), np.float32)
  fits = fit_faces(model, faces, crops, Camera())
  for k, fit in zip(there, fits, strict=True):
    identity[k], expression[k] = fit.identity, fit.expression
  return identity, expression


def drawn(
  head: Head, weights: network.Weights, part: Part, roughness: float
) -> list[float]:
  """Returns ratios to the mean head after 1, 2, ... looks from drawn views."""
  views: list[Any] = []
  for first in range(0, len(part.photos), bank.SHARD):
    rows = slice(first, first + bank.SHARD)
    true = jax.tree.map(lambda x, r=rows: jnp.asarray(x[r]), part.truth)
    key = jax.random.fold_in(jax.random.key(1), first)
    views.append(train.rough_views(key, head.chart, true, roughness=roughness))
  start = jax.tree.map(lambda *x: np.concatenate(x), *views)
  faces = (
    read.read(head.chart, weights, part.photos, start, passes).face for passes in PASSES
  )
  return [errors_of(head, part, face)["none"]["ratio"] for face in faces]


def reported(
  head: Head, weights: network.Weights, errors: Errors, part: Part
) -> dict[str, Any]:
  """Returns the figures of the third part."""
  found = read.calibrated(readings(head, weights, part), errors)
  rows: dict[str, Any] = {"faces_found": int(part.there.sum())}
  rows["surface"] = errors_of(head, part, np.asarray(found.face))
  rows["surface"]["deviations"] = coverage(head, errors, part, found)
  doubt = found.doubt[part.there] / errors.doubt
  rows["surface"]["doubt"] = [
    round(float(x), 2) for x in np.quantile(doubt, (0.5, 0.99))
  ]
  neutral = np.asarray(found.face).copy()
  neutral[:, head.components.identity :] = 0
  rows["surface, mean expression"] = errors_of(head, part, neutral)
  rows["fit to landmarks"] = head_errors(
    head.model, part, *landmark_fit(head.model, part)
  )
  rows["from drawn views"] = {
    f"roughness {k}": drawn(head, weights, part, k) for k in ROUGH
  }
  return rows


if __name__ == "__main__":
  main()
