"""Clip-space scenes made of what goes wrong in rasterizers."""

import numpy as np

KINDS = ("sizes", "eye", "grid", "centers", "depths", "slivers", "scales", "broken")


def scenes(kind: str, seed: int, *, batch: int, resolution: tuple[int, int]):
  """A batch of scenes of 30 vertices `[B, 30, 4]`, and 40 triangles for all of them.

  Args:
    kind: "sizes": from below a pixel to the whole picture; "eye": through w = 0 and the
      near and far plane; "grid": shared edges; "centers": corners on pixel centers or
      next to them; "depths": copies at one depth; "slivers"; "scales": homogeneous
      coordinates from 1e-30 to 1e30; "broken": NaN, infinite, huge, zero.
    seed: of the random numbers.
    batch: how many scenes.
    resolution: (height, width) of the raster that they are meant for.
  """
  rng = np.random.default_rng([KINDS.index(kind), seed])
  vertices, triangles = 30, 40
  shape = (batch, vertices, 1)
  size = np.exp(rng.uniform(-6, 1, (batch, 1, 1)))
  xy = rng.uniform(-0.7, 0.7, (batch, 1, 2)) + size * rng.normal(size=(*shape[:2], 2))
  z, w = rng.uniform(-0.9, 0.9, shape), np.exp(rng.uniform(-1, 1, shape))
  tri = np.array([rng.choice(vertices, 3, replace=False) for _ in range(triangles)])
  if kind == "eye":
    w, z = rng.normal(size=shape), rng.normal(size=shape)
  if kind in ("grid", "centers"):
    xy, tri = _grid(rng, batch)
  if kind == "centers":
    xy = _near_centers(rng, xy, resolution)
    w = np.where(rng.random((batch, 1, 1)) < 0.5, 1.0, w)
  if kind == "depths":
    z = np.round(z * 2) / 2
    w, tri[20:] = np.ones(shape), tri[:20]
  if kind == "slivers":
    xy = _lines(rng, shape, resolution)
  pos = np.concatenate([xy * w, z * w, w], -1)
  if kind == "scales":
    pos *= 10.0 ** rng.uniform(-30, 30, (batch, vertices, 1))
  pos = pos.astype(np.float32)
  return (_broken(rng, pos, tri) if kind == "broken" else pos), tri.astype(np.int32)


def _grid(rng, batch: int):
  columns, rows = 6, 5
  place = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2)
  xy = (place - [2.5, 2.0]) * rng.uniform(0.02, 0.5, (batch, 1, 2))
  xy = xy + 0.01 * rng.normal(size=xy.shape)
  corners = [r * columns + c for r in range(rows - 1) for c in range(columns - 1)]
  tri = [(a, a + 1, a + columns) for a in corners]
  tri += [(a + 1, a + columns + 1, a + columns) for a in corners]
  return xy, np.array(tri)


def _near_centers(rng, xy, resolution):
  """Each vertex on the nearest pixel center, or up to 1e-6 pixels from it."""
  size = np.array(resolution[::-1])
  xy = (2 * np.round((xy + 1) * size / 2 - 0.5) + 1) / size - 1
  off = rng.choice([0.0, 1e-7, 1e-6], (*xy.shape[:2], 1))
  return xy + off * rng.normal(size=xy.shape) * 2 / size


def _lines(rng, shape, resolution):
  """Vertices on a line through pixel centers, or nearly so."""
  size = np.array(resolution[::-1])
  start = np.floor(rng.uniform(0.3, 0.7, (shape[0], 1, 2)) * size)
  along = rng.integers(-3, 4, (shape[0], 1, 2)) * rng.uniform(-5, 5, shape)
  off = rng.choice([0.0, 1e-7, 1e-6, 1e-3], (shape[0], 1, 1))
  off = off * rng.normal(size=along.shape)
  return (2 * (start + along + off) + 1) / size - 1


def _broken(rng, pos, tri):
  bad = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42, 0, -0.0], np.float32)
  spoil = rng.random(pos.shape) < 0.05
  pos = np.where(spoil, rng.choice(bad, pos.shape), pos)
  out = rng.random(tri.shape) < 0.05
  tri[out] = rng.choice([-1, 30, 2**31 - 1, -(2**31)], out.sum())
  return pos.astype(np.float32)
