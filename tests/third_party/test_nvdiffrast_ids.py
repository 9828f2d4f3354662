"""Triangle ids of CudaRaster against affjax's, on 1,000 random scenes.

CudaRaster snaps vertices to 1/16 pixel. Where the two disagree, snapping must be able
to explain it: the pixel lies at an edge, or where two surfaces meet. The judge itself
is tried on affjax with vertices snapped. As test_nvdiffrast_parity.py, all runs on the
CPU, and on a GPU where there is one.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from third_party import nvdiffrast_jax

# Half a step along x and y, and room for rounding.
_SNAP = 2**0.5 / 32 + 0.01
_DEPTH = 2e-5
_SCENES = [(24, 24, 8, 250), (64, 48, 40, 250), (128, 128, 300, 250), (96, 256, 9, 250)]


def _scenes(seed, triangles, count):
  """Triangles of all sizes in front of the eye, in part out of the picture."""
  rng = np.random.default_rng(seed)
  center = rng.uniform(-1, 1, (count, triangles, 1, 2))
  size = np.exp(rng.uniform(-4, 0.5, (count, triangles, 1, 1)))
  xy = center + size * rng.normal(size=(count, triangles, 3, 2))
  z = rng.uniform(-0.9, 0.9, (count, triangles, 3, 1))
  w = rng.uniform(0.5, 3, z.shape)
  pos = np.concatenate([xy * w, z * w, w], -1).reshape(count, -1, 4)
  tri = np.arange(3 * triangles, dtype=np.int32).reshape(-1, 3)
  return pos.astype(np.float32), tri


def _px(pos, size):
  """x, y in pixels and z/w of vertices."""
  height, width = size
  ndc = pos[..., :3].astype(np.float64) / pos[..., 3:]
  return ndc * [width / 2, height / 2, 1] + [width / 2 - 0.5, height / 2 - 0.5, 0]


def _to_edges(point, corners):
  """Distance of a point to the nearest of a triangle's edges."""
  a, b = corners[:, :2], np.roll(corners[:, :2], -1, 0)
  along = b - a
  t = np.sum((point - a) * along, -1) / np.maximum(np.sum(along**2, -1), 1e-30)
  nearest = a + np.clip(t, 0, 1)[:, None] * along
  return np.min(np.linalg.norm(point - nearest, axis=-1))


def _depth(point, corners):
  """z/w of a triangle's plane at a point, and how much of it snapping may change."""
  rows = np.concatenate([corners[:, :2], np.ones((3, 1))], 1)
  slope_x, slope_y, shift = np.linalg.lstsq(rows, corners[:, 2], rcond=None)[0]
  steep = np.hypot(slope_x, slope_y)
  return slope_x * point[0] + slope_y * point[1] + shift, steep * _SNAP + _DEPTH


def _unexplained(first, second, pos, tri, size) -> list:
  """Pixels (image, row, column) whose ids differ for no good reason."""
  found = []
  corners = _px(pos, size)[:, tri]
  for image, row, column in np.argwhere(first != second):
    point = np.array([column, row], float)
    shown = [corners[image, i[image, row, column] - 1] for i in (first, second)]
    real = [i[image, row, column] > 0 for i in (first, second)]
    if any(r and _to_edges(point, c) < _SNAP for r, c in zip(real, shown, strict=True)):
      continue
    depths = [_depth(point, c) for r, c in zip(real, shown, strict=True) if r]
    # Near and far plane cut as edges do; beside an empty pixel they are the reason.
    rivals = [d for d, _ in depths] if len(depths) == 2 else [abs(depths[0][0]), 1.0]
    if abs(rivals[0] - rivals[1]) > sum(slack for _, slack in depths):
      found.append((image, row, column))
  return found


def _snapped(pos, size):
  """Vertices moved to the next 1/16 pixel."""
  height, width = size
  half = np.array([width / 2, height / 2])
  xy = np.round(pos[..., :2] / pos[..., 3:] * half * 16) / 16 / half
  return np.concatenate([xy * pos[..., 3:], pos[..., 2:]], -1).astype(np.float32)


def _ids(rast) -> np.ndarray:
  return np.asarray(rast[..., 3]).astype(int)


def test_snapping_explains_what_it_does_and_nothing_else():
  size = (48, 64)
  pos, tri = _scenes(0, 40, 6)
  exact = _ids(render.rasterize(jnp.asarray(pos), tri, size))
  snapped = _ids(render.rasterize(jnp.asarray(_snapped(pos, size)), tri, size))
  assert np.sum(exact != snapped) > 20
  assert not _unexplained(exact, snapped, pos, tri, size)
  moved = pos + np.array([8 / size[1], 0, 0, 0], np.float32) * pos[..., 3:]
  moved = _ids(render.rasterize(jnp.asarray(moved), tri, size))
  assert len(_unexplained(exact, moved, pos, tri, size)) > 100


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "triangles", "count"), _SCENES)
def test_ids_agree_but_for_snapping(device, height, width, triangles, count):
  size, batch = (height, width), 10
  for seed in range(count // batch):
    pos, tri = _scenes(seed, triangles, batch)
    expected = _ids(render.rasterize(jnp.asarray(pos), tri, size))
    got = _ids(nvdiffrast_jax.rasterize(jnp.asarray(pos), tri, size))
    assert np.mean(got != expected) < 0.05
    assert not _unexplained(expected, got, pos, tri, size)


@pytest.mark.slow
def test_triangles_behind_the_eye_are_clipped(device):
  pos, tri = _scenes(1, 30, 20)
  away = np.random.default_rng(2).uniform(-2, 2, pos[..., 3:].shape)
  pos = np.concatenate([pos[..., :3], away], -1).astype(np.float32)
  expected = _ids(render.rasterize(jnp.asarray(pos), tri, (40, 56)))
  got = _ids(nvdiffrast_jax.rasterize(jnp.asarray(pos), tri, (40, 56)))
  assert np.mean(expected > 0) > 0.3
  assert np.mean(got != expected) < 0.03


@pytest.mark.slow
def test_buffers_grow_until_a_scene_fits(device):
  """700 triangles in each of 256 tiles are more than CudaRaster provides for at first.

  Then more images than it passes as arguments, and a small picture again.
  """
  corners = np.array([[-1, -1], [3, -1], [-1, 3]], np.float32)
  depth = np.linspace(0.9, -0.9, 700, dtype=np.float32)
  xy = np.broadcast_to(corners, (700, 3, 2))
  z = np.broadcast_to(depth[:, None, None], (700, 3, 1))
  pos = np.concatenate([xy, z, np.ones_like(z)], -1).reshape(1, -1, 4)
  tri = np.arange(2100, dtype=np.int32).reshape(-1, 3)
  got = _ids(nvdiffrast_jax.rasterize(jnp.asarray(pos), tri, (128, 128)))
  np.testing.assert_array_equal(got, 700)
  many = jnp.asarray(np.repeat(pos, 40, 0))
  got = _ids(nvdiffrast_jax.rasterize(many, tri[:5], (9, 17)))
  np.testing.assert_array_equal(got, 5)
  got = _ids(nvdiffrast_jax.rasterize(many[:2], tri[:3], (1, 1)))
  np.testing.assert_array_equal(got, 3)
