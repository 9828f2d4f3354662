"""A morphable model is linear and refuses wrong shapes."""

import dataclasses

import jax
import numpy as np
import pytest

from affjax.heads import open_head, unit_index


@pytest.fixture(scope="module")
def model():
  return open_head("embedded")


def test_zero_coefficients_give_the_mean(model):
  got = model.vertices(np.zeros(3, np.float32), np.zeros(2, np.float32))
  np.testing.assert_array_equal(got, model.template.vertices)


def test_vertices_against_numpy(model):
  rng = np.random.default_rng(0)
  identity = rng.standard_normal((2, 1, len(model.identity_std))).astype(np.float32)
  expression = rng.uniform(size=(1, 3, 52)).astype(np.float32)
  got = jax.jit(lambda i, e: model.vertices(i, e))(identity, expression)
  want = (
    model.template.vertices
    + np.einsum("abk,kvc->abvc", identity, model.identity_basis)
    + np.einsum("abe,evc->abvc", expression, model.expression_basis)
  )
  assert got.shape == (2, 3, *model.template.vertices.shape)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_too_many_coefficients(model):
  with pytest.raises(ValueError, match="identity must hold at most"):
    model.vertices(np.zeros(10_000, np.float32), np.zeros(1, np.float32))


def test_unknown_unit_lists_the_known(model):
  assert model.expression_names[unit_index(model, "jawOpen")] == "jawOpen"
  with pytest.raises(ValueError, match="mouthSmileLeft"):
    unit_index(model, "jawopen")


def test_vertex_std_is_that_of_samples(model):
  rng = np.random.default_rng(1)
  identity = rng.standard_normal((2000, len(model.identity_std)), np.float32)
  some = [0, 100, 2000]
  samples = np.einsum("nk,kvc->nvc", identity, model.identity_basis[:, some])
  std = model.vertex_std(expression_std=0.0)
  np.testing.assert_allclose(samples.std(0), std[some], rtol=0.08, atol=1e-5)


def test_shapes_are_checked(model):
  with pytest.raises(ValueError, match="identity_basis must have shape"):
    dataclasses.replace(model, identity_basis=np.zeros((2, 3, 3), np.float32))
  with pytest.raises(ValueError, match="expression_names must name 52"):
    dataclasses.replace(model, expression_names=("jawOpen",))
