"""Heads survive position maps that are far too small for their mesh."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import uv
from affjax.heads import open_head


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_template_comes_back_exactly(size):
  template = open_head("embedded").template
  table = uv.uv_table(template, size)
  position = uv.map_from_vertices(jnp.asarray(template.vertices), table)
  # No extrapolated texel leaves the head.
  low, high = template.vertices.min(0), template.vertices.max(0)
  inside = np.asarray(position)[table.support]
  assert (inside >= low - 1e-3).all()
  assert (inside <= high + 1e-3).all()
  vertices = uv.vertices_from_map(position, table)
  np.testing.assert_allclose(vertices, template.vertices, atol=1e-5)


def test_other_heads_lose_little():
  model = open_head("embedded")
  generator = np.random.default_rng(0)
  identity = generator.normal(size=(4, len(model.identity_std))).astype(np.float32)
  expression = np.zeros((4, len(model.expression_names)), np.float32)
  vertices = model.vertices(jnp.asarray(identity), jnp.asarray(expression))
  table = uv.uv_table(model.template, 64)
  back = uv.vertices_from_map(uv.map_from_vertices(vertices, table), table)
  error = np.linalg.norm(np.asarray(back - vertices), axis=-1)
  assert np.median(error) < 0.005
  assert np.percentile(error, 99.9) < 0.15
