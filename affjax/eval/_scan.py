"""Distances from a scan to a reconstructed surface, in the manner of NoW and REALY."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from affjax.geometry import surface

# The share of nearest pairs that a step of the alignment trusts.
_TRUSTED = 0.9
# Number of triangles that are tested for each point while aligning; the distances are
# measured with more.
_CANDIDATES = 6
# Alignment ends when a step lowers the mean distance by a smaller share than this.
_LEAST_GAIN = 1e-3


class ScanDistances(NamedTuple):
  """Distances of scan points from an aligned surface.

  Attributes:
    distances: distance of each scan point from the nearest place on the surface, mm.
    vertices: the surface's vertices after the alignment, in the scan's space, dm.
  """

  distances: Float[np.ndarray, " p"]
  vertices: Float[np.ndarray, "v 3"]


def scan_distances(
  points: Float[np.ndarray, "p 3"],
  vertices: Float[np.ndarray, "v 3"],
  faces: Int[np.ndarray, "t 3"],
  *,
  start: tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]] | None = None,
  steps: int = 30,
) -> ScanDistances:
  """Returns the distances of a scan's points from a surface after a similarity ICP.

  The surface first moves so that its landmarks meet the scan's (Umeyama), then by
  iterated closest points: each step pairs every scan point with the nearest place on
  the surface and aligns the nearest nine tenths of the pairs.

  Args:
    points: scan points that count, dm (NoW: within a radius of the tip of the nose).
    vertices: the reconstructed mesh, any unit.
    faces: its triangles.
    start: landmarks on the mesh and the same ones on the scan, three or more; without
      them the mesh is taken to lie in place.
    steps: largest number of steps.

  Raises:
    ValueError: no points or fewer than three landmarks are given, or values are not
      finite.
  """
  points = np.asarray(points, np.float64)
  vertices = np.asarray(vertices, np.float64)
  if not len(points):
    raise ValueError("points of the scan must not be empty")
  for name, values in (("points", points), ("vertices", vertices)):
    if not np.isfinite(values).all():
      raise ValueError(f"{name} must be finite")
  found = _Similarity(np.eye(3), 1.0, np.zeros(3))
  if start is not None:
    source, target = (np.asarray(p, np.float64) for p in start)
    if len(source) < 3 or source.shape != target.shape:
      raise ValueError(
        "start must hold three or more landmarks of the mesh and of the scan, got "
        f"shapes {source.shape} and {target.shape}"
      )
    found = _similarity(source, target)
  mesh = surface.Surface(vertices, faces)

  def nearest(candidates: int | None) -> np.ndarray:
    # The points move instead of the mesh, whose search tree is built only once.
    triangle, weights = mesh.nearest(found.back(points), candidates=candidates)
    return np.einsum("pc,pcx->px", weights, mesh.corners[triangle])

  before = np.inf
  for _ in range(steps):
    places = nearest(_CANDIDATES)
    gap = np.linalg.norm(found(places) - points, axis=-1)
    if gap.mean() > (1 - _LEAST_GAIN) * before:
      break
    before = gap.mean()
    near = gap <= np.quantile(gap, _TRUSTED)
    found = _similarity(places[near], points[near])
  distances = 100 * np.linalg.norm(found(nearest(None)) - points, axis=-1)
  return ScanDistances(distances, found(vertices))


class _Similarity(NamedTuple):
  """A similarity transform in double precision."""

  rotation: np.ndarray
  scale: float
  shift: np.ndarray

  def __call__(self, points: np.ndarray) -> np.ndarray:
    return self.scale * points @ self.rotation.T + self.shift

  def back(self, points: np.ndarray) -> np.ndarray:
    return (points - self.shift) @ self.rotation / self.scale


def _similarity(source: np.ndarray, target: np.ndarray) -> _Similarity:
  """Returns the similarity with the least squares of `source` to `target`."""
  from_mean, to_mean = source.mean(0), target.mean(0)
  a, b = source - from_mean, target - to_mean
  turn = Rotation.align_vectors(b, a)[0].as_matrix()
  scale = float(((a @ turn.T) * b).sum() / max((a * a).sum(), 1e-30))
  return _Similarity(turn, scale, to_mean - scale * turn @ from_mean)
