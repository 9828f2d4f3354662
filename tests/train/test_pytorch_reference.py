"""The whole method against the one in PyTorch: outputs, losses, gradients, updates."""

import dataclasses

import jax
import numpy as np
import pytest

from affjax.heads import open_head

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
from experiments.pytorch_reference import comparison, updates, weights  # noqa: E402
from experiments.pytorch_reference.updates import Affjax, PyTorch  # noqa: E402

SIZE = 32


def _config(stage):
  config = comparison.configured(stage, size=SIZE, batch=2, width=4)
  config.features.layers = (1, 3)
  config.model.discriminator.depth = 2
  return config


def _record(seed):
  """Two photos of noise around a color, one of them with a diffuse map and a pose."""
  rng = np.random.default_rng(seed)
  template = open_head("embedded").template
  pixels = lambda *shape: rng.integers(0, 256, shape, np.uint8)
  shape = rng.normal(0, 0.02, (2, 1, 3)) * template.vertices[None]
  return {
    "image": pixels(2, SIZE, SIZE, 3) // 2 + 64,
    "visible": np.where(pixels(2, SIZE, SIZE, 1) > 60, 255, 0).astype(np.uint8),
    "vertices": (template.vertices[None] + shape).astype(np.float32),
    "pose": rng.normal(0, 0.1, (2, 6)).astype(np.float32),
    "diffuse": pixels(2, SIZE, SIZE, 3),
    "has_pose": np.float32([1, 0]),
    "has_diffuse": np.float32([0, 1]),
  }


@pytest.fixture(scope="module")
def case():
  return comparison.case(_config("stage3"), 3)


def test_outputs_losses_and_gradients_agree(case):
  errors = comparison.compared(case, _record(0))
  assert set(errors["losses"]) == set(case.learner.stage.weights.active)
  assert {name.partition(".")[0] for name in errors["gradients"]} == set(case.params)
  for kind, found in errors.items():
    assert max(found.values()) < comparison.TARGETS[kind], (kind, found)


def test_weights_come_back_to_the_bit(case):
  assert comparison.transplanted(case)
  flat = weights.to_state(case.params)
  kernel = case.params["diffuse"]["encoder"]["layer2"]["conv"]["predictor"]["kernel"]
  np.testing.assert_array_equal(
    flat["diffuse.encoder.layer2.conv.predictor.weight"][5, 3], kernel[:, :, 3, 5]
  )


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3"])
def test_stages_have_the_same_networks_and_weights(name):
  config = _config(name)
  found = comparison.case(config, 1)
  ours, theirs = found.learner.stage, found.stage
  assert set(ours.trains) == set(theirs.trains)
  assert {k: ours.weights[k] for k in ours.weights.active} == theirs.weights


def test_a_wrong_weight_shows(case):
  """The tolerance is narrow enough to see a layer that is wrong by a hundredth."""
  theirs = jax.tree.map(np.copy, case.params)
  theirs["diffuse"]["layer9"]["norm"]["scale"] *= 1.01
  trainer = dataclasses.replace(case, params=theirs).trainer(dtype=torch.float64)
  record = _record(0)
  found = comparison.theirs(trainer, record)["losses"]
  right = comparison.theirs(case.trainer(dtype=torch.float64), record)["losses"]
  errors = [comparison.relative(found[name], right[name]) for name in right]
  assert max(errors) > comparison.TARGETS["losses"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3"])
@pytest.mark.usefixtures(
  "unchecked_shapes"
)  # an AOT program has no arrays in its state
def test_updates_agree(name):
  records = [_record(seed) for seed in range(2)]
  case = comparison.case(_config(name), 6)
  sides = Affjax(case, records[0]), PyTorch(case.trainer())
  history, changes = updates.from_common_states(*sides, records, 6)
  found = updates.deviations(history)
  assert max(found.values()) < comparison.TARGETS["losses"], found
  assert max(changes.values()) < comparison.TARGETS["updates"], changes
