"""Antialias: the blend, its gradients, and what they are good for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.geometry import mesh
from tests.reference import rasterizer as reference
from tests.render import scenes

RESOLUTION = (24, 24)
antialias = jax.jit(render.antialias)
rasterize = jax.jit(render.rasterize, static_argnums=2)
_antialias_the_cube = jax.jit(
  lambda color, rast, pos: render.antialias(color, rast, pos, scenes.cube()[1])
)


def _painted(pos, tri, resolution=RESOLUTION, seed=0):
  """A raster, and a picture with a color for each triangle and one behind."""
  rast = rasterize(pos, tri, resolution)
  colors = np.random.default_rng(seed).uniform(size=(len(tri) + 1, 3))
  picture = jnp.asarray(colors)[rast[..., 3].astype(int)]
  return rast, picture.astype(pos.dtype)


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  pos, tri = scenes.cube()
  rast, color = _painted(pos, tri)
  for bad, match in (
    ((color[:, :5], rast, pos, tri), "color"),
    ((color, rast[..., :3], pos, tri), "rast"),
    ((color, rast, pos[..., :3], tri), "pos"),
    ((color, rast, pos, tri + 1), "tri"),
  ):
    with pytest.raises(ValueError, match=match):
      render.antialias(*bad)
  with pytest.raises(ValueError, match="opposite"):
    render.antialias(color, rast, pos, tri, opposite=np.zeros((2, 3), int))


@pytest.mark.parametrize("angle", [0.2, 0.6, 1.1])
def test_agrees_with_the_definition(angle):
  pos, tri = scenes.cube(angle)
  rast, color = _painted(pos, tri)
  expected = reference.antialias(
    np.asarray(color)[0], np.asarray(rast)[0], pos[0].astype(float), tri
  )
  found = antialias(
    color,
    rast,
    pos,
    tri,
    opposite=mesh.opposite_vertices(tri),
    neighbors=mesh.neighbors(tri),
  )
  np.testing.assert_allclose(found[0], expected, atol=2e-4)
  assert np.abs(np.asarray(found - color)).max() > 0.05
  alone = _antialias_the_cube(color, rast, pos)  # builds the tables itself
  np.testing.assert_allclose(found, alone, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_triangles_below_a_pixel_agree_with_the_definition(seed):
  pos, tri = scenes.bumpy_ball(seed)
  rast, color = _painted(pos, tri, (10, 10), seed)
  expected = reference.antialias(
    np.asarray(color)[0], np.asarray(rast)[0], pos[0].astype(float), tri
  )
  found = np.asarray(antialias(color, rast, pos, tri))[0]
  # Rounding may turn a crossing on a corner or at 45 degrees, in a pixel or two.
  differs = np.abs(found - expected).max(-1) > 1e-3
  assert differs.sum() <= 2
  assert (np.abs(found - np.asarray(color)[0]).max(-1) > 1e-3).sum() > 12


@pytest.mark.parametrize("resolution", [8, 24])
def test_coverage_of_a_fine_ball_is_its_area(resolution):
  """Whatever the size of its triangles in pixels: 1300 of them, down to 8 x 8."""
  pos, tri = scenes.bumpy_ball(0, bumps=0.0, rings=18)
  tables = {"opposite": mesh.opposite_vertices(tri), "neighbors": mesh.neighbors(tri)}

  @jax.jit
  def area(pos):
    rast = render.rasterize(pos, tri, (resolution, resolution))
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    return jnp.sum(render.antialias(mask, rast, pos, tri, **tables))

  unit = resolution / 2
  expected = np.pi * 0.6**2 * unit**2
  np.testing.assert_allclose(area(pos), expected, atol=0.03 * expected)
  # Growing by 1 % grows the area by 2 %.
  scale = jnp.array([1.0, 1, 0, 0])[None, None]
  slope = jnp.sum(jax.grad(area)(jnp.asarray(pos)) * scale * pos)
  np.testing.assert_allclose(slope, 2 * expected, rtol=0.2)


def test_inner_edges_are_left_alone():
  """Only silhouettes are blended: a flat plate of many triangles keeps its inside."""
  pos, tri = scenes.dyadic_grid(4)
  rast, color = _painted(pos, tri)
  opposite = mesh.opposite_vertices(tri)
  found = np.asarray(antialias(color, rast, pos, tri, opposite=opposite))
  covered = np.asarray(rast)[0, ..., 3] > 0
  inside = covered.copy()
  for axis in (0, 1):
    for shift in (-1, 1):
      inside &= np.roll(covered, shift, axis)
  np.testing.assert_allclose(found[0][inside], np.asarray(color)[0][inside], atol=1e-6)


def test_coverage_is_the_area_of_a_moving_plate():
  """The antialiased coverage of an axis-parallel plate is its exact area, in pixels."""
  tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
  corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
  opposite = mesh.opposite_vertices(tri)

  @jax.jit
  def area(shift, scale):
    xy = jnp.asarray(corners, jnp.float32) * scale + shift
    pos = jnp.concatenate([xy, jnp.zeros((4, 1)), jnp.ones((4, 1))], 1)[None]
    rast = render.rasterize(pos, tri, (32, 32))
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    return jnp.sum(render.antialias(mask, rast, pos, tri, opposite=opposite))

  for scale in (0.61, 0.83, 1.07):
    expected = (scale * 16) ** 2
    for shift in (0.0, 0.011, 0.023, 0.049):
      # Corners, where two blends add up in a pixel, are a quarter off at most each.
      assert abs(float(area(shift, scale)) - expected) < 1
  # Each side is 26.6 rows long, of which 26 pass through pixel centers, and moves 16 px
  # a unit.
  slope = jax.grad(area, 1)(0.013, 0.83)
  np.testing.assert_allclose(slope, 2 * 16**2 * 0.83, rtol=1 / 26.6)


def test_gradients_against_finite_differences():
  with jax.enable_x64(True):
    pos, tri = scenes.cube(0.45)
    pos = jnp.asarray(pos, jnp.float64)
    rast, color = _painted(pos, tri)
    rng = np.random.default_rng(5)
    probe = jnp.asarray(rng.normal(size=color.shape))
    opposite = mesh.opposite_vertices(tri)
    loss = jax.jit(
      lambda c, p: jnp.sum(render.antialias(c, rast, p, tri, opposite=opposite) * probe)
    )
    by_color, by_pos = jax.grad(loss, (0, 1))(color, pos)
    assert np.abs(by_pos).max() > 0.1
    assert not np.asarray(by_pos)[..., 2].any()
    for _ in range(4):
      step = 1e-7 * rng.normal(size=pos.shape)
      change = (loss(color, pos + step) - loss(color, pos - step)) / 2
      np.testing.assert_allclose((by_pos * step).sum(), change, rtol=1e-4)
      step = 1e-4 * rng.normal(size=color.shape)
      change = (loss(color + step, pos) - loss(color - step, pos)) / 2
      np.testing.assert_allclose((by_color * step).sum(), change, rtol=1e-6)


@pytest.mark.parametrize("resolution", [(1, 1), (1, 6), (6, 1)])
def test_pictures_of_one_row_or_column(resolution):
  pos, tri = scenes.cube()
  rast, color = _painted(pos, tri, resolution)
  assert antialias(color, rast, pos, tri).shape == color.shape


def test_gradients_stay_finite_where_there_is_nothing():
  pos = jnp.zeros((1, 3, 4))
  tri = np.array([[0, 1, 2]], np.int32)
  white = jnp.ones((1, 4, 4, 1))
  loss = lambda p: jnp.sum(
    render.antialias(white, render.rasterize(p, tri, (4, 4)), p, tri)
  )
  assert np.isfinite(jax.jit(jax.grad(loss))(pos)).all()


@pytest.mark.slow
def test_a_displaced_cube_is_recovered_from_its_silhouette():
  """Translation and scale from the picture alone, which no sampled mask could give."""
  pos, tri = scenes.cube(0.5)
  opposite = mesh.opposite_vertices(tri)

  def silhouette(shift_scale):
    xy = pos[..., :2] * jnp.exp(shift_scale[2])
    xy += shift_scale[None, None, :2] * pos[..., 3:]
    moved = jnp.concatenate([xy, pos[..., 2:]], -1)
    rast = render.rasterize(moved, tri, (48, 48))
    mask = (rast[..., 3:] > 0).astype(jnp.float32)
    return render.antialias(mask, rast, moved, tri, opposite=opposite)

  target = silhouette(jnp.zeros(3))
  slope = jax.jit(jax.grad(lambda p: jnp.mean((silhouette(p) - target) ** 2)))
  guess = jnp.array([0.12, -0.09, 0.15])
  for k in range(300):
    guess = guess - 0.6 * 0.99**k * slope(guess)
  np.testing.assert_allclose(guess, 0, atol=5e-3)
