"""The step: what it changes, what it leaves alone, and how it stops."""

import dataclasses

import jax
import numpy as np
import pytest

from affjax import losses
from affjax.losses import Context
from affjax.models import NETWORKS
from affjax.train import discriminators, mirror, sharding, stages, steps
from affjax.train.sharding import MeshShape
from tests.train import tiny_training as tiny

ONE = sharding.make_mesh(MeshShape(1))
RECORD = tiny.stacked(tiny.Source(tiny.TEMPLATE, 8))


@pytest.mark.parametrize("name", stages.STAGE_NAMES)
def test_a_stage_changes_its_networks_and_no_others(name):
  learner = tiny.make_learner(name)
  before = tiny.make_state(learner)
  after, _ = tiny.train(learner, before, RECORD, updates=2)
  for network in NETWORKS:
    changed = not tiny.same(before.params[network], after.params[network])
    assert changed == (network in learner.stage.trains), network
  assert int(after.step) == 2
  assert bool(after.healthy)


@pytest.mark.parametrize("name", stages.STAGE_NAMES)
def test_losses_fall_on_one_record(name):
  learner = tiny.make_learner(name)
  _, history = tiny.train(learner, tiny.make_state(learner), RECORD, updates=240)
  assert history[-1]["total"] < 0.75 * history[0]["total"]


def test_total_is_the_weighted_sum_of_the_terms():
  learner = tiny.make_learner("stage3")
  _, (scalars,) = tiny.train(learner, tiny.make_state(learner), RECORD)
  weights = learner.stage.weights
  terms = {name: weights[name] * scalars[name] for name in weights.active}
  assert scalars["total"] == pytest.approx(sum(terms.values()), rel=1e-5)


def test_one_step_updates_both_sides_of_the_adversarial_game():
  learner = tiny.make_learner("stage3")
  before = tiny.make_state(learner)
  after, history = tiny.train(learner, before, RECORD, updates=30)
  assert not tiny.same(before.discriminator, after.discriminator)
  assert discriminators.LOSS in history[0]
  # Where the networks cannot move, the discriminators learn to tell.
  still = dataclasses.replace(
    learner, optimizer=tiny.make_optimizer(learning_rate=1e-9)
  )
  _, history = tiny.train(still, tiny.make_state(still), RECORD, updates=60)
  assert history[-1][discriminators.LOSS] < history[0][discriminators.LOSS]


def test_four_devices_equal_one():
  learner = tiny.make_learner("stage3")
  one, a = tiny.train(learner, tiny.make_state(learner), RECORD, updates=8)
  four, b = tiny.train(learner, tiny.make_state(learner), RECORD, updates=8, devices=4)
  for x, y in zip(
    jax.tree.leaves(one.params), jax.tree.leaves(four.params), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-5)
  for name in a[-1]:
    assert a[-1][name] == pytest.approx(b[-1][name], abs=1e-5), name


def test_a_nan_freezes_the_state_and_is_named():
  learner = tiny.make_learner("stage2")
  good, _ = tiny.train(learner, tiny.make_state(learner), RECORD, updates=3)
  good = jax.device_get(good)
  bad = {**RECORD, "pose": np.full_like(RECORD["pose"], np.nan)}
  frozen, history = tiny.train(learner, good, bad, updates=2)
  assert steps.first_bad(history[0]) == "pose_l1"
  assert not bool(frozen.healthy)
  same = dataclasses.replace(jax.device_get(frozen), healthy=good.healthy)
  assert tiny.same(same, good)
  # A good record afterwards does not hide it.
  later, _ = tiny.train(learner, frozen, RECORD)
  assert int(later.step) == int(good.step)


def test_first_bad_names_terms_before_totals_and_gradients():
  nan, fine = float("nan"), 1.0
  scalars = {"total": nan, "gradient/pose": nan, "image_l1": fine, "symmetry": nan}
  assert steps.first_bad(scalars) == "symmetry"
  assert steps.first_bad({"total": fine, "gradient/pose": nan}) == "gradient/pose"
  assert steps.first_bad({"total": fine}) is None


