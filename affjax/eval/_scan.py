"""Distances from a scan to a reconstructed surface, in the manner of NoW and REALY."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from affjax.eval._alignment import align
from affjax.geometry import surface

# The share of nearest pairs that a step of the alignment trusts.
_TRUSTED = 0.9


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
    steps: number of steps.

  Raises:
    ValueError: no points or fewer than three landmarks are given, or values are not
      finite.
  """
  points = np.asarray(points, np.float64)
  moved = np.asarray(vertices, np.float64)
  if not len(points):
    raise ValueError("points of the scan must not be empty")
  for name, values in (("points", points), ("vertices", moved)):
    if not np.isfinite(values).all():
      raise ValueError(f"{name} must be finite")
  if start is not None:
    source, target = (np.asarray(p, np.float64) for p in start)
    if len(source) < 3 or source.shape != target.shape:
      raise ValueError(
        "start must hold three or more landmarks of the mesh and of the scan, got "
        f"shapes {source.shape} and {target.shape}"
      )
    moved = _moved(moved, source, target)
  for _ in range(steps):
    places = _nearest(points, moved, faces)
    gap = np.linalg.norm(places - points, axis=-1)
    near = gap <= np.quantile(gap, _TRUSTED)
    moved = _moved(moved, places[near], points[near])
  distances = 100 * np.linalg.norm(_nearest(points, moved, faces) - points, axis=-1)
  return ScanDistances(distances, moved)


def _moved(vertices: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Vertices after the similarity that takes `source` to `target`."""
  # Centered first: single precision is then exact to a thousandth of a millimeter.
  middle = source.mean(0)
  found = align(
    (source - middle).astype(np.float32),
    (target - middle).astype(np.float32),
    np.ones(len(source), np.float32),
    scaled=True,
  )
  rotation = np.asarray(found.rotation, np.float64)
  scaled = float(found.scale) * (vertices - middle) @ rotation.T
  return scaled + np.asarray(found.translation, np.float64) + middle


def _nearest(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
  triangle, weights = surface.nearest_points(points, vertices, faces)
  return np.einsum("pc,pcx->px", weights, vertices[faces[triangle]])
