"""What photos of the bank say about the anchors, and what is true of them."""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.faces import _geometry_network as network
from affjax.faces import _pose, find_in_all
from affjax.faces._dense_fit import anchors as anchoring
from affjax.faces._dense_fit import head_model, reading
from affjax.faces._dense_fit.reading import Maps, Observed
from affjax.types import Camera
from experiments.geometry import bank, train

# Photos whose face is found farther than this from the middle (px) are not used.
_NEAR = 50
_CHUNK = 16


class Sample(NamedTuple):
  """Photos, what they say and what is true: arrays of N photos."""

  observed: Observed
  mesh68: Float[np.ndarray, "n 68 2"]
  identity: Float[np.ndarray, "n k"]
  expression: Float[np.ndarray, "n e"]
  pose: Float[np.ndarray, "n 6"]
  distance: Float[np.ndarray, " n"]


def sample(
  anchors: anchoring.Anchors,
  folder: pathlib.Path,
  split: str,
  shards: range,
  weights: network.Weights | None,
  cache: pathlib.Path | None = None,
) -> Sample:
  """Reads photos of a bank; without weights from the exact maps."""
  parts = [
    _shard(anchors, folder, split, k, weights, cache)
    for k in shards
    if bank.path(folder, split, k).exists()
  ]
  return jax.tree.map(lambda *rows: np.concatenate(rows), *parts)


def _shard(anchors, folder, split, index, weights, cache) -> Sample:
  with np.load(bank.path(folder, split, index), allow_pickle=False) as file:
    data = {name: file[name] for name in file.files}
  points = _mesh(data["photo"], cache and cache / f"{split}-{index:05d}.npz")
  ndc = _pose.ndc_of_px(points.astype(np.float32), bank.SIZE)
  mesh = ndc[:, :: anchoring.MESH_STEP]
  distance = np.full(len(mesh), data["distance"], np.float32)
  batch = train.Batch(
    *(data[name] for name in ("photo", "skin", "identity", "expression", "pose")),
    distance,
  )
  observed = []
  for first in range(0, len(mesh), _CHUNK):
    part = jax.tree.map(lambda x, f=first: x[f : f + _CHUNK], batch)
    maps = exact_maps(part) if weights is None else network_maps(weights, part.photo)
    observed.append(_read(anchors, maps, mesh[first : first + _CHUNK]))
  observed = jax.tree.map(lambda *rows: np.concatenate(rows), *observed)
  from affjax.faces import standard68

  marks = np.stack([standard68(p) for p in points])
  return Sample(observed, marks, batch.identity, batch.expression, batch.pose, distance)


@jax.jit
def _read(anchors, maps: Maps, mesh: Float[Array, "n m 2"]) -> Observed:
  return jax.vmap(lambda m, x: reading.read(anchors, m, x, Camera()))(maps, mesh)


@jax.jit
def network_maps(weights: network.Weights, photo: Array) -> Maps:
  """Returns what the network says of photos."""
  out = network.outputs(weights, photo.astype(jnp.float32) / 255)
  q = out.points.shape[1]
  skin = jax.nn.sigmoid(out.skin).reshape(-1, q, 2, q, 2, 1).mean((2, 4))
  deviations = jnp.exp(out.log_deviations) * jnp.array([network.UNIT, 1.0])
  return Maps(out.points * network.UNIT, out.normals, deviations, skin)


def exact_maps(batch: train.Batch) -> Maps:
  """Returns what a perfect network would say."""
  true = _truth(batch)
  q = true.points.shape[1]
  skin = true.skin.reshape(-1, q, 2, q, 2, 1).mean((2, 4)) * (true.weight > 0.15)
  deviations = jnp.broadcast_to(jnp.array([0.005, 0.1]), (*skin.shape[:3], 2))
  return Maps(true.points * network.UNIT, true.normals, deviations, skin)


@jax.jit
def _truth(batch: train.Batch) -> train.Truth:
  head, faces = train._head()
  return train.truth(head, faces, batch)


def _mesh(photos: np.ndarray, cache: pathlib.Path | None) -> np.ndarray:
  """Returns FaceMesh's points, px; NaN where no face is found."""
  if cache and cache.exists():
    with np.load(cache, allow_pickle=False) as file:
      return file["landmarks"][..., :2]
  points = np.full((len(photos), 468, 2), np.nan, np.float32)
  middle = (photos.shape[1] - 1) / 2
  for k, found in enumerate(find_in_all(list(photos))):
    near = [
      f for f in found if np.abs((f.box[:2] + f.box[2:]) / 2 - middle).max() < _NEAR
    ]
    if near:
      points[k] = near[0].landmarks[:, :2]
  return points


@jax.jit
def numbers(anchors, identity, expression, pose, distance):
  """Returns the true numbers `[N, Q]` of photos, in the order of `Errors`."""
  from affjax.geometry import rotation

  def one(identity, expression, pose, distance):
    local = head_model.Local(
      rotation.axis_angle_to_matrix(pose[:3]), pose[3:], jnp.log(distance), expression,
      jnp.zeros(0),
    )  # fmt: skip
    values = jnp.concatenate([identity, expression])
    place, _ = head_model._seen(anchors.points, anchors.modes, values, local, distance)
    normal, _ = head_model._normals(anchors, values, local)
    mesh, _ = head_model._seen(
      anchors.mesh, anchors.mesh_modes, values, local, distance
    )
    return jnp.concatenate([place, normal, mesh]).reshape(-1)

  return jax.vmap(one)(identity, expression, pose, distance)
