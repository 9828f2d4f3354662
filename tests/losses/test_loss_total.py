import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import losses
from affjax.losses import LossWeights, Mean, Need


def test_defaults_are_the_papers():
  weights = LossWeights()
  assert weights["image_l1"] == weights["perceptual"] == weights["deviation"] == 1
  assert weights["position_l1"] == 3
  assert weights["variation"] == weights["symmetry"] == 0.3
  assert weights["adversarial_generator"] == 0.01
  assert weights["pose_l1"] == 0


def test_weighs_and_names():
  terms = {
    "position_l1": Mean(jnp.array(6.0), jnp.array(3.0)),
    "symmetry": jnp.ones(()),
  }
  total, values = losses.weighted(terms, LossWeights())
  np.testing.assert_allclose(total, 3 * 2 + 0.3, rtol=1e-6)
  assert values == {"position_l1": 2, "symmetry": 1}
  jitted, _ = jax.jit(losses.weighted, static_argnums=1)(terms, LossWeights())
  np.testing.assert_allclose(jitted, total, rtol=1e-6)


def test_a_mapping_leaves_the_rest_at_zero():
  terms = {"image_l1": jnp.ones(()), "symmetry": jnp.ones(())}
  assert losses.weighted(terms, {"image_l1": 2.0})[0] == 2


def test_a_term_of_weight_zero_adds_nothing_not_even_nan():
  terms = {"image_l1": jnp.ones(()), "symmetry": jnp.array(jnp.nan)}
  total, values = losses.weighted(terms, {"image_l1": 1.0})
  assert total == 1
  assert np.isnan(values["symmetry"])


def test_no_terms_weigh_zero():
  assert losses.weighted({}, LossWeights()) == (0, {})


def test_unknown_names_list_the_valid_ones():
  with pytest.raises(
    ValueError, match=r"unknown loss term 'l1'; .*image_l1, position_l1"
  ):
    losses.weighted({"l1": jnp.ones(())}, LossWeights())
  with pytest.raises(ValueError, match="unknown loss term 'tv'"):
    losses.weighted({}, {"tv": 1.0})
  with pytest.raises(ValueError, match="unknown loss term 'tv'"):
    LossWeights().only("tv")


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_are_finite_and_not_negative(weight):
  with pytest.raises(ValueError, match="weight symmetry must be finite and >= 0"):
    LossWeights(symmetry=weight)


@pytest.mark.usefixtures("unchecked_shapes")
def test_unreduced_terms_raise():
  with pytest.raises(ValueError, match=r"image_l1 must be a scalar, got shape \(2,\)"):
    losses.weighted({"image_l1": jnp.ones(2)}, LossWeights())


def test_only_and_active():
  weights = LossWeights(pose_l1=0.5).only("position_l1", "pose_l1")
  assert weights.active == ("position_l1", "pose_l1")
  found = [weights[name] for name in ("position_l1", "pose_l1", "image_l1")]
  assert found == [3, 0.5, 0]


def test_unknown_weights_are_refused():
  with pytest.raises(ValueError, match=r"term 'tv'; the terms are image_l1"):
    LossWeights(tv=1.0)


def test_weights_are_hashable_and_compare_by_value():
  assert LossWeights() == LossWeights(position_l1=3.0)
  assert hash(LossWeights()) == hash(LossWeights(position_l1=3.0))
  assert LossWeights() != LossWeights(position_l1=2.0)


def test_needs_are_those_of_the_active_terms():
  weights = LossWeights().only("perceptual", "pose_l1")
  assert weights.needs == Need.RENDER | Need.FEATURES
  assert Need.KNOWN_POSE in LossWeights(pose_l1=1.0).needs
  assert LossWeights().only().needs == Need.NOTHING


def test_the_documentation_lists_every_term_with_its_weight():
  page = (pathlib.Path(__file__).parents[2] / "docs" / "losses.md").read_text("utf-8")
  rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d.]+) \|", page, re.M)
  assert {name: float(weight) for name, weight in rows} == dict(LossWeights())
