"""Closes the lips of the mean head, and lets every identity mode keep them closed.

MakeHuman's lips stay apart by half a millimeter near their corners, and its targets and
the Gaussian process move them apart by more, so that teeth show through the mouth at
rest. Here the lips of the mean head meet along one line, and around this line a mode
moves both lips alike: their distance is then the same in all people.
"""

import dataclasses

import numpy as np
from scipy import ndimage, sparse, spatial

from experiments.assets import head_regions
from experiments.assets.head_identity import Identity
from experiments.assets.head_types import MOUTH, SKIN, HeadMesh

# Where the lips meet, in base-mesh dm: half of the width, range of y, and least z.
_WIDTH, _HEIGHTS, _FRONT = 0.24, (6.58, 6.65), 1.3
# Places along half of the line and across it, and the rounds of closing.
_ALONG, _ACROSS, _ROUNDS = 60, 80, 8
# Cells across by which the line may move from one place to the next, and the distance
# of the lips, dm, at which it ends.
_STEP, _APART = 3, 0.015
# The lips press into each other by so much, dm.
_PRESSED = 0.0015
# Distances from the line, dm, up to which a vertex belongs to it, and is free.
_NEAR, _FREE = 0.03, 0.09
# Rounds of spreading a move to neighbors.
_SPREADING = 3
# Height of a unit normal from which a vertex wholly belongs to one lip.
_FACING = 0.3
# Width, dm, of the averages along the line.
_SMOOTH = 0.02


def closed(
  identity: Identity, mesh: HeadMesh, base: np.ndarray
) -> tuple[Identity, np.ndarray]:
  """Returns the identity space whose heads have closed lips.

  Also returns the vertices, bool `[V]`, whose modes are as before.

  Args:
    identity: mean and modes.
    mesh: the head.
    base: `[V, 3]`, the head of the base mesh, where the lips are found.
  """
  mean = identity.mean.copy()
  faces = mesh.faces[_lip_faces(mesh, base)]
  for _ in range(_ROUNDS):
    line, gap = _line(mean, faces)
    share, side = _around(mean, mesh, line)
    amount = ndimage.gaussian_filter1d(gap + _PRESSED, 2, mode="nearest")
    amount = np.interp(np.abs(mean[:, 0]), line[:, 0], amount)
    mean[:, 1] += _smooth(share * side * amount / 2, mesh)
  share, side = _around(mean, mesh, _line(mean, faces)[0])
  together = _together(mean, share, side)
  flat = identity.basis.transpose(1, 0, 2).reshape(len(mean), -1)
  modes = (together @ flat).reshape(len(mean), -1, 3).transpose(1, 0, 2)
  return dataclasses.replace(identity, mean=mean, basis=modes), share == 0


def _smooth(values: np.ndarray, mesh: HeadMesh) -> np.ndarray:
  """Means of `[V]` over neighbors, repeated."""
  ends = np.concatenate([mesh.faces, mesh.faces[:, [1, 2, 0]]]).T[:2]
  link = sparse.coo_matrix((np.ones(ends.shape[1]), ends), shape=(len(values),) * 2)
  link = ((link + link.T) > 0).astype(np.float64) + sparse.identity(len(values))
  count = np.asarray(link.sum(1)).reshape(-1)
  for _ in range(_SPREADING):
    values = link @ values / count
  return values


def _lip_faces(mesh: HeadMesh, base: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles of skin and mouth near the line."""
  x, y, z = base[mesh.faces].mean(1).T
  low, high = _HEIGHTS
  here = (np.abs(x) < _WIDTH) & (y > low) & (y < high) & (z > _FRONT)
  return here & np.isin(mesh.parts, (SKIN, MOUTH))


def _line(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Points `[P, 3]` with x >= 0 where the lips are nearest, and their distances.

  Lines along y cut the upper lip, which looks down, and the lower lip, which looks up.
  """
  corners = points[faces]
  low, high = points[faces].reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
  x, z = np.linspace(0, high[0], _ALONG), np.linspace(low[2], high[2], _ACROSS)
  place = np.stack(np.meshgrid(x, z, indexing="ij"), -1)
  height, looks = _cuts(corners, place.reshape(-1, 2))
  # `fmin` and `fmax` pass over NaN.
  upper = np.fmin.reduce(np.where(looks < 0, height, np.inf), 1).reshape(len(x), -1)
  lower = np.fmax.reduce(np.where(looks > 0, height, -np.inf), 1).reshape(len(x), -1)
  gap = upper - lower
  # From the middle to the corner, without a jump.
  at = [int(gap[0].argmin())]
  for row in gap[1:]:
    start = max(at[-1] - _STEP, 0)
    nearest = start + int(row[start : at[-1] + _STEP + 1].argmin())
    if not row[nearest] < _APART:
      break
    at.append(nearest)
  rows = np.arange(len(at))
  middle = (upper[rows, at] + lower[rows, at]) / 2
  depth = ndimage.gaussian_filter1d(z[at], 2, mode="nearest")
  return np.stack([x[rows], middle, depth], -1), gap[rows, at]


def _cuts(corners: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Heights `[P, T]` at which triangles lie over places (x, z), NaN elsewhere.

  Also returns the sign `[T]` of the height of their normals.
  """
  flat = corners[..., [0, 2]]
  edge = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], -1)
  area = np.linalg.det(edge)
  kept = np.abs(area) > 1e-12
  inverse = np.linalg.inv(edge[kept])
  at = np.einsum("tij,ptj->pti", inverse, place[:, None] - flat[kept, 0])
  weights = np.concatenate([1 - at.sum(-1, keepdims=True), at], -1)
  height = np.einsum("pti,ti->pt", weights, corners[kept, :, 1])
  # The normal's y is that of (z, x), which is minus the area in (x, z).
  looks = -np.sign(area[kept])
  return np.where(weights.min(-1) < -1e-9, np.nan, height), looks


def _around(
  points: np.ndarray, mesh: HeadMesh, line: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """How much `[V]` a vertex belongs to the line, and to the lower lip (1) or upper."""
  both = np.concatenate([line, line * [-1, 1, 1]])
  distance = spatial.KDTree(both).query(points)[0]
  skin = np.isin(mesh.parts, (SKIN, MOUTH))
  used = np.zeros(len(points))
  used[mesh.faces[skin]] = 1
  share = used * (1 - head_regions.step(distance, _NEAR, _FREE))
  a, b, c = (points[mesh.faces[skin][:, k]] for k in range(3))
  normal = np.zeros_like(points)
  np.add.at(normal, mesh.faces[skin], np.cross(b - a, c - a)[:, None])
  looks = normal[:, 1] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
  return share, np.clip(looks / _FACING, -1, 1)


def _together(
  points: np.ndarray, share: np.ndarray, side: np.ndarray
) -> sparse.csr_matrix:
  """The sparse matrix `[V, V]` that lets both lips move alike around their line."""
  near = np.flatnonzero(share)
  away = (points[near, 0][:, None] - points[near, 0]) / _SMOOTH
  kernel = np.exp(-(away**2) / 2) * share[near]
  means = np.zeros_like(kernel)
  for lip in (np.maximum(side[near], 0), np.maximum(-side[near], 0)):
    means += kernel * lip / (kernel * lip).sum(1, keepdims=True) / 2
  means = share[near][:, None] * (means - np.eye(len(near)))
  rows, columns = np.meshgrid(near, near, indexing="ij")
  size = len(points)
  change = sparse.csr_matrix(
    (means.reshape(-1), (rows.reshape(-1), columns.reshape(-1))), shape=(size, size)
  )
  return sparse.csr_matrix(sparse.identity(size) + change)
