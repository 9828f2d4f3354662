"""Tables that follow from a template: computed once, kept with it, mirrored."""

import dataclasses
import gc
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import mesh, mirror, uv
from affjax.heads import open_head
from affjax.types import per_template

HEAD = open_head("embedded").template


def other():
  """The same head as another template."""
  return dataclasses.replace(HEAD, name="other")


def test_results_are_kept_by_template_and_arguments():
  calls = []

  @per_template
  def doubled(template, number, *, plus=0):
    calls.append(number)
    return np.array([2 * number + plus])

  one, two = other(), other()
  assert doubled(one, 3) is doubled(one, 3)
  assert doubled(one, 3, plus=1) == 7
  assert doubled(two, 3) is not doubled(one, 3)
  assert calls == [3, 3, 3]


def test_tables_go_with_their_template():
  template = other()
  table = weakref.ref(uv.uv_table(template, 16))
  mesh.adjacency(template)
  assert table() is not None
  del template
  gc.collect()
  assert table() is None


def test_templates_are_pickled_without_tables():
  template = other()
  uv.uv_table(template, 16)
  again = pickle.loads(pickle.dumps(template))
  assert again.memo == {}
  np.testing.assert_array_equal(again.vertices, template.vertices)


def test_adjacency_is_that_of_the_triangles():
  tables = mesh.adjacency(HEAD)
  np.testing.assert_array_equal(tables.opposite, mesh.opposite_vertices(HEAD.faces))
  np.testing.assert_array_equal(tables.neighbors, mesh.neighbors(HEAD.faces))


def test_landmarks_of_numpy_and_jax_heads_alone_and_in_batches():
  corners = HEAD.vertices[HEAD.faces[HEAD.landmark_faces]]
  expected = np.einsum("lk,lkx->lx", HEAD.landmark_weights, corners)
  plain = HEAD.landmark_positions(HEAD.vertices)
  assert isinstance(plain, np.ndarray)
  np.testing.assert_allclose(plain, expected, atol=1e-6)
  batch = jnp.stack([jnp.asarray(HEAD.vertices)] * 2)
  found = jax.jit(HEAD.landmark_positions)(batch)
  assert found.shape == (2, 68, 3)
  np.testing.assert_allclose(found[1], expected, atol=1e-6)


def test_mirrored_vertices_are_mirror_images():
  twin = mirror.mirror_vertices(HEAD)
  np.testing.assert_allclose(
    HEAD.vertices[twin] * mirror.POINT_SIGNS, HEAD.vertices, atol=1e-4
  )


def squeezed():
  """The head with an asymmetric layout: u is bent."""
  uvs = HEAD.uvs.copy()
  uvs[:, 0] = uvs[:, 0] ** 1.3
  return dataclasses.replace(HEAD, uvs=uvs)


def test_mirrored_texels_flip_the_columns_of_symmetric_layouts():
  values = np.random.default_rng(0).random((32, 32))
  table = mirror.mirror_texels(HEAD, 32)
  np.testing.assert_array_equal(values.reshape(-1)[table], values[:, ::-1])


def test_mirrored_texels_of_other_layouts_show_mirrored_places():
  template, size = squeezed(), 96
  table, twin = uv.uv_table(template, size), mirror.mirror_texels(template, size)
  places = np.asarray(uv.map_from_vertices(template.vertices, table))
  mirrored = places.reshape(-1, 3)[twin] * mirror.POINT_SIGNS
  apart = np.linalg.norm(mirrored - places, axis=-1)[table.inside]
  assert np.median(apart) < 0.03
  assert (twin[~table.support] == np.flatnonzero(~table.support)).all()


def test_asymmetric_layouts_have_no_mirrored_vertices():
  with pytest.raises(ValueError, match="not mirror-symmetric"):
    mirror.mirror_vertices(squeezed())


def test_mirrored_heads_of_any_layout():
  """A symmetric mesh under an asymmetric layout gives the same mirrored head."""
  rng = np.random.default_rng(0)
  bent = HEAD.vertices + rng.normal(0, 0.05, 3).astype(np.float32) * HEAD.vertices**2
  expected = bent[mirror.mirror_vertices(HEAD)] * mirror.POINT_SIGNS
  np.testing.assert_array_equal(mirror.mirror_head(bent, HEAD), expected)
  apart = np.linalg.norm(mirror.mirror_head(bent, squeezed()) - expected, axis=-1)
  assert np.median(apart) < 1e-3
  assert np.quantile(apart, 0.99) < 0.02


def test_maps_are_flipped_by_columns_or_by_texels():
  values = np.random.default_rng(0).random((2, 32, 32, 3)).astype(np.float32)
  columns = mirror.flip_map(values, None)
  np.testing.assert_array_equal(columns, values[:, :, ::-1])
  texels = mirror.mirror_texels(HEAD, 32)
  np.testing.assert_array_equal(mirror.flip_map(values, texels), columns)
