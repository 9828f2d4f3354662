"""Random heads are bounded and repeatable, and expressions are consistent."""

import numpy as np
import pytest

from affjax.geometry import mesh
from affjax.heads import (
  open_head,
  random_vertices,
  sample_expression,
  sample_identity,
)


@pytest.fixture(scope="module")
def model():
  return open_head("embedded")


@pytest.fixture(scope="module")
def expressions(model):
  drawn = sample_expression(np.random.default_rng(3), model, 2000)
  return dict(zip(model.expression_names, drawn.T, strict=True))


def test_identity_is_bounded_and_repeatable(model):
  a = sample_identity(np.random.default_rng(0), model, 500)
  b = sample_identity(np.random.default_rng(0), model, 500)
  np.testing.assert_array_equal(a, b)
  assert np.abs(a).max() < 2.5
  assert 0.8 < a.std() < 1


def test_spread(model):
  rng = np.random.default_rng(0)
  assert not sample_identity(rng, model, 3, spread=0).any()
  with pytest.raises(ValueError, match="spread"):
    sample_identity(rng, model, 3, spread=-1)


def test_expressions_are_sparse_and_in_range(expressions):
  values = np.stack(list(expressions.values()))
  assert values.min() >= 0
  assert values.max() <= 1
  assert (values > 0.05).sum(0).mean() < 16


def test_sides_move_together(expressions):
  smile = np.stack([expressions["mouthSmileLeft"], expressions["mouthSmileRight"]])
  assert np.corrcoef(smile)[0, 1] > 0.95
  assert not np.allclose(*smile)


def test_an_open_jaw_excludes_closed_lips(expressions):
  jaw = expressions["jawOpen"] > 0.02
  assert jaw.mean() > 0.1
  for name in ("mouthClose", "cheekPuff", "mouthPucker"):
    assert expressions[name][jaw].max() <= 0.1


def test_every_unit_but_mouth_close_occurs(expressions):
  still = {name for name, value in expressions.items() if value.max() < 0.05}
  assert still == {"mouthClose"}


def test_vertices_are_finite(model):
  got = random_vertices(np.random.default_rng(0), model, 3)
  assert got.shape == (3, *model.template.vertices.shape)
  assert np.isfinite(got).all()


def test_random_heads_are_of_human_size(model):
  heads = random_vertices(np.random.default_rng(1), model, 40)
  size = np.ptp(heads, axis=1)
  mean = np.ptp(model.template.vertices, axis=0)
  np.testing.assert_allclose(size, np.broadcast_to(mean, size.shape), rtol=0.25)
  skull = heads[:, model.template.vertices[:, 1].argmax(), 1]
  assert 0.02 < skull.std() < 0.08


def test_the_neck_ends_on_one_plane(model):
  template = model.template
  skin = template.faces[template.face_groups == 0]
  triangle, corner = np.nonzero(mesh.opposite_vertices(skin) < 0)
  border = np.unique(skin[triangle, (corner + 1) % 3])
  ring = template.vertices[border].astype(np.float64)
  _, spread, axes = np.linalg.svd(ring - ring.mean(0), full_matrices=False)
  assert spread[2] < 1e-3 * spread[0]
  heads = random_vertices(np.random.default_rng(2), model, 20)
  height = (heads[:, border] - ring.mean(0)) @ axes[2]
  assert np.abs(height).max() < 5e-3
