"""Adjacency of traced triangles, and antialiasing while the topology changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.geometry import mesh
from affjax.render import _topology
from tests.render import scenes

adjacency = jax.jit(_topology.adjacency)


def _soup(seed):
  """Triangles of few vertices: edges of one, two and more triangles, and of none."""
  return np.random.default_rng(seed).integers(0, 9, (14, 3)).astype(np.int32)


@pytest.mark.parametrize(
  "tri",
  [
    scenes.cube()[1],
    scenes.dyadic_grid(4)[1],
    scenes.bumpy_ball(0)[1],
    _soup(0),
    _soup(1),
    np.zeros((1, 3), np.int32),
  ],
  ids=["cube", "grid", "ball", "soup", "soup2", "point"],
)
def test_agrees_with_the_tables_of_the_mesh(tri):
  opposite, neighbors = adjacency(jnp.asarray(tri))
  np.testing.assert_array_equal(opposite, mesh.opposite_vertices(tri))
  np.testing.assert_array_equal(neighbors, mesh.neighbors(tri))


def test_antialias_takes_triangles_that_are_traced():
  """One program for any triangles of that number: two meshes, compiled once."""
  resolution = (16, 16)

  @jax.jit
  def smooth(pos, tri):
    rast = render.rasterize(pos, tri, resolution)
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    return render.antialias(mask, rast, pos, tri)

  @jax.jit
  def expected(pos, tri, opposite, neighbors):
    rast = render.rasterize(pos, tri, resolution)
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    tables = {"opposite": opposite, "neighbors": neighbors}
    return render.antialias(mask, rast, pos, tri, **tables)

  pos, tri = scenes.cube()
  rng = np.random.default_rng(0)
  for k in range(3):
    shown = tri if k == 0 else np.concatenate([tri[k:], rng.permutation(tri)[:k]])
    want = expected(pos, shown, mesh.opposite_vertices(shown), mesh.neighbors(shown))
    np.testing.assert_allclose(smooth(pos, shown), want, atol=1e-5)
