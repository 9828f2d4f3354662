"""Measures the fit against truth on held-out photos of the bank.

  python -m experiments.geometry.fitted --surface surface.npz --weights weights.npz

Prints, beside the mean head, the mean absolute error of a coordinate on the face (dm),
raw and after a similarity, and the ratio of both by yaw: with all that is seen, without
FaceMesh, with FaceMesh alone; with the camera's distance known, taken as 10 dm, and
free. `--exact` replaces the network by true maps: what remains is the solver's own.
"""

import argparse
import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from affjax.eval import position_error
from affjax.faces import _pose, mean_landmarks
from affjax.faces._dense_fit import anchors as anchoring
from affjax.faces._dense_fit import person
from affjax.faces._dense_fit.head_model import Local
from affjax.geometry import rotation, uv
from affjax.heads import open_head
from affjax.types import Camera
from experiments.geometry import bank, observations
from experiments.geometry.statistics import loaded

YAWS = ((0, 15), (15, 30), (30, 90))
_CHUNK = 16


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--bank", type=pathlib.Path, default="runs/geometry/bank")
  parser.add_argument("--weights", type=pathlib.Path)
  parser.add_argument("--exact", action="store_true", help="a perfect network")
  parser.add_argument("--split", default="test")
  parser.add_argument("--first", type=int, default=0)
  parser.add_argument("--last", type=int, default=8)
  parser.add_argument("--every", type=int, default=1, help="use every so many photos")
  parser.add_argument("--mesh", type=pathlib.Path, help="cache of FaceMesh's points")
  parser.add_argument("--surface", type=pathlib.Path, required=True)
  parser.add_argument("--rows", default="all,network,FaceMesh,10 dm,free")
  parser.add_argument("--out", type=pathlib.Path)
  options = parser.parse_args()
  model = open_head("embedded")
  with np.load(options.surface, allow_pickle=False) as file:
    arrays = {name: file[name] for name in file.files}
  anchors, errors = anchoring.anchors(model, arrays), anchoring.errors(arrays)
  weights = None if options.exact else loaded(options.weights)
  shards = range(options.first, options.last)
  sample = observations.sample(
    anchors, options.bank, options.split, shards, weights, options.mesh
  )
  sample = jax.tree.map(lambda x: x[:: options.every], sample)
  rows = {}
  for name in options.rows.split(","):
    begun = time.monotonic()
    people, observed = solved(anchors, errors, sample, name)
    took = (time.monotonic() - begun) / len(sample.pose)
    rows[name] = row(model, sample, people) | {
      "misfit": round(float(np.nanmedian(people.misfit)), 2),
      "identity_rms": round(float(np.sqrt((people.identity**2).mean())), 2),
      "seconds": round(took, 3),
    }
    print(name, json.dumps(rows[name]), flush=True)
  if options.out:
    options.out.write_text(json.dumps(rows, indent=1))


def solved(anchors, errors, sample: observations.Sample, name: str):
  """Returns the people of the photos."""
  observed = sample.observed
  zero = lambda x: np.zeros_like(x)
  if name == "network":
    observed = observed._replace(mesh_seen=zero(observed.mesh_seen))
  if name == "FaceMesh":
    observed = observed._replace(seen=zero(observed.seen))
  known = name not in ("10 dm", "free")
  distance = sample.distance if known else np.full_like(sample.distance, 10.0)
  settings = person.SolverSettings(distance=0.4 if name == "free" else 0.0)
  start = starts(sample, errors, distance)
  found = []
  for first in range(0, len(distance), _CHUNK):
    # Chunks are of equal size, so that nothing is compiled twice.
    at = np.minimum(np.arange(first, first + _CHUNK), len(distance) - 1)
    part = jax.tree.map(lambda x: x[at][:, None], (observed, start))
    out = _solve(anchors, errors, *part, settings)
    count = min(_CHUNK, len(distance) - first)
    found.append(jax.tree.map(lambda x: np.asarray(x)[:count], out))
  return jax.tree.map(lambda *rows: np.concatenate(rows), *found), observed


@functools.partial(jax.jit, static_argnames="settings")
def _solve(anchors, errors, observed, start, settings):
  run = lambda o, s: person.solve(anchors, errors, o, jnp.ones(1), s, settings)
  return jax.vmap(run)(observed, start)


def starts(sample: observations.Sample, errors, distance) -> Local:
  """Returns the mean head where FaceMesh's 68 landmarks are, or before the camera."""
  points = mean_landmarks(open_head("embedded").template)
  n = len(distance)
  pose = np.zeros((n, 6))
  there = np.isfinite(sample.mesh68).all((1, 2))
  pose[there] = _pose.solve_poses(points, sample.mesh68[there], Camera(), bank.SIZE)
  turn = rotation.axis_angle_to_matrix(jnp.asarray(pose[:, :3], jnp.float32))
  repeat = lambda x: np.repeat(np.asarray(x)[None], n, 0)
  return Local(
    np.asarray(turn),
    pose[:, 3:].astype(np.float32),
    np.log(distance).astype(np.float32),
    repeat(errors.expression_mean),
    np.zeros((n, len(errors.factors)), np.float32),
  )


def row(model, sample: observations.Sample, people: person.Person):
  """Returns errors, those of the mean head, and their ratios by yaw."""
  template = model.template
  table = uv.uv_table(template, 64)
  face = uv.resize_mask(template.masks["face"], 64) * table.support
  at, share, weight = (x[face > 0] for x in (table.corners, table.weights, face))
  on_face = lambda v: np.einsum("...pkx,pk->...px", v[..., at, :], share)
  bases = on_face(model.identity_basis), on_face(model.expression_basis)
  mean = on_face(template.vertices)
  k = people.identity.shape[1]
  heads = lambda i, e: (
    mean + np.tensordot(i, bases[0][: i.shape[1]], 1) + np.tensordot(e, bases[1], 1)
  )
  truth = heads(sample.identity, sample.expression)
  guess = heads(people.identity[:, :k], people.local.expression[:, 0])
  yaw = np.abs(
    Rotation.from_rotvec(sample.pose[:, :3]).as_euler("YXZ", degrees=True)[:, 0]
  )
  out = {"n": len(truth)}
  for alignment in ("none", "similarity"):
    measure = lambda x, a=alignment: np.asarray(
      position_error(x, truth, weight, alignment=a)
    )
    fit, plain = measure(guess), measure(np.broadcast_to(mean, truth.shape))
    ratio = lambda which: round(float(fit[which].mean() / plain[which].mean()), 3)
    out[alignment] = {
      "fit": round(float(fit.mean()), 5),
      "mean_head": round(float(plain.mean()), 5),
      "ratio": ratio(yaw >= 0),
      "by_yaw": [ratio((yaw >= low) & (yaw < high)) for low, high in YAWS],
    }
  return out


if __name__ == "__main__":
  main()
