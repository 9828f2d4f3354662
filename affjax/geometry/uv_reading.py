"""Texels and weights by which vertices are read from a UV map.

A map is affine within a triangle and bent at vertices, which lie between texel centers.
A bilinear read blurs both the bends and the map's noise. Kriging gives the best linear
unbiased weights instead, for displacements that are the sum of an affine map of the
template, a smooth bend and an offset of each vertex. A vertex that its neighborhood
determines is then exact. Where the mesh is finer than the texels (eyelid margins, the
inner mouth), a vertex gets a texel of its own.
"""

from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

# Number of texels that kriging reads one uv from.
NEIGHBORS = 16
# A vertex whose weight is below `_SEEN` in every texel gets a texel of its own, at most
# `_FAR` texels away; at most the share `_SHARE` of the map is used for this.
_SEEN, _FAR, _SHARE, _ROUNDS = 0.7, 8.0, 0.02, 4
# Standard deviations of the prior, dm: the offset of each vertex, the smooth bend (with
# its correlation length), the stretch (dimensionless) and the noise of a texel. A
# smaller noise is more exact on true maps and amplifies the noise of predicted ones.
_VERTEX, _BEND, _REACH, _STRETCH, _NOISE = 0.01, 0.02, 0.15, 0.1, 1e-3
_CHUNK = 2048


def bilinear(points: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the four texels around each uv and their weights.

  Args:
    points: float `[U, 2]`, (column, row) of each uv.
    support: bool `[S, S]`, texels with a value; the nearest of them replaces a texel
      without one.

  Returns:
    `(texels [U, 4], weights [U, 4])`, int32 flat indices and float64.
  """
  size = len(support)
  found: Any = ndimage.distance_transform_edt(~support, return_indices=True)
  _, nearest = found
  base = np.clip(np.floor(points), 0, size - 2).astype(int)
  fraction = np.clip(points - base, 0, 1)
  texels, weights = [], []
  for dy in (0, 1):
    for dx in (0, 1):
      column, row = base[:, 0] + dx, base[:, 1] + dy
      near_row, near_column = nearest[:, row, column]
      texels.append(near_row * size + near_column)
      wx = fraction[:, 0] if dx else 1 - fraction[:, 0]
      wy = fraction[:, 1] if dy else 1 - fraction[:, 1]
      weights.append(wx * wy)
  return np.stack(texels, -1).astype(np.int32), np.stack(weights, -1)


def own_texels(
  points: np.ndarray,
  uv_vertex: np.ndarray,
  corners: np.ndarray,
  weights: np.ndarray,
  inside: np.ndarray,
) -> np.ndarray:
  """Assigns the nearest free texel to each vertex that no texel represents.

  Args:
    points: float `[U, 2]`, (column, row) of each uv.
    uv_vertex: int `[U]`, the vertex of each uv.
    corners: int `[S, S, 3]`, vertices of the triangle under each texel.
    weights: float `[S, S, 3]`, their weights.
    inside: bool `[S, S]`, texels that a triangle covers.

  Returns:
    int `[V]`, flat index of the vertex's own texel, or -1.
  """
  size = len(inside)
  own = np.full(max(int(uv_vertex.max()), int(corners.max())) + 1, -1)
  budget = int(_SHARE * inside.sum())
  rows, columns = np.divmod(np.arange(size * size), size)
  tree = KDTree(np.stack([columns, rows], -1))
  near = min(int(np.pi * _FAR**2), size * size)
  free = np.ones(size * size + 1, bool)
  free[-1] = False  # the tree's index for "no neighbor"
  # An assigned texel may have represented another vertex, hence several rounds.
  for _ in range(_ROUNDS):
    shown = inside & free[:-1].reshape(size, size)
    seen = (own >= 0).astype(np.float64)
    np.maximum.at(seen, corners[shown], weights[shown])
    needy = np.flatnonzero(seen[uv_vertex] < _SEEN)
    needy = needy[np.argsort(seen[uv_vertex[needy]], kind="stable")]
    if not len(needy) or not budget:
      break
    nearby: Any = tree.query(points[needy], near, distance_upper_bound=_FAR)
    for vertex, candidates in zip(uv_vertex[needy], nearby[1], strict=True):
      left = candidates[free[candidates]]
      if own[vertex] < 0 and budget and len(left):
        own[vertex] = left[0]
        free[left[0]] = False
        budget -= 1
  return own


def kriging(
  points: np.ndarray,
  uv_vertex: np.ndarray,
  vertices: np.ndarray,
  corners: np.ndarray,
  weights: np.ndarray,
  support: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the texels each uv is read from and their weights, which sum to one.

  Args:
    points: float `[U, 2]`, (column, row) of each uv.
    uv_vertex: int `[U]`, the vertex of each uv.
    vertices: float `[V, 3]`, the template.
    corners: int `[S, S, 3]`, vertices behind each texel.
    weights: float `[S, S, 3]`, their weights.
    support: bool `[S, S]`, texels with a value.

  Returns:
    `(texels [U, K], weights [U, K])`, int32 flat indices and float64.
  """
  size = len(support)
  usable = np.flatnonzero(support)
  count = min(NEIGHBORS, len(usable))
  tree = KDTree(np.stack([usable % size, usable // size], -1))
  found: Any = tree.query(points, count)
  texels = usable[found[1].reshape(-1, count)]
  corners, weights = corners.reshape(-1, 3), weights.reshape(-1, 3).astype(np.float64)
  parts = [
    _weights(
      vertices.astype(np.float64), uv_vertex[part], corners[texels[part]],
      weights[texels[part]],
    )
    for part in np.split(np.arange(len(points)), range(_CHUNK, len(points), _CHUNK))
  ]  # fmt: skip
  return texels.astype(np.int32), np.concatenate(parts)


def _weights(
  vertices: np.ndarray, vertex: np.ndarray, corners: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Weights `[B, K]` for vertices `[B]` and texels with corners `[B, K, 3]`."""
  count = corners.shape[1]
  place = np.einsum("bkcx,bkc->bkx", vertices[corners], weights)
  place -= vertices[vertex][:, None]
  # Covariance between texels, and of each texel with the vertex (which lies at zero).
  shared = np.zeros((len(vertex), count, count))
  for a in range(3):
    for b in range(3):
      same = corners[:, :, None, a] == corners[:, None, :, b]
      shared += same * weights[:, :, None, a] * weights[:, None, :, b]
  own = np.sum((corners == vertex[:, None, None]) * weights, -1)
  apart = np.linalg.norm(place[:, :, None] - place[:, None], axis=-1)
  between = _VERTEX**2 * shared + _smooth(apart)
  between += 1 + _STRETCH**2 * place @ place.transpose(0, 2, 1)
  between += _NOISE**2 * np.eye(count)
  across = _VERTEX**2 * own + _smooth(np.linalg.norm(place, axis=-1)) + 1
  result = np.linalg.solve(between, across[..., None])[..., 0]
  return result / result.sum(-1, keepdims=True)


def _smooth(distance: np.ndarray) -> np.ndarray:
  """Covariance of the smooth part of the displacement (Matérn 3/2)."""
  scaled = distance / _REACH
  return _BEND**2 * (1 + scaled) * np.exp(-scaled)
