"""Measures how far what photos say can be trusted, and writes the asset of the fit.

  python -m experiments.geometry.bank --photos 1024 --split test
  python -m experiments.geometry.measure
  python -m experiments.geometry.measure --weights runs/geometry/train/weights.npz

Of the held-out photos of the bank, the first half gives the distribution of the errors
of the geometry network and of FaceMesh, three sixteenths choose how much it is believed
(factors, shrinkage, tempering) and calibrate the deviations, and the rest is reported:
the mean absolute error of a coordinate on the face, raw and after a similarity, divided
by that of the mean head, by yaw, with the network and FaceMesh together and each alone;
and how often the truth lies within the deviations that are stated. Writes
`surface.npz`, which holds the network's weights, the anchors and the distribution.
"""

import argparse
import functools
import itertools
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
from affjax.faces import Crop, Face, fit_faces, standard68
from affjax.faces._surface import anchors as anchoring
from affjax.faces._surface.anchors import Surface
from affjax.faces._surface.estimate import Estimate, EstimateSettings, estimate
from affjax.faces._surface.fit import deviations, one_of
from affjax.faces._surface.head_model import View
from affjax.faces._surface.read import weights as shipped
from affjax.geometry import rotation, uv
from affjax.heads import MorphableModel, open_head, sample_expression
from affjax.types import Camera
from experiments.geometry import anchors as choice
from experiments.geometry import bank, observations, statistics
from experiments.geometry.observations import Sample

