"""What the identity space knows of the head: directions, regions, rigid parts."""

import dataclasses

import numpy as np
from scipy import sparse

from experiments.assets import head_regions
from experiments.assets.head_types import (
  EYE,
  LOWER_TEETH,
  SKIN,
  TONGUE,
  UPPER_TEETH,
  HeadMesh,
)

# Radius of the blur of normals, dm.
_BLUR = 0.2
# Within the first distance from an eye's middle, as a share of its radius, the skin
# keeps its distance to the eyeball; beyond the second it is free.
_LID, _FREE = 1.15, 2.2
# Share of the motion along the eyeball that its lids keep.
_ALONG_LIDS = 0.5
# Rounds and random heads of the relaxation; a side may grow or shrink so many times.
_RELAXING, _SAMPLES, _STRETCH = 30, 250, 3.0


@dataclasses.dataclass(frozen=True)
class Region:
  """A bump of the amplitude, on both sides of the mid-plane.

  Attributes:
    center: in base-mesh dm, x >= 0.
    radius: dm.
    amplitude: in its middle, as a multiple of that around it.
  """

  center: tuple[float, float, float]
  radius: float
  amplitude: float


def amplitude(base: np.ndarray, regions: tuple[Region, ...]) -> np.ndarray:
  """Product `[V]` of the regions' bumps."""
  points = np.stack([np.abs(base[:, 0]), base[:, 1], base[:, 2]], -1)
  result = np.ones(len(base))
  for region in regions:
    squared = ((points - region.center) ** 2).sum(1) / region.radius**2
    result *= 1 + (region.amplitude - 1) * np.exp(-squared / 2)
  return result


def vertex_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Area `[V]` of each vertex: a third of its triangles'."""
  area = np.linalg.norm(_crosses(points, faces), axis=1) / 6
  return np.bincount(faces.reshape(-1), np.repeat(area, 3), len(points))


def blurred_normals(points: np.ndarray, mesh: HeadMesh) -> np.ndarray:
  """Unit normals `[V, 3]` of the outer skin, blurred in space."""
  faces = mesh.faces[mesh.parts == SKIN]
  centers, crosses = points[faces].mean(1), _crosses(points, faces)
  result = np.empty_like(points)
  for start in range(0, len(points), 500):
    part = points[start : start + 500]
    squared = (part**2).sum(1)[:, None] - 2 * part @ centers.T + (centers**2).sum(1)
    # A constant in the exponent does not change directions, but keeps them finite.
    squared -= squared.min(1, keepdims=True)
    result[start : start + 500] = np.exp(-squared / (2 * _BLUR**2)) @ crosses
  return result / np.linalg.norm(result, axis=1, keepdims=True)


def with_rigid_parts(
  moves: np.ndarray, points: np.ndarray, mesh: HeadMesh
) -> np.ndarray:
  """Factors `[M, V, 3]` in which eyes, teeth and tongue move as wholes.

  Teeth and tongue follow by affine maps. Around an eye the skin keeps its distance to
  the eyeball, which only shifts.
  """
  moves = moves.copy()
  for parts in ((UPPER_TEETH,), (LOWER_TEETH, TONGUE)):
    used = np.unique(mesh.faces[np.isin(mesh.parts, parts)])
    known = np.concatenate([np.ones((len(used), 1)), points[used]], 1)
    q = np.linalg.qr(known)[0].astype(moves.dtype)
    moves[:, used] = np.einsum("ui,vi,mvx->mux", q, q, moves[:, used], optimize=True)
  eyes = np.unique(mesh.faces[mesh.parts == EYE])
  for side in (1, -1):
    used = eyes[side * points[eyes, 0] > 0]
    middle = (points[used].min(0) + points[used].max(0)) / 2
    radius = np.ptp(points[used, 1]) / 2
    shift = moves[:, used].mean(1, keepdims=True)
    out = points - middle
    distance = np.linalg.norm(out, axis=1)
    out = out / np.maximum(distance, 1e-9)[:, None]
    near = 1 - head_regions.step(distance / radius, _LID, _FREE)
    near = near * (side * points[:, 0] > 0)
    changed = np.flatnonzero(near)
    rest = moves[:, changed] - shift
    radial = np.einsum("mvx,vx->mv", rest, out[changed])[..., None] * out[changed]
    kept = (1 - near[changed])[:, None] * radial
    kept += (1 - (1 - _ALONG_LIDS) * near[changed])[:, None] * (rest - radial)
    moves[:, changed] = shift + kept
    moves[:, used] = shift
  return moves


def relaxed(
  modes: np.ndarray, points: np.ndarray, mesh: HeadMesh, rng: np.random.Generator
) -> np.ndarray:
  """Modes `[K, V, 3]`, smoothed where random heads fold or stretch the skin.

  The tiny triangles at the corners of eyes and mouth fold first: there each vertex
  comes to move with its neighbors. A linear map of the modes, the same on both sides.
  """
  used = ~np.isin(mesh.parts, (EYE, UPPER_TEETH, LOWER_TEETH, TONGUE))
  faces, count = mesh.faces[used], len(points)
  ends = np.concatenate([faces, faces[:, [1, 2, 0]]]).T[:2]
  link = sparse.coo_matrix((np.ones(ends.shape[1]), ends), shape=(count, count))
  link = ((link + link.T) > 0).astype(np.float32).tocsr()
  link = sparse.diags(1 / np.maximum(np.asarray(link.sum(1)).reshape(-1), 1)) @ link
  flat = modes.transpose(1, 0, 2).reshape(count, -1).astype(np.float32)
  for _ in range(_RELAXING):
    now = flat.reshape(count, len(modes), 3)
    weights = rng.standard_normal((_SAMPLES, len(modes))).astype(np.float32)
    bad = np.zeros(len(faces))
    for head in points + np.tensordot(weights, now, (1, 1)):
      bad += folded(head, points, faces) | stretched(head, points, faces)
    rate = np.zeros(count)
    np.maximum.at(rate, faces, np.repeat(bad[:, None], 3, 1))
    rate = np.maximum(rate, rate[mesh.mirror])
    moved = np.flatnonzero(rate)
    if not len(moved):
      break
    flat[moved] = (flat[moved] + (link @ flat)[moved]) / 2
  return flat.reshape(count, -1, 3).transpose(1, 0, 2).astype(np.float64)


def folded(head: np.ndarray, mean: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles turned by more than a right angle from the mean head's."""
  return (_crosses(head, faces) * _crosses(mean, faces)).sum(1) <= 0


def stretched(head: np.ndarray, mean: np.ndarray, faces: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles with a side more than three times as long, or short."""
  edges = lambda p: np.linalg.norm(p[faces] - p[np.roll(faces, 1, 1)], axis=-1)
  ratio = edges(head) / np.maximum(edges(mean), 1e-12)
  return (ratio > _STRETCH).any(1) | (ratio < 1 / _STRETCH).any(1)


def _crosses(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
  a, b, c = (points[faces[:, k]] for k in range(3))
  return np.cross(b - a, c - a)