def test_evaluation_agrees_with_the_step_and_changes_nothing():
  learner = tiny.make_learner("stage2")
  state = tiny.make_state(learner)
  found = steps.make_evaluate(learner, ONE)(state, None, RECORD)
  _, (scalars,) = tiny.train(learner, state, RECORD)
  for name, value in found.scalars.items():
    assert float(value) == pytest.approx(scalars[name], rel=1e-5), name


def test_overlay_keeps_the_photo_beside_the_head_and_on_occluders():
  learner = tiny.make_learner("stage2")
  half = {**RECORD, "visible": RECORD["visible"].copy()}
  half["visible"][:, :8] = 0
  found = steps.make_evaluate(learner, ONE)(tiny.make_state(learner), None, half)
  photo, overlay, render = (
    np.asarray(found.pictures[name]) for name in ("photo", "overlay", "render")
  )
  np.testing.assert_allclose(overlay[:, :8], photo[:, :8], atol=1e-6)
  np.testing.assert_allclose(overlay[:, :, :4], photo[:, :, :4], atol=1e-6)
  np.testing.assert_allclose(overlay[:, 8:12, 4:12], render[:, 8:12, 4:12], atol=1e-6)


def test_mirror_supervision_sees_twice_the_samples():
  learner = tiny.make_learner("stage2", mirrored=True)
  state, history = tiny.train(learner, tiny.make_state(learner), RECORD)
  plain = tiny.make_learner("stage2")
  _, alone = tiny.train(plain, tiny.make_state(plain), RECORD)
  assert bool(state.healthy)
  assert history[0]["pose_l1"] != pytest.approx(alone[0]["pose_l1"], rel=1e-6)


def test_mirrored_twice_is_the_same():
  batch = tiny.to_batch(RECORD, table=tiny.uv.uv_table(tiny.TEMPLATE, tiny.MAP))
  once = jax.tree.map(lambda a: a[1::2], mirror.with_mirrored(batch))
  twice = jax.tree.map(lambda a: a[1::2], mirror.with_mirrored(once))
  for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(twice), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_mirrored_pose_moves_mirrored_points_to_mirrored_places():
  from affjax.geometry import camera

  pose = np.float32([[0.3, -0.4, 0.2, 0.5, -0.1, 0.2]])
  points = np.float32([[0.1, 0.5, 0.9], [-0.3, 0.2, 0.4]])
  flip = np.float32([[-1, 1, 1]])
  straight = camera.head_to_world(points, pose)
  flipped = camera.head_to_world(points * flip, pose * mirror.POSE_SIGNS[None])
  np.testing.assert_allclose(np.asarray(straight) * flip, flipped, atol=1e-6)


def test_terms_that_lack_their_network_are_errors():
  learner = tiny.make_learner("stage2")
  batch = learner.prepare(RECORD)
  prediction = learner.reconstructor(learner.reconstructor.init(0), batch.image)
  context = Context(prediction, batch, learner.regions)
  with pytest.raises(ValueError, match="feature_net"):
    losses.compute_terms(context, losses.LossWeights().only("perceptual"))
  weights = losses.LossWeights().only("adversarial_generator")
  with pytest.raises(ValueError, match="needs discriminator"):
    losses.compute_terms(context, weights)
  with pytest.raises(ValueError, match="needs a discriminator"):
    dataclasses.replace(tiny.make_learner("stage3"), discriminator=None)


def test_batch_must_divide_among_devices():
  mesh = sharding.make_mesh(MeshShape(4))
  sharding.require_divisible(8, mesh)
  with pytest.raises(ValueError, match="batch_size must be a multiple"):
    sharding.require_divisible(6, mesh)
  with pytest.raises(ValueError, match="data x model must fit"):
    sharding.make_mesh(MeshShape(99))
