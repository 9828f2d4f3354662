"""What keeps the adversarial stage stable, and what the log says about it."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import losses
from affjax.losses import Context
from affjax.train import (
  discriminators,
  failures,
  inspection,
  loop,
  sharding,
  states,
  steps,
)
from affjax.train.discriminators import R1Penalty
from affjax.train.sharding import MeshShape
from affjax.train.workdir import WorkdirError
from tests.train import tiny_training as tiny

RECORD = tiny.stacked(tiny.Source(tiny.TEMPLATE, 8))
ONE = sharding.make_mesh(MeshShape(1))


# The moving average of the weights.


def test_the_average_is_the_recursion_that_the_docstring_states():
  learner = tiny.make_learner("stage2", average=0.7)
  state = tiny.make_state(learner)
  expected = jax.tree.map(np.asarray, states.trained(learner.stage, state.params))
  for step in range(12):
    after, _ = tiny.train(learner, state, RECORD)
    decay = min(0.7, (1 + step) / (10 + step))
    weights = states.trained(learner.stage, jax.device_get(after).params)
    blend = lambda a, w, d=decay: d * a + (1 - d) * np.asarray(w)
    expected = jax.tree.map(blend, expected, weights)
    state = jax.device_get(after)
  for a, b in zip(
    jax.tree.leaves(state.average), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-6)
  assert set(state.average) == set(learner.stage.trains)


def test_a_short_average_forgets_the_first_weights():
  weights, average = {"pose": jnp.ones(1)}, {"pose": jnp.full(1, 100.0)}
  for step in range(20):
    average = states.moved_average(average, weights, jnp.asarray(step), 0.9999)
  assert float(average["pose"][0]) == pytest.approx(1, abs=1e-3)


def test_evaluation_uses_the_average():
  learner = tiny.make_learner("stage2", average=0.999)
  state = tiny.make_state(learner)
  other = jax.tree.map(lambda leaf: leaf + 0.1, state.average)
  moved = dataclasses.replace(state, average=other)
  plain = dataclasses.replace(state, params={**state.params, **other})
  evaluate = steps.make_evaluate(learner, ONE)
  a, b, c = (
    float(evaluate(s, None, RECORD).scalars["total"]) for s in (moved, plain, state)
  )
  assert a != pytest.approx(c, rel=1e-3)
  # The plain state has an older average, which is evaluated.
  assert b == pytest.approx(c, rel=1e-6)
  assert tiny.same(states.exchanged(states.exchanged(moved)), moved)


def test_checkpoints_hold_the_average_as_weights_and_go_on_exactly(tmp_path):
  whole = tmp_path / "whole"
  task = functools.partial(tiny.make_task, average=0.9, total_steps=8)
  loop.run(task(whole))
  state = task(whole).start.state
  found = tiny.final_params(whole)
  assert tiny.same(found["position"], state.average["position"])
  assert not tiny.same(found["position"], state.params["position"])
  part = tmp_path / "part"
  loop.run(tiny.make_task(part, average=0.9, total_steps=4))
  loop.run(task(part))
  assert tiny.same(task(part).start.state, state)


# The discriminator.


def test_the_r1_penalty_is_the_squared_slope_by_finite_differences():
  network, params = tiny.Discriminators(), tiny.Discriminators().init(0)
  photos = jnp.asarray(RECORD["image"][:2, :4, :4], jnp.float32) / 255

  def score(photo):
    logits = network(params, photo[None])
    return sum(float(s.sum()) / math.sqrt(s[0].size) for s in logits)

  expected, step = 0.0, 1e-2
  for photo in photos:
    for index in np.ndindex(photo.shape):
      change = jnp.zeros_like(photo).at[index].set(step)
      slope = (score(photo + change) - score(photo - change)) / (2 * step)
      expected += slope**2 / len(photos)
  found = discriminators.squared_slope(network, params, photos).value
  assert float(found) == pytest.approx(expected, rel=1e-3)


def test_the_penalty_is_due_every_second_step_and_flattens():
  learner = tiny.make_learner("stage3", r1=30.0)
  free = tiny.make_learner("stage3")
  state, history = tiny.train(learner, tiny.make_state(learner), RECORD, updates=40)
  other, _ = tiny.train(free, tiny.make_state(free), RECORD, updates=40)
  values = [scalars[discriminators.R1] for scalars in history]
  assert all(value > 0 for value in values[::2])
  assert not any(values[1::2])
  photos = learner.prepare(RECORD).image
  slope = lambda s: float(
    discriminators.squared_slope(
      learner.discriminator.network, jax.device_get(s).discriminator, photos
    ).value
  )
  assert slope(state) < 0.85 * slope(other)


def test_accuracy_counts_patches():
  real = [jnp.asarray([1.0, -1.0]).reshape(1, 1, 2, 1)]
  fake = [jnp.asarray([-1.0, -2.0]).reshape(1, 1, 2, 1)]
  assert float(discriminators.accuracy(real, fake).value) == pytest.approx(0.75)


def test_a_discriminator_that_has_won_is_named_once():
  watch = discriminators.Watch()
  say = lambda step, share: watch(step, {discriminators.ACCURACY: share})
  assert [say(k, 0.99) for k in (50, 100)] == [None, None]
  message = say(150, 0.995)
  assert message is not None
  assert "since step 50 it tells 99.5%" in message
  assert say(200, 0.99) is None
  assert say(250, 0.5) is None
  assert [say(k, 1.0) is None for k in (300, 350, 400)] == [True, True, False]
  assert watch(450, {}) is None


def test_nonsense_penalties_are_refused():
  with pytest.raises(ValueError, match="weight must be >= 0"):
    R1Penalty(weight=float("nan"))
  with pytest.raises(ValueError, match="every must be at least 1"):
    R1Penalty(every=0)


# The log.


def test_the_inspection_gives_each_term_its_weight_and_gradient():
  learner = tiny.make_learner("stage3")
  state = tiny.make_state(learner)
  found = inspection.make_inspect(learner, ONE)(state, None, RECORD)
  weights = learner.stage.weights
  batch = learner.prepare(RECORD)
  for name in ("image_l1", "adversarial_generator", "symmetry"):

    def term(params, name=name):
      terms, _ = steps.terms_of(learner, state, None, batch, params)
      return weights[name] * terms[name].value

    gradient = jax.tree.leaves(jax.jit(jax.grad(term))(state.params))
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in gradient))
    assert float(found[f"lambda/{name}"]) == pytest.approx(weights[name])
    assert float(found[f"term_gradient/{name}"]) == pytest.approx(norm, rel=1e-4)
  assert {name for name in found if name.startswith("lambda/")} == {
    f"lambda/{name}" for name in weights.active
  }


def test_light_against_albedo():
  """Where bright photos get bright albedo and one light, the statistics say so."""
  learner = tiny.make_learner("stage2")
  batch = learner.prepare(RECORD)
  prediction = learner.reconstructor(learner.reconstructor.init(0), batch.image)
  bright = jnp.linspace(0.2, 0.8, len(batch.image))[:, None, None, None]
  batch = dataclasses.replace(batch, image=jnp.zeros_like(batch.image) + bright)
  prediction = dataclasses.replace(
    prediction,
    diffuse=jnp.zeros_like(prediction.diffuse) + bright / 2,
    light=jnp.full_like(prediction.light, 2.0),
  )
  found = inspection.ambiguity(Context(prediction, batch, learner.regions))
  expected = {
    "light_mean": 2.0,
    "light_spread": 0.0,
    "light_photo_correlation": 0.0,
    "diffuse_mean": 0.25,
    "diffuse_spread": float(np.std(np.linspace(0.1, 0.4, len(bright)))),
    "diffuse_photo_correlation": 1.0,
  }
  assert {k.removeprefix("ambiguity/"): float(v) for k, v in found.items()} == (
    pytest.approx(expected, abs=1e-4)
  )


def test_the_log_holds_the_inspection(tmp_path):
  task = tiny.make_task(tmp_path, total_steps=4)
  log = dataclasses.replace(task.plan.log, inspect_every=3)
  loop.run(dataclasses.replace(task, plan=dataclasses.replace(task.plan, log=log)))
  text = (tmp_path / "stage1" / "metrics.jsonl").read_text()
  (line,) = (line for line in text.splitlines() if "term_gradient/position_l1" in line)
  assert '"step": 3' in line


def test_terms_are_the_same_whatever_the_loss_of_the_discriminator():
  """The penalty and the accuracy do not change what the generator is taught."""
  found = []
  for r1 in (0.0, 30.0):
    learner = tiny.make_learner("stage3", r1=r1)
    _, (scalars,) = tiny.train(learner, tiny.make_state(learner), RECORD)
    found.append(
      {
        name: scalars[name]
        for name in (*losses.LossWeights(), "total")
        if name in scalars
      }
    )
  assert found[0] == found[1]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive"])
def test_a_damaged_failure_is_one_line(tmp_path, content):
  (tmp_path / "failure.json").write_text(
    '{"step": 3, "message": "total became nan", "total_steps": 4, "config": {}}'
  )
  (tmp_path / "batch.npz").write_bytes(content)
  with pytest.raises(WorkdirError, match=r"cannot read .*batch\.npz"):
    failures.read(tmp_path)
