"""What photos of the bank say about the anchors, and what is true of them."""

import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax import files
from affjax.faces import _pose, find_in_all, mean_landmarks, standard68
from affjax.faces._surface import anchors as anchoring
from affjax.faces._surface import head_model, network, votes
from affjax.faces._surface.head_model import View
from affjax.faces._surface.read import maps_of
from affjax.faces._surface.votes import Observed
from affjax.geometry import rotation
from affjax.heads import MorphableModel
from affjax.types import Camera
from experiments.geometry import bank

# Photos whose face is found farther than this from the middle (px) are not used.
_NEAR = 50
_CHUNK = 16


class Sample(NamedTuple):
  """Photos, what they say and what is true: arrays of N photos.

  Attributes:
    observed: What the photos say.
    start: Pose of the mean head on the landmarks, which the estimate starts from.
    identity: True identity coefficients.
    expression: True expression coefficients.
    pose: True pose.
    distance: True distance of the camera, dm.
  """

  observed: Observed
  start: Float[np.ndarray, "n 6"]
  identity: Float[np.ndarray, "n k"]
  expression: Float[np.ndarray, "n e"]
  pose: Float[np.ndarray, "n 6"]
  distance: Float[np.ndarray, " n"]


def sample(
  model: MorphableModel,
  anchors: anchoring.Anchors,
  weights: network.Weights,
  folder: pathlib.Path,
  shards: range,
  cache: pathlib.Path,
) -> Sample:
  """Reads held-out photos of a bank.

  Args:
    model: The embedded head.
    anchors: Anchors on it.
    weights: Weights of the network.
    folder: The bank.
    shards: Which shards.
    cache: Folder in which FaceMesh's points are kept.
  """
  parts: list[Sample] = []
  for index in shards:
    with np.load(bank.path(folder, "test", index), allow_pickle=False) as file:
      data = {name: file[name] for name in file.files}
    points = _mesh_points(data["photo"], cache / f"test-{index:05d}.npz")
    ndc = _pose.ndc_of_px(points, bank.SIZE)[:, :: anchoring.MESH_STEP]
    observed = [
      _observed(anchors, weights, data["photo"][k : k + _CHUNK], ndc[k : k + _CHUNK])
      for k in range(0, bank.SHARD, _CHUNK)
    ]
    truth = (data[name] for name in ("identity", "expression", "pose"))
    distance = np.full(bank.SHARD, data["distance"], np.float32)
    joined = jax.tree.map(lambda *rows: np.concatenate(rows), *observed)
    parts.append(Sample(joined, _starts(model, points), *truth, distance))
  return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


@jax.jit
def _observed(
  anchors: anchoring.Anchors,
  weights: network.Weights,
  photos: Array,
  mesh: Float[Array, "n m 2"],
) -> Observed:
  maps = maps_of(weights, photos)
  return jax.vmap(lambda m, x: votes.observe(anchors, m, x, Camera()))(maps, mesh)


def _starts(
  model: MorphableModel, points: Float[np.ndarray, "n 468 2"]
) -> Float[np.ndarray, "n 6"]:
  """Returns poses of the mean head; zero where no face is found."""
  there = np.isfinite(points).all((1, 2))
  pose = np.zeros((len(points), 6), np.float32)
  marks = np.array([standard68(p) for p in points[there]]).reshape(-1, 68, 2)
  mean = mean_landmarks(model.template)
  pose[there] = _pose.solve_poses(mean, marks, Camera(), bank.SIZE)
  return pose


def _mesh_points(
  photos: np.ndarray, cache: pathlib.Path
) -> Float[np.ndarray, "n 468 2"]:
  """Returns FaceMesh's points, px; NaN where no face is found."""
  if cache.exists():
    with np.load(cache, allow_pickle=False) as file:
      return file["landmarks"]
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


def true_numbers(
  anchors: anchoring.Anchors, face: Float[np.ndarray, "n d"], part: Sample
) -> Float[np.ndarray, "n q"]:
  """Returns the numbers that photos should give.

  Args:
    anchors: Anchors on the head.
    face: True components of the faces.
    part: The photos.
  """
  rows = [
    _true(anchors, face[k : k + _CHUNK], part.pose[k : k + _CHUNK], far)
    for k, far in _chunks(part.distance)
  ]
  return np.concatenate(rows)


def _chunks(values: np.ndarray) -> list[tuple[int, np.ndarray]]:
  return [(k, values[k : k + _CHUNK]) for k in range(0, len(values), _CHUNK)]


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
def _true(
  anchors: anchoring.Anchors, face: Array, pose: Array, distance: Array
) -> Array:
  turn = rotation.axis_angle_to_matrix(pose[:3])
  return head_model.numbers(anchors, face, View(turn, pose[3:], jnp.log(distance)))[0]


def told_numbers(
  observed: Observed,
) -> tuple[Float[np.ndarray, "n q"], Float[np.ndarray, "n q"], np.ndarray]:
  """Returns the numbers that photos give, their units, and which are known."""
  unit, known = jax.vmap(head_model.scales)(observed)
  said = jax.vmap(head_model.told)(observed)
  return np.asarray(said), np.asarray(unit), np.asarray(known) > 0
