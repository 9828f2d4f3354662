"""Rasterize: coverage, depth, weights and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from affjax import render
from tests.reference import rasterizer as reference
from tests.render import scenes

rasterize = jax.jit(render.rasterize, static_argnums=2, static_argnames="backend")


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
  ("pos", "tri", "resolution", "match"),
  [
    (np.zeros((3, 4)), np.zeros((1, 3), int), (4, 4), "pos"),
    (np.zeros((1, 3, 3)), np.zeros((1, 3), int), (4, 4), "pos"),
    (np.zeros((1, 3, 4)), np.zeros((3,), int), (4, 4), "tri"),
    (np.zeros((1, 3, 4)), np.zeros((1, 3)), (4, 4), "integers"),
    (np.zeros((1, 3, 4)), np.array([[0, 1, 3]]), (4, 4), "3"),
    (np.zeros((1, 3, 4)), np.array([[0, 1, -1]]), (4, 4), "-1"),
    (np.zeros((1, 3, 4)), np.array([[0, 1, 2]]), (0, 4), "resolution"),
  ],
)
def test_errors_name_the_argument(pos, tri, resolution, match):
  with pytest.raises(ValueError, match=match):
    render.rasterize(jnp.asarray(pos), tri, resolution)


def test_unknown_backend_lists_the_valid_ones():
  pos, tri = scenes.dyadic_grid(2)
  with pytest.raises(ValueError, match="xla"):
    render.rasterize(jnp.asarray(pos), tri, (4, 4), backend="metal")


def test_known_triangles_are_checked_under_a_trace():
  pos, tri = scenes.dyadic_grid(2)
  for known in (tri, jnp.asarray(tri)):
    jax.jit(lambda p, t=known: render.rasterize(p, t, (4, 4)))(pos)
  wrong = jnp.asarray(tri + 3)
  with pytest.raises(ValueError, match="index"):
    jax.jit(lambda p: render.rasterize(p, wrong, (4, 4)))(pos)


@pytest.mark.parametrize("perspective", [False, True])
def test_agrees_with_the_definition_on_random_scenes(perspective):
  compared = 0
  for seed in range(40):
    pos, tri = scenes.random_scene(seed, perspective=perspective)
    expected, margin = reference.rasterize(pos[0], tri, (16, 20))
    found = np.asarray(rasterize(pos, tri, (16, 20)))[0]
    sure = margin > 1e-5
    compared += sure.sum()
    np.testing.assert_array_equal(found[sure][:, 3], expected[sure][:, 3])
    np.testing.assert_allclose(found[sure][:, :3], expected[sure][:, :3], atol=2e-3)
  assert compared > 0.98 * 40 * 16 * 20


@pytest.mark.parametrize("seed", range(6))
def test_each_pixel_of_a_surface_belongs_to_one_triangle(seed):
  """Exact coordinates, corners and edges on pixel centers: ids must agree exactly."""
  pos, tri = scenes.dyadic_grid(5, seed)
  expected, _ = reference.rasterize(pos[0], tri, (32, 32))
  for order in (np.arange(len(tri)), np.arange(len(tri))[::-1]):
    found = np.asarray(rasterize(pos, tri[order], (32, 32)))[0, ..., 3].astype(int)
    named = np.where(found > 0, order[found - 1] + 1, 0)
    np.testing.assert_array_equal(named, expected[..., 3])


def test_lower_id_wins_a_tie_and_nearer_wins_else():
  pos, tri = scenes.dyadic_grid(2)
  both = np.concatenate([tri, tri])
  ids = np.asarray(rasterize(pos, both, (16, 16)))[0, ..., 3]
  assert set(np.unique(ids)) == {0, 1, 2}
  nearer = np.concatenate([pos, pos - np.array([0, 0, 0.25, 0], np.float32)], 1)
  both = np.concatenate([tri, tri + pos.shape[1]])
  ids = np.asarray(rasterize(nearer, both, (16, 16)))[0, ..., 3]
  assert set(np.unique(ids)) == {0, 3, 4}


def test_sizes_from_below_a_pixel_to_beyond_the_picture():
  tiny = np.array([[0.01, 0.01], [0.04, 0.01], [0.02, 0.05]])
  huge = np.array([[-50, -40], [60, -40], [0, 90.0]])
  xy = np.concatenate([tiny, huge])
  z = np.array([0.0] * 3 + [0.5] * 3)[:, None]
  pos = np.concatenate([xy, z, np.ones((6, 1))], 1)[None].astype(np.float32)
  tri = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
  found = np.asarray(rasterize(pos, tri, (64, 64)))[0]
  expected, _ = reference.rasterize(pos[0], tri, (64, 64))
  np.testing.assert_array_equal(found[..., 3], expected[..., 3])
  assert (found[..., 3] == 1).sum() <= 1
  assert (found[..., 3] == 2).sum() >= 64 * 64 - 1


def test_a_triangle_through_the_eye_shows_only_its_front():
  pos = np.array([[[-1, 0.8, 0.5, 1], [1, 0.8, 0.5, 1], [0, 0.2, -0.5, -1.0]]])
  pos = pos.astype(np.float32)
  tri = np.array([[0, 1, 2]], np.int32)
  found = np.asarray(rasterize(pos, tri, (24, 24)))[0]
  expected, margin = reference.rasterize(pos[0], tri, (24, 24))
  sure = margin > 1e-5
  np.testing.assert_array_equal(found[sure][:, 3], expected[sure][:, 3])
  assert np.isfinite(found).all()
  assert (np.abs(found[..., 2]) <= 1).all()


@pytest.mark.parametrize(
  "bad", [np.nan, np.inf, -np.inf, 3e38], ids=["nan", "inf", "-inf", "huge"]
)
def test_a_broken_triangle_spoils_no_other(bad):
  pos, tri = scenes.dyadic_grid(3)
  clean = np.asarray(rasterize(pos, tri, (16, 16)))
  broken = np.concatenate([pos, np.full((1, 3, 4), bad, np.float32)], 1)
  more = np.concatenate([[[9, 10, 11]], tri]).astype(np.int32)
  found = np.asarray(rasterize(broken, more, (16, 16)))
  assert np.isfinite(found).all()
  shown = found[..., 3] > 1
  np.testing.assert_array_equal(np.where(shown, found[..., 3] - 1, 0), clean[..., 3])


def test_degenerate_and_hidden_triangles_draw_nothing():
  pos = np.array([[[0, 0, 0, 1], [0, 0, 0, 1], [0.5, 0.5, 0, 1], [0.2, 0.2, 0, 1]]])
  tri = np.array([[0, 1, 2], [0, 2, 3], [0, 0, 0]], np.int32)
  assert not np.asarray(rasterize(pos.astype(np.float32), tri, (8, 8))).any()
  behind = scenes.cube()[0] * np.array([1, 1, 1, -1], np.float32)
  assert not np.asarray(rasterize(behind, scenes.cube()[1], (8, 8))).any()


def test_empty_mesh_and_empty_batch():
  assert render.rasterize(
    jnp.zeros((2, 0, 4)), np.zeros((0, 3), int), (3, 5)
  ).shape == (
    2,
    3,
    5,
    4,
  )
  assert render.rasterize(
    jnp.zeros((0, 3, 4)), np.array([[0, 1, 2]]), (3, 5)
  ).shape == (
    0,
    3,
    5,
    4,
  )


def test_gradients_of_the_weights_against_finite_differences():
  with jax.enable_x64(True):
    pos, tri = scenes.cube()
    pos = jnp.asarray(pos, jnp.float64)
    rng = np.random.default_rng(1)
    probe = jnp.asarray(rng.normal(size=(1, 12, 12, 4)))
    mask = np.array([1.0, 1, 0, 0])[None, None, None]
    raster = jax.jit(lambda p: render.rasterize(p, tri, (12, 12)))
    loss = lambda p: jnp.sum(raster(p) * probe * mask)
    gradient = np.asarray(jax.grad(loss)(pos))
    ids = np.asarray(raster(pos))[..., 3]
    for _ in range(6):
      step = 1e-6 * rng.normal(size=pos.shape)
      moved = [np.asarray(raster(pos + s)) for s in (step, -step)]
      assert all((m[..., 3] == ids).all() for m in moved)
      change = float(((moved[0] - moved[1]) * probe * mask).sum()) / 2
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-5)


def test_screen_derivatives_are_differences_of_neighbors():
  pos, tri = scenes.cube(angle=0.3)
  rast, slopes = render.rasterize_with_derivatives(pos, tri, (48, 48))
  rast, slopes = np.asarray(rast)[0], np.asarray(slopes)[0]
  ids = rast[..., 3]
  same = (ids[:, 2:] == ids[:, :-2]) & (ids[:, 2:] == ids[:, 1:-1]) & (ids[:, 2:] > 0)
  central = (rast[:, 2:, :2] - rast[:, :-2, :2]) / 2
  np.testing.assert_allclose(
    slopes[:, 1:-1][..., [0, 2]][same], central[same], atol=4e-3
  )
  same = (ids[2:] == ids[:-2]) & (ids[2:] == ids[1:-1]) & (ids[2:] > 0)
  central = (rast[2:, :, :2] - rast[:-2, :, :2]) / 2
  np.testing.assert_allclose(slopes[1:-1][..., [1, 3]][same], central[same], atol=4e-3)


def test_vmap_and_four_devices_equal_one_batch():
  pos, tri = scenes.random_scene(3, batch=4, triangles=6)
  raster = lambda p: render.rasterize(p, tri, (8, 8))
  together = np.asarray(jax.jit(raster)(pos))
  mapped = jax.jit(jax.vmap(lambda p: raster(p[None])[0]))(pos)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  rows = PartitionSpec("data")
  spread = jax.jit(jax.shard_map(raster, mesh=mesh, in_specs=rows, out_specs=rows))(pos)
  for other in (np.asarray(mapped), np.asarray(spread)):
    np.testing.assert_array_equal(other[..., 3], together[..., 3])
    np.testing.assert_allclose(other, together, atol=1e-5)