# Shards for the distribution, for the choice, and for the report.
PARTS = range(16), range(16, 22), range(22, 32)
# Factors and their shrinkage, and tempering: factors on all variances.
FACTORS, TEMPERS = ((24, 0.3), (48, 0.6)), (3.0, 10.0, 30.0, 100.0)
# Number of directions of expression.
EXPRESSIONS = 20
YAWS = ((0, 15), (15, 30), (30, 90))
_CHUNK = 32


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
  begun, model = time.monotonic(), open_head("embedded")
  weights = _arrays(options.weights) if options.weights else shipped()
  arrays = head_arrays(model, options.cache / "anchors.npz")
  read = [
    observations.sample(
      model,
      anchoring.anchors(model, arrays),
      {name: value.astype(np.float32) for name, value in weights.items()},
      options.bank,
      shards,
      options.cache,
    )
    for shards in PARTS
  ]
  print(f"read after {time.monotonic() - begun:.0f} s", flush=True)
  chosen, rows = chosen_errors(model, arrays, read[0], read[1])
  arrays = {**arrays, **chosen}
  cached = (options.cache / f"test-{k:05d}.npz" for k in PARTS[2])
  points = np.concatenate([_arrays(path)["landmarks"] for path in cached])
  report = {"choice": rows, "report": reported(model, arrays, read[2], points)}
  arrays |= {f"network/{name}": w.astype(np.float16) for name, w in weights.items()}
  half = {
    name: value.astype(np.float16) if value.dtype == np.float64 else value
    for name, value in arrays.items()
  }
  with files.written_file(options.out) as partial, partial.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **half)
  print(f"{time.monotonic() - begun:.0f} s", json.dumps(report["report"], indent=1))
  if options.table:
    options.table.write_text(json.dumps(report, indent=1) + "\n")


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def head_arrays(model: MorphableModel, cache: pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the anchors and the directions of expression; kept in a file."""
  if cache.exists():
    return _arrays(cache)
  drawn = sample_expression(np.random.default_rng(612), model, 20_000)
  size, direction = np.linalg.eigh(np.cov(drawn.T))
  root = (direction * np.sqrt(np.maximum(size, 0)))[:, ::-1][:, :EXPRESSIONS]
  found = {
    **choice.arrays(model),
    "expression_mean": drawn.mean(0).astype(np.float32),
    "expression_root": root.astype(np.float32),
  }
  cache.parent.mkdir(parents=True, exist_ok=True)
  with files.written_file(cache) as partial, partial.open("wb") as file:
    np.savez(file, allow_pickle=False, **found)
  return found


def components(arrays: dict[str, np.ndarray], part: Sample) -> Float[np.ndarray, "n d"]:
  """Returns the true components of faces; what they cannot express counts as error."""
  root = arrays["expression_root"]
  count = arrays["normal_modes"].shape[2] - len(root)
  change = (part.expression - arrays["expression_mean"]) @ np.linalg.pinv(root).T
  return np.concatenate([part.identity[:, :count], change], 1).astype(np.float32)


def chosen_errors(
  model: MorphableModel, arrays: dict[str, np.ndarray], first: Sample, second: Sample
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
  """Returns the distribution that is best on the second part, and all tried ones."""
  anchors, true = anchoring.anchors(model, arrays), components(arrays, first)
  said, unit, known = observations.told_numbers(first.observed)
  error = (said - observations.true_numbers(anchors, true, first)) / unit
  turn = rotation.axis_angle_to_matrix(jnp.asarray(first.pose[:, :3]))
  features = np.asarray(jax.vmap(anchoring.pose_features)(turn))
  rows: list[dict[str, Any]] = []
  best: dict[str, np.ndarray] = {}
  for (count, shrinkage), temper in itertools.product(FACTORS, TEMPERS):
    measured = statistics.error_distribution(
      error, known, features, factors=count, shrinkage=shrinkage
    )
    measured["factors"] *= np.sqrt(temper)
    measured["variance"] *= temper
    measured |= {name: np.ones(()) for name in ("calibration", "misfit")}
    measured["gain"] = np.ones(true.shape[1])
    surface = anchoring.surface(model, {**arrays, **measured})
    found = [estimates(surface, part) for part in (first, second)]
    gain = measured["gain"] = statistics.gains(found[0].face, true)
    ratios = [
      errors_of(model, surface, part, f._replace(face=gain * f.face))["similarity"][
        "ratio"
      ]
      for part, f in zip((first, second), found, strict=True)
    ]
    rows.append({"factors": count, "shrinkage": shrinkage, "temper": temper})
    rows[-1] |= dict(zip(("ratio_first", "ratio_second"), ratios, strict=True))
    print(json.dumps(rows[-1]), flush=True)
    if ratios[1] == min(row["ratio_second"] for row in rows):
      best = measured
  surface = anchoring.surface(model, {**arrays, **best})
  found = estimates(surface, second)
  best["misfit"] = np.nanmedian(found.misfit)
  best["calibration"] = np.array(1 / coverage(model, surface, second, found)["scale"])
  # float16 holds deviations well, but not the smallest variances.
  return {k: v.astype(np.float32) for k, v in best.items()}, rows


def estimates(surface: Surface, part: Sample) -> Estimate:
  """Returns estimates of photos, in chunks of the same size."""
  turn = np.asarray(rotation.axis_angle_to_matrix(jnp.asarray(part.start[:, :3])))
  far = np.full(len(turn), EstimateSettings.distance[0], np.float32)
  start = View(turn, part.start[:, 3:], far)
  rows: list[Estimate] = []
  for first in range(0, len(turn), _CHUNK):
    at = slice(first, first + _CHUNK)
    piece = jax.tree.map(lambda x, at=at: x[at], (part.observed, start))
    found = _estimates(surface.anchors, surface.errors, *piece)
    rows.append(jax.tree.map(np.asarray, found))
  return jax.tree.map(lambda *x: np.concatenate(x), *rows)


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
def _estimates(anchors, errors, observed, start) -> Estimate:
  return estimate(anchors, errors, observed, start)


def errors_of(
  model: MorphableModel, surface: Surface, part: Sample, found: Estimate
) -> dict[str, Any]:
  """Returns errors of estimates, those of the mean head, and their ratios by yaw."""
  guess = surface.coefficients(found.face, len(model.identity_basis))
  return head_errors(model, part, *guess)


def head_errors(
  model: MorphableModel,
  part: Sample,
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
  model: MorphableModel, surface: Surface, part: Sample, found: Estimate
) -> dict[str, float]:
  """Returns how the deviations of vertices on the face compare with true errors.

  `scale` is the predicted over the measured root mean square; `within` the share of
  vertices whose error is at most the deviation that is stated.
  """
  vertices = _face_vertices(model)
  identity, expression = surface.coefficients(found.face, len(model.identity_basis))
  change = np.tensordot(identity - part.identity, model.identity_basis[:, vertices], 1)
  change += np.tensordot(
    expression - part.expression, model.expression_basis[:, vertices], 1
  )
  error = 100 * np.linalg.norm(change, axis=-1)
  every = range(0, len(error), 4)
  said = np.stack(
    [deviations(model, surface, one_of(found, k))[vertices] for k in every]
  )
  error = error[:: every.step]
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
  model: MorphableModel, points: Float[np.ndarray, "n 468 2"]
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n e"]]:
  """Returns coefficients by `fit_faces`; zero where no face was found."""
  there = np.flatnonzero(np.isfinite(points).all((1, 2)))
  none = np.zeros((468, 3))
  faces = [Face(np.zeros(4), 1.0, none, standard68(points[k])) for k in there]
  crops = [Crop(np.eye(3)[:2], bank.SIZE)] * len(faces)
  identity = np.zeros((len(points), len(model.identity_basis)), np.float32)
  expression = np.zeros((len(points), len(model.expression_basis)), np.float32)
  fits = fit_faces(model, faces, crops, Camera())
  for k, fit in zip(there, fits, strict=True):
    identity[k], expression[k] = fit.identity, fit.expression
  return identity, expression


def reported(
  model: MorphableModel,
  arrays: dict[str, np.ndarray],
  part: Sample,
  points: Float[np.ndarray, "n 468 2"],
) -> dict[str, Any]:
  """Returns the figures of the third part."""
  surface = anchoring.surface(model, arrays)
  none = lambda x: np.zeros_like(x)
  observed = part.observed
  kinds = {
    "all": observed,
    "network alone": observed._replace(mesh_seen=none(observed.mesh_seen)),
    "FaceMesh alone": observed._replace(seen=none(observed.seen)),
    "nothing": observed._replace(
      seen=none(observed.seen), mesh_seen=none(observed.mesh_seen)
    ),
  }
  rows: dict[str, Any] = {}
  for name, value in kinds.items():
    own = part._replace(observed=value)
    found = estimates(surface, own)
    rows[name] = errors_of(model, surface, own, found)
    if name == "all":
      rows[name]["misfit"] = round(float(np.nanmedian(found.misfit)), 2)
      rows[name]["deviations"] = coverage(model, surface, own, found)
  rows["fit to landmarks"] = head_errors(model, part, *landmark_fit(model, points))
  return rows


if __name__ == "__main__":
  main()
