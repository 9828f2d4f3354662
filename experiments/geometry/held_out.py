"""Held-out photos of a bank, what is read off them, and errors against the truth."""

import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax import files
from affjax.eval import position_error
from affjax.faces import find_in_all, standard68
from affjax.faces._fit.landmarks import ordered_ndc
from affjax.faces._surface import network, read
from affjax.faces._surface.fit import Laid, Shape, first_poses, first_views
from affjax.faces._surface.read import Errors, Reading
from affjax.geometry import uv
from affjax.heads import MorphableModel
from affjax.types import Camera
from experiments.geometry import bank, truths
from experiments.geometry.truths import Head, Truth

YAWS = ((0, 15), (15, 30), (30, 90))
# Photos whose face is found farther than this from the middle (px) are not used.
_NEAR = 50


class Part:
  """Held-out photos: what is true of them, and FaceMesh's points (NaN: no face)."""

  def __init__(
    self, head: Head, folder: pathlib.Path, shards: range, cache: pathlib.Path
  ):
    paths = [bank.path(folder, "test", index) for index in shards]
    data = [arrays(path) for path in paths]
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


def arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _mesh_points(
  photos: np.ndarray, cache: pathlib.Path
) -> Float[np.ndarray, "n 468 2"]:
  """Returns FaceMesh's points, px; NaN where no face is found."""
  if cache.exists():
    return arrays(cache)["landmarks"]
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


def laid(head: Head, part: Part, errors: Errors, found: Reading, each: int = 1) -> Laid:
  """Returns the heads of the fit; the mean head where no face is found.

  Args:
    head: The head.
    part: Photos.
    errors: Errors of readings.
    found: Readings of the photos.
    each: Number of consecutive photos of a person that are fitted together.
  """
  marks = np.stack([standard68(np.nan_to_num(p)) for p in part.points])
  rows = np.flatnonzero(part.there)
  start = first_views(part.starts(head.model)[rows], Camera())
  those = jax.tree.map(lambda x: np.asarray(x)[rows], found)
  sizes = np.full(len(rows), bank.SIZE, np.float32)
  shape = Shape(head.model, head.components, errors)
  landmarks = ordered_ndc(marks[rows], sizes)
  own = shape.lay(those, rows // each, start, landmarks, Camera())

  def whole(x: np.ndarray) -> np.ndarray:
    every = np.zeros((len(part.photos), *x.shape[1:]), x.dtype)
    every[rows] = x
    return every

  return jax.tree.map(whole, own)


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
