"""The identity basis: principal components of aligned people with equal necks."""

import dataclasses

import numpy as np

from experiments.assets import head_regions
from experiments.assets.head_people import People
from experiments.assets.head_types import HeadMesh


@dataclasses.dataclass(frozen=True, eq=False)
class Identity:
  """Mean and principal components in the aligned frame, base-mesh dm.

  Attributes:
    mean: `[V, 3]`, symmetric.
    basis: `[K, V, 3]`, times the standard deviations, sorted by them; each mode is
      symmetric or antisymmetric under the mirror.
    std: `[K]`, root mean square displacement over the vertices.
  """

  mean: np.ndarray
  basis: np.ndarray
  std: np.ndarray


def identity(
  people: People,
  mesh: HeadMesh,
  base: np.ndarray,
  *,
  count: int,
  symmetric: int,
  asymmetric: int,
  seed: int,
) -> Identity:
  """Samples people and computes their principal components.

  Args:
    people: the prior.
    mesh: the head.
    base: `[V, 3]`, the head of the base mesh, which is the frame of the alignment.
    count: number of people.
    symmetric: number of symmetric modes.
    asymmetric: number of antisymmetric modes.
    seed: seed of the random people.
  """
  rng = np.random.default_rng(seed)
  align = head_regions.alignment_weights(base)
  samples = np.stack(
    [aligned(base + people.draw(rng), base, align) for _ in range(count)]
  ).astype(np.float32)
  samples = head_regions.neck_on_plane(samples, base)
  flipped = samples[:, mesh.mirror] * np.array([-1, 1, 1], np.float32)
  even, odd = (samples + flipped) / 2, (samples - flipped) / 2
  mean = even.mean(0)
  modes = np.concatenate(
    [_components(even - mean, symmetric), _components(odd, asymmetric)]
  )
  std = np.sqrt((modes.astype(np.float64) ** 2).sum(-1).mean(-1))
  order = np.argsort(-std, kind="stable")
  return Identity(mean.astype(np.float64), modes[order], std[order])


def aligned(points: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """The similarity transform of `points` nearest to `target` (Umeyama 1991)."""
  w = (weights / weights.sum())[:, None]
  centre, centre_target = (w * points).sum(0), (w * target).sum(0)
  p, q = points - centre, target - centre_target
  u, s, vt = np.linalg.svd((w * q).T @ p)
  sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
  rotation = (u * sign) @ vt
  scale = (s * sign).sum() / (w * p * p).sum()
  return scale * p @ rotation.T + centre_target


def mixed(basis: np.ndarray, earlier: np.ndarray, used: np.ndarray) -> np.ndarray:
  """The earlier modes as mixtures of modes `[K, V, 3]` that span the same space.

  Args:
    basis: modes.
    earlier: `[K, V, 3]`, modes of an earlier build on another machine, whose signs and
      whose order of nearly equal modes may differ.
    used: bool `[V]`, the vertices at which they should agree.
  """
  rows = [modes[:, used].reshape(len(modes), -1).T for modes in (basis, earlier)]
  mixture, *_ = np.linalg.lstsq(*rows, rcond=None)
  return np.tensordot(mixture.T, basis, 1)


def _components(samples: np.ndarray, number: int) -> np.ndarray:
  """Principal components `[number, V, 3]` times their standard deviations."""
  flat = samples.reshape(len(samples), -1)
  gram = (flat @ flat.T).astype(np.float64) / len(flat)
  values, vectors = np.linalg.eigh(gram)
  chosen = vectors[:, ::-1][:, :number]
  directions = (chosen.T.astype(np.float32) @ flat).astype(np.float64)
  norm = np.linalg.norm(directions, axis=1)
  std = np.sqrt(np.maximum(values[::-1][:number], 0))
  modes = directions / norm[:, None] * std[:, None]
  # The sign of an eigenvector is arbitrary; fix it so that builds agree.
  peak = np.abs(modes).argmax(1)
  modes *= np.sign(modes[np.arange(number), peak])[:, None]
  return modes.reshape(number, *samples.shape[1:])
