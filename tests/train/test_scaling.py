"""One device, several, several processes: the same losses, the same checkpoints."""

import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from affjax.train import checkpoint, loop, processes, sharding, stages, steps
from affjax.train.processes import Processes
from affjax.train.sharding import MeshShape
from tests.train import hlo, together
from tests.train import tiny_training as tiny

RECORD = tiny.stacked(tiny.Source(tiny.TEMPLATE, 8))
STEPS = 4


def _run(root, *, total_steps=STEPS, **options):
  for name in stages.STAGE_NAMES:
    loop.run(
      tiny.make_task(root, name=name, total_steps=total_steps, log_every=1, **options)
    )


def _losses(root):
  """The scalars of each step of each stage, without the speed."""
  found = {}
  for name in stages.STAGE_NAMES:
    for text in (root / name / "metrics.jsonl").read_text().splitlines():
      line = json.loads(text)
      line.pop("images_per_second", None)
      found.setdefault((name, line.pop("step")), {}).update(line)
  return found


def _require_same(root, other, tolerance=1e-5):
  one, two = _losses(root), _losses(other)
  assert one.keys() == two.keys()
  for key, values in one.items():
    assert values.keys() == two[key].keys()
    for name, value in values.items():
      assert two[key][name] == pytest.approx(value, rel=tolerance, abs=tolerance), (
        key,
        name,
      )


