"""Adam, its schedules, and slow predictors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.train import optimizers
from affjax.train.optimizers import Adam


def _walk(tool, params, gradient, steps):
  """Sizes of the changes of each leaf over some steps of one constant gradient."""
  held = tool.init(params)
  sizes = []
  for _ in range(steps):
    change, held = tool.update(gradient, held, params)
    sizes.append(jax.tree.map(lambda leaf: float(jnp.abs(leaf).max()), change))
  return sizes


def _make(*, total_steps=100, slow_networks=(), **options):
  """The optimizer without clipping, unless the options say otherwise."""
  options = Adam(**{"clip_norm": 0.0, **options})
  return optimizers.make(options, total_steps=total_steps, slow_networks=slow_networks)


PARAMS = {
  "position": {"affine": {"kernel": jnp.ones(2), "predictor": {"kernel": jnp.ones(2)}}},
  "pose": {"affine": {"predictor": {"kernel": jnp.ones(2)}}},
}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def test_first_step_of_adam_is_the_learning_rate():
  (sizes,) = _walk(_make(learning_rate=0.1), PARAMS, ONES, 1)
  np.testing.assert_allclose(jax.tree.leaves(sizes), 0.1, rtol=1e-5)


def test_only_predictors_of_the_named_networks_are_slow():
  tool = _make(learning_rate=0.1, slow_networks=("position",))
  (sizes,) = _walk(tool, PARAMS, ONES, 1)
  affine = sizes["position"]["affine"]
  assert affine["predictor"]["kernel"] == pytest.approx(0.01, rel=1e-5)
  assert affine["kernel"] == pytest.approx(0.1, rel=1e-5)
  other = sizes["pose"]["affine"]["predictor"]["kernel"]
  assert other == pytest.approx(0.1, rel=1e-5)


def test_weights_decay_as_in_pytorch_except_those_of_predictors():
  """Without a gradient, Adam's first step follows the sign of the decay."""
  tool = _make(learning_rate=0.1, weight_decay=5e-4)
  nothing = jax.tree.map(jnp.zeros_like, PARAMS)
  change, _ = tool.update(nothing, tool.init(PARAMS), PARAMS)
  affine = change["position"]["affine"]
  np.testing.assert_allclose(affine["kernel"], -0.1, rtol=1e-3)
  for network in PARAMS:
    predictor = change[network]["affine"]["predictor"]["kernel"]
    np.testing.assert_array_equal(predictor, 0)
  with pytest.raises(ValueError, match="weight_decay must be >= 0, got -1"):
    Adam(weight_decay=-1)


def test_clipping_bounds_what_adam_sees():
  tool = _make(clip_norm=1.0)
  held = tool.init(PARAMS)
  huge = jax.tree.map(lambda leaf: 1e6 * leaf, ONES)
  _, held = tool.update(huge, held, PARAMS)
  moments = jax.tree.leaves(held[1].mu)
  assert max(float(jnp.abs(m).max()) for m in moments) < 0.1


def test_warmup_rises_and_cosine_falls_to_zero():
  tool = _make(learning_rate=0.1, schedule="cosine", warmup_steps=4, total_steps=20)
  sizes = [
    s["pose"]["affine"]["predictor"]["kernel"] for s in _walk(tool, PARAMS, ONES, 21)
  ]
  np.testing.assert_allclose(sizes[:4], [0.025, 0.05, 0.075, 0.1], rtol=1e-4)
  assert np.all(np.diff(sizes[4:]) < 0)
  assert sizes[-1] == pytest.approx(0, abs=1e-6)


def test_warmup_of_one_step_and_constant():
  sizes = _walk(_make(learning_rate=0.1, warmup_steps=1), PARAMS, ONES, 3)
  np.testing.assert_allclose(jax.tree.leaves(sizes), 0.1, rtol=1e-4)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"learning_rate": 0.0}, "learning_rate"),
    ({"clip_norm": -1.0}, "clip_norm"),
    ({"schedule": "linear"}, "constant, cosine"),
    ({"warmup_steps": -1}, "warmup_steps"),
    ({"schedule": "cosine", "total_steps": 0}, "total_steps"),
    ({"schedule": "cosine", "warmup_steps": 5, "total_steps": 5}, "total_steps"),
  ],
)
def test_nonsense_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    _make(**options)


class TestVariants(chex.TestCase):
  @chex.variants(with_jit=True, without_jit=True)
  def test_an_update_keeps_shapes_and_types(self):
    tool = _make(learning_rate=0.1, schedule="cosine", slow_networks=("position",))
    held = tool.init(PARAMS)
    change, after = self.variant(tool.update)(ONES, held, PARAMS)
    chex.assert_trees_all_equal_shapes_and_dtypes(change, PARAMS)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, held)
    chex.assert_tree_all_finite(change)
