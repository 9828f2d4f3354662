"""The identity and expression of a given head."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.heads import (
  explain_vertices,
  open_head,
  sample_expression,
  sample_identity,
)


def test_expressions_are_found_and_taken_away():
  """The neutral head that results is far nearer to the true one than the given."""
  model, rng = open_head("embedded"), np.random.default_rng(0)
  identity = sample_identity(rng, model, 12)
  expression = sample_expression(rng, model, 12)
  heads = np.asarray(model.vertices(jnp.asarray(identity), jnp.asarray(expression)))
  before, after = [], []
  for vertices, true in zip(heads, expression, strict=True):
    _, found = explain_vertices(model, vertices)
    assert found.min() >= 0
    assert found.max() <= 1
    off = np.tensordot(found - true, model.expression_basis, 1)
    after.append(np.linalg.norm(off, axis=-1).mean())
    moved = np.tensordot(true, model.expression_basis, 1)
    before.append(np.linalg.norm(moved, axis=-1).mean())
  assert np.mean(after) < 0.3 * np.mean(before)


def test_the_mean_head_has_no_expression():
  model = open_head("embedded")
  identity, expression = explain_vertices(model, model.template.vertices)
  np.testing.assert_allclose(identity, 0, atol=1e-3)
  np.testing.assert_allclose(expression, 0, atol=1e-3)


@pytest.mark.usefixtures("unchecked_shapes")
def test_other_vertices_are_refused():
  model = open_head("embedded")
  with pytest.raises(ValueError, match="vertices must be finite"):
    explain_vertices(model, model.template.vertices * np.nan)
  with pytest.raises(ValueError, match="vertices must be finite"):
    explain_vertices(model, model.template.vertices[1:])