def _start_together(root, *, count, devices, total_steps):
  """Trains with several processes and returns when all have ended well."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  environment = {
    **os.environ,
    "PYTHONPATH": str(pathlib.Path(loop.__file__).parents[2]),
  }
  children = [
    subprocess.Popen(
      [sys.executable, together.__file__]
      + [str(v) for v in (root, port, count, index, devices, total_steps)],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(count)
  ]
  printed = [child.communicate(timeout=800)[0] for child in children]
  for child, text in zip(children, printed, strict=True):
    assert child.returncode == 0, text
  return printed


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """All stages on one device."""
  root = tmp_path_factory.mktemp("alone")
  _run(root)
  return root


def test_two_processes_of_two_devices_make_the_steps_of_one(alone, tmp_path):
  printed = _start_together(tmp_path, count=2, devices=2, total_steps=STEPS)
  _require_same(alone, tmp_path)
  # The first process alone writes and prints.
  assert "stage3 4/4" in printed[0]
  assert "stage3" not in printed[1]
  pictures = sorted(path.name for path in (tmp_path / "pictures").iterdir())
  assert pictures == sorted(path.name for path in (alone / "pictures").iterdir())
  # What two processes have saved, one goes on with, and ends where it would have.
  longer = functools.partial(tiny.make_task, name="stage3", total_steps=2 * STEPS)
  for root in (tmp_path, alone):
    assert longer(root).start.origin == f"its checkpoint of step {STEPS}"
    assert loop.run(longer(root)).finished
  _require_close(
    tiny.final_params(tmp_path, "stage3"), tiny.final_params(alone, "stage3")
  )


@pytest.fixture(scope="module")
def twenty_alone(tmp_path_factory):
  """Twenty steps of all stages on one device."""
  root = tmp_path_factory.mktemp("twenty")
  _run(root, total_steps=20)
  return root


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(1, 4), (2, 1), (2, 2)])
def test_twenty_steps_on_several_devices(twenty_alone, tmp_path, count, devices):
  if count == 1:
    _run(tmp_path, total_steps=20, devices=devices)
  else:
    _start_together(tmp_path, count=count, devices=devices, total_steps=20)
  _require_same(twenty_alone, tmp_path)


def _require_close(one, other, tolerance=1e-5):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, atol=tolerance)


# Weights divided among devices.


@pytest.fixture
def everything_divided(monkeypatch):
  monkeypatch.setattr(sharding, "_LEAST_DIVIDED", 1)


@pytest.mark.usefixtures("everything_divided")
def test_divided_weights_make_the_same_steps(alone, tmp_path):
  # Steps that were compiled for whole weights are not taken.
  uncached = tiny.make_learner("stage3", average=0.5)
  state = tiny.make_state(uncached)
  one, a = tiny.train(uncached, state, RECORD, updates=4)
  four, b = tiny.train(uncached, state, RECORD, updates=4, devices=4, model=2)
  specs = {
    tuple(leaf.sharding.spec)
    for tree in (four.params, four.average, four.optimizer, four.discriminator)
    for leaf in jax.tree.leaves(tree)
    if leaf.ndim == 2
  }
  assert specs == {("model",), (None, "model")}
  # The state comes out as it went in: nothing is compiled again.
  assert steps.make_update(uncached, _mesh(2, 2))._cache_size() == 1
  kernel = four.params["pose"]["kernel"]
  assert kernel.addressable_shards[0].data.size == kernel.size // 2
  for name, value in a[-1].items():
    assert b[-1][name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
  _require_close(one.params, jax.device_get(four.params))


@pytest.mark.usefixtures("everything_divided")
def test_a_checkpoint_of_divided_weights_goes_on_whole(tmp_path):
  learner = tiny.make_learner("stage1")
  mesh = sharding.make_mesh(MeshShape(2, 2))
  state = sharding.put_state(tiny.make_state(learner), mesh)
  task = tiny.make_task(tmp_path, total_steps=2)
  with checkpoint.Checkpoints(tmp_path / "stage1", loop.Checkpointing()) as saved:
    saved.save(state, task.data, {})
  task.lock.release()
  again = tiny.make_task(tmp_path, total_steps=2).start.state
  assert tiny.same(jax.device_get(again), jax.device_get(state))


def test_only_large_arrays_that_divide_are_divided():
  mesh = sharding.make_mesh(MeshShape(1, 4))
  spec = lambda *shape: tuple(sharding.of_array(shape, mesh).spec)
  assert spec(3, 3, 256, 512) == (None, None, None, "model")
  assert spec(3, 3, 512, 255) == (None, None, "model")
  assert spec(4, 4) == ()
  assert spec(1001, 1001) == ()
  assert tuple(sharding.of_array((512, 512), _mesh(4)).spec) == ()


def _mesh(data, model=1):
  return sharding.make_mesh(MeshShape(data, model))


def test_shapes_of_meshes():
  assert dict(_mesh(-1).shape) == {"data": 4, "model": 1}
  assert dict(_mesh(-1, 2).shape) == {"data": 2, "model": 2}
  assert dict(_mesh(1, 2).shape) == {"data": 1, "model": 2}
  for data, model, message in (
    (5, 1, "data x model must fit the 4 devices, got 5 x 1"),
    (-1, 3, "model must divide the number of devices, got 3 for 4"),
    (-1, 8, "must fit"),
    (0, 1, "data must be -1 or at least 1"),
    (1, 0, "model must be at least 1"),
  ):
    with pytest.raises(ValueError, match=message):
      _mesh(data, model)


# Accumulated parts.


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_accumulated_parts_make_the_step_of_the_whole_batch(devices):
  """Masks differ from sample to sample, so that a mean of means would be wrong."""
  record = {**RECORD, "visible": RECORD["visible"].copy()}
  record["visible"][:3, :10] = 0
  found = []
  for accumulate in (1, 4):
    learner = tiny.make_learner("stage3", accumulate=accumulate, r1=10.0)
    found.append(
      tiny.train(learner, tiny.make_state(learner), record, updates=3, devices=devices)
    )
  (one, a), (parts, b) = found
  for name, value in a[-1].items():
    assert b[-1][name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
  _require_close(one.params, parts.params)
  _require_close(one.discriminator, parts.discriminator)


def test_batches_must_divide_among_devices_and_parts():
  sharding.require_divisible(8, _mesh(4), 2)
  with pytest.raises(ValueError, match="4 devices x 3 accumulated parts, got 8"):
    sharding.require_divisible(8, _mesh(4), 3)


# Communication.


def _compiled(learner, mesh):
  state = sharding.put_state(tiny.make_state(learner), mesh)
  record = sharding.put_batch(RECORD, mesh)
  update = steps.make_update(learner, mesh)
  return update.lower(state, None, record).compile().as_text()


@pytest.mark.usefixtures("unchecked_shapes")
def test_data_parallel_steps_send_gradients_and_statistics_only():
  learner = tiny.make_learner("stage3")
  found = hlo.collectives(_compiled(learner, _mesh(4)))
  assert set(found) == {"all-reduce"}
  state = tiny.make_state(learner)
  trained = jax.tree.leaves((state.params, state.discriminator))
  gradient = sum(leaf.size for leaf in trained)
  # Beside the gradients, a sum and a count of each term and a few statistics.
  assert gradient <= sum(found["all-reduce"]) <= gradient + 100


@pytest.mark.usefixtures("unchecked_shapes")
def test_one_device_sends_nothing():
  assert not hlo.collectives(_compiled(tiny.make_learner("stage3"), _mesh(1)))


# Processes.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (("host:1", 0, 0), "needs processes >= 1 and process in"),
    (("host:1", 2, 2), "got 2 and 2"),
    (("auto", 2, -1), "need coordinator = HOST:PORT, got 'auto'"),
    (("", 0, 1), "need coordinator"),
  ],
)
def test_processes_that_cannot_meet_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    Processes(*options)


def test_one_process_needs_no_vote():
  vote = processes.Vote(_mesh(1))
  assert [vote(False), vote(True), vote(False)] == [False, True, False]
