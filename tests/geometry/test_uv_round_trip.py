"""Conversion of vertices to UV maps and back, on a small globe with a seam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import uv
from affjax.heads import open_head
from affjax.types import Template


def _globe(rows=12, columns=16) -> Template:
  """A sphere whose UVs are longitude and latitude; its seam lies at the back."""
  theta = np.linspace(0.1, np.pi - 0.1, rows + 1)
  phi = np.linspace(-np.pi, np.pi, columns + 1)
  place = np.stack(np.meshgrid(theta, phi, indexing="ij"), -1).reshape(-1, 2)
  uvs = np.stack([0.5 + 0.45 * place[:, 1] / np.pi, 1 - place[:, 0] / np.pi], -1)
  faces_uv = []
  for r in range(rows):
    for c in range(columns):
      a, b = r * (columns + 1) + c, (r + 1) * (columns + 1) + c
      faces_uv += [(a, b, b + 1), (a, b + 1, a + 1)]
  faces_uv = np.array(faces_uv, np.int32)
  # Welded: the last column of UVs is the first column of vertices.
  row, column = np.divmod(np.arange(len(uvs)), columns + 1)
  vertex = (row * columns + column % columns).astype(np.int32)
  keep = column < columns
  sine = np.sin(place[keep, 0])
  points = np.stack(
    [
      sine * np.sin(place[keep, 1]),
      np.cos(place[keep, 0]),
      sine * np.cos(place[keep, 1]),
    ],
    -1,
  )
  return Template(
    name="globe",
    vertices=points.astype(np.float32),
    faces=vertex[faces_uv],
    uvs=uvs.astype(np.float32),
    faces_uv=faces_uv,
    face_groups=(np.arange(len(faces_uv)) < columns).astype(np.int32),
    group_names=("rest", "top"),
    masks={},
    landmark_faces=np.zeros(0, np.int32),
    landmark_weights=np.zeros((0, 3), np.float32),
  )


GLOBE = _globe()


def test_the_template_comes_back_exactly():
  table = uv.uv_table(GLOBE, 64)
  position = uv.map_from_vertices(jnp.asarray(GLOBE.vertices), table)
  back = uv.vertices_from_map(position, table)
  np.testing.assert_allclose(back, GLOBE.vertices, atol=1e-5)


def test_another_shape_comes_back_nearly_and_on_both_sides_of_the_seam():
  table = uv.uv_table(GLOBE, 128)
  shape = GLOBE.vertices * np.array([1.2, 0.9, 1.1], np.float32) + 0.3
  back = uv.vertices_from_map(uv.map_from_vertices(jnp.asarray(shape), table), table)
  np.testing.assert_allclose(back, shape, atol=0.01)


@pytest.mark.parametrize("reading", uv.READINGS)
def test_either_reading_returns_the_template_and_moves_with_it(reading):
  table = uv.uv_table(GLOBE, 64, reading)
  for shape in (GLOBE.vertices, GLOBE.vertices + np.array([0.1, -2, 0.3], np.float32)):
    position = uv.map_from_vertices(jnp.asarray(shape), table)
    back = uv.vertices_from_map(position, table)
    np.testing.assert_allclose(back, shape, atol=2e-5)


def test_the_exact_reading_is_exact_and_the_smooth_one_smooth():
  """A 512² map of heads with expressions meets its error bounds, seams included."""
  model = open_head("embedded")
  generator = np.random.default_rng(0)
  identity = generator.normal(size=(8, len(model.identity_std))).astype(np.float32)
  smile = generator.uniform(0, 0.3, (8, len(model.expression_names)))
  heads = model.vertices(jnp.asarray(identity), jnp.asarray(smile, "f4"))
  error, noise = {}, {}
  for reading in uv.READINGS:
    table = uv.uv_table(model.template, 512, reading)
    back = uv.vertices_from_map(uv.map_from_vertices(heads, table), table)
    error[reading] = 100 * np.linalg.norm(np.asarray(back - heads), axis=-1)
    shaken = jnp.asarray(generator.normal(size=(512, 512, 3)), jnp.float32)
    noise[reading] = np.std(uv.vertices_from_map(shaken, table) - table.detail)
  assert np.median(error["exact"]) < 0.01
  assert np.percentile(error["exact"], 99.9) < 0.3
  exact = uv.uv_table(model.template, 512, "exact")
  index, count = np.unique(exact.uv_vertex, return_counts=True)
  assert error["exact"][:, index[count > 1]].max() < 0.3
  assert np.median(error["smooth"]) > 2 * np.median(error["exact"])
  assert noise["smooth"] < 0.75 < noise["exact"] < 1


def test_texels_hold_what_the_convention_says():
  """Row 0 lies at v = 1, columns grow with u, and centers are half a texel in."""
  size = 64
  table = uv.uv_table(GLOBE, size)
  position = np.asarray(uv.map_from_vertices(jnp.asarray(GLOBE.vertices), table))
  row, column = np.nonzero(table.inside)
  u, v = (column + 0.5) / size, 1 - (row + 0.5) / size
  theta, phi = np.pi * (1 - v), (u - 0.5) / 0.45 * np.pi
  expected = np.stack(
    [np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], -1
  )
  # Chords of 22 by 15 degrees lie up to 0.03 inside the sphere.
  np.testing.assert_allclose(position[row, column], expected, atol=0.03)
  assert position[: size // 4, size // 2, 1].max() > 0.8  # the top of the head is up
  assert not position[~table.support].any()


def test_groups_and_support():
  table = uv.uv_table(GLOBE, 64)
  assert (table.groups[~table.support] == -1).all()
  first, last = np.nonzero((table.groups == 1).any(1))[0][[0, -1]]
  assert first < last < 12  # the first ring, at the top
  assert (table.support & ~table.inside).any()
  np.testing.assert_allclose(table.weights[table.support].sum(-1), 1, atol=1e-5)


def test_batches_equal_single_maps_and_gradients_flow():
  table = uv.uv_table(GLOBE, 32)
  generator = np.random.default_rng(0)
  shapes = GLOBE.vertices + generator.normal(size=(3, *GLOBE.vertices.shape)) * 0.1
  shapes = jnp.asarray(shapes, jnp.float32)
  maps = uv.map_from_vertices(shapes, table)
  singly = jnp.stack([uv.map_from_vertices(s, table) for s in shapes])
  np.testing.assert_allclose(maps, singly, atol=1e-6)
  np.testing.assert_allclose(
    uv.vertices_from_map(maps, table),
    jnp.stack([uv.vertices_from_map(m, table) for m in maps]),
    atol=1e-6,
  )
  # Reading is affine: its gradient is the weights, which sum to one for each vertex.
  gradient = jax.grad(lambda m: jnp.sum(uv.vertices_from_map(m, table)))(maps[0])
  np.testing.assert_allclose(gradient.sum((0, 1)), len(GLOBE.vertices), rtol=1e-4)


def test_a_table_is_built_once_and_tiny_maps_are_refused():
  assert uv.uv_table(GLOBE, 32) is uv.uv_table(GLOBE, 32)
  assert uv.uv_table(GLOBE, 32, reading="smooth") is uv.uv_table(GLOBE, 32)
  with pytest.raises(ValueError, match="size"):
    uv.uv_table(GLOBE, 3)
  with pytest.raises(ValueError, match="reading must be one of"):
    uv.uv_table(GLOBE, 32, "bicubic")


@pytest.mark.parametrize("size", [8, 16, 24, 48])
def test_masks_keep_their_mean_when_resized(size):
  mask = np.zeros((48, 48), np.float32)
  mask[12:36, 6:42] = 1
  small = uv.resize_mask(mask, size)
  assert small.shape == (size, size)
  assert small.dtype == np.float32
  np.testing.assert_allclose(small.mean(), mask.mean(), atol=0.02)
