"""The loop: what it writes, how it stops, and that it goes on exactly."""

import dataclasses
import io
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image
from rich import console

from affjax.train import (
  checkpoint,
  failures,
  histograms,
  loop,
  metrics,
  sharding,
  steps,
  terminal,
  workdir,
)
from affjax.train.retention import Checkpointing
from tests.train import tiny_training as tiny

pytestmark = pytest.mark.smoke  # on a newer jax as well, see `make smoke`


def _lines(root, name="stage1"):
  text = (root / name / "metrics.jsonl").read_text()
  return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A stage run from beginning to end, and its outcome."""
  root = tmp_path_factory.mktemp("whole")
  task = tiny.make_task(
    root, total_steps=20, checkpoint_every=5, tensorboard=True, histograms_every=10
  )
  return root, loop.run(task)


def test_a_stage_leaves_losses_pictures_and_weights(whole):
  root, outcome = whole
  assert outcome.finished
  assert outcome.signal is None
  summary = json.loads((root / "stage1" / "summary.json").read_text())
  assert summary == outcome.summary
  assert summary["finished"]
  assert summary["step"] == 20
  assert summary["eval_after"]["position_l1"] < summary["eval_before"]["position_l1"]
  for step in (0, 20):
    with Image.open(root / "pictures" / f"stage1_{step:06d}.png") as picture:
      assert picture.size[0] == 3 * 128
  assert list((root / "stage1" / "tensorboard").iterdir())
  trained = [line for line in _lines(root) if "total" in line]
  assert [line["step"] for line in trained] == list(range(2, 21, 2))
  assert trained[-1]["images_per_second"] > 0


def test_histograms_hold_every_value_of_weights_and_maps(whole):
  root, _ = whole
  lines = (root / "stage1" / "histograms.jsonl").read_text().splitlines()
  found = {(line["step"], line["name"]): line for line in map(json.loads, lines)}
  assert {step for step, _ in found} == {10, 20}
  maps = [name for _, name in found if name.startswith("histogram/held_out/")]
  assert "histogram/held_out/position" in maps
  weights = tiny.final_params(root)["position"]
  for path, values in jax.tree_util.tree_leaves_with_path(weights):
    name = "/".join(["histogram/position", *(str(key.key) for key in path)])
    line = found[20, name]
    assert sum(line["counts"]) == np.size(values)
    if np.ptp(values):
      bounds = (np.min(values), np.max(values))
      np.testing.assert_allclose((line["low"], line["high"]), bounds, rtol=1e-6)


def test_histograms_leave_out_what_is_not_finite():
  values = np.array([0.0, 1.0, np.nan, np.inf, -np.inf, 3.0], np.float32)
  found = histograms.of_trees({"a": {"b": values}, "c": np.full(2, np.nan)})
  assert list(found) == ["histogram/a/b"]
  one = found["histogram/a/b"]
  assert one.counts.sum() == 3
  assert (one.edges[0], one.edges[-1]) == (0, 3)


def test_a_terminal_shows_epoch_losses_speed_and_keeps_the_lines():
  out = console.Console(
    file=io.StringIO(), force_terminal=True, width=120, markup=False, emoji=False
  )
  bar = terminal.Terminal(terminal.Length("stage2", 8, 4), out=out)
  bar.say("stage2: starts from [stage1] :x:")
  bar.show(5, {"total": 1.25}, 3.5)
  bar.close()
  text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.file.getvalue())
  assert "stage2: starts from [stage1] :x:\n" in text
  for part in ("stage2 epoch 2/2", "5/8", "total 1.25", "3.5 images/s"):
    assert part in text


def test_a_finished_stage_is_left_alone(whole, capsys):
  root, outcome = whole
  times = lambda: {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
  before = times()
  again = loop.run(tiny.make_task(root, total_steps=20, checkpoint_every=5))
  assert "nothing to do" in capsys.readouterr().out
  assert again.summary == outcome.summary
  changed = {path.name for path, time in times().items() if time != before[path]}
  assert changed <= {"config.json", ".lock"}


def test_progress_line_shows_terms_speed_and_time_left(tmp_path, capsys):
  loop.run(tiny.make_task(tmp_path, total_steps=6))
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == "stage1: starts from fresh weights"
  line = next(line for line in lines if line.startswith("stage1 4/6"))
  for part in ("total", "position_l1", "images/s", "left"):
    assert part in line
  assert "gradient" not in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_stage_goes_on_to_the_same_end(
  tmp_path, whole, number, capsys, monkeypatch
):
  with monkeypatch.context() as patch:
    _at_batch(patch, 8, _signals(number))
    outcome = loop.run(tiny.make_task(tmp_path, total_steps=20, checkpoint_every=5))

  assert not outcome.finished
  assert outcome.signal == number
  assert outcome.step == 8
  assert "the same command continues" in capsys.readouterr().out
  rest = loop.run(tiny.make_task(tmp_path, total_steps=20, checkpoint_every=5))
  assert rest.finished
  assert tiny.same(tiny.final_params(tmp_path), tiny.final_params(whole[0]))
  assert rest.summary["eval_before"] == whole[1].summary["eval_before"]
  steps = [line["step"] for line in _lines(tmp_path) if "total" in line]
  assert steps == sorted(set(steps))


def _at_batch(monkeypatch, number, action):
  """Has an action look at, and maybe replace, the n-th and all later records."""
  inner, seen = sharding.put_batch, []

  def put_batch(record, mesh):
    seen.append(1)
    return inner(action(record) if len(seen) >= number else record, mesh)

  monkeypatch.setattr(sharding, "put_batch", put_batch)


def _signals(number):
  """An action that sends a signal to this process once."""
  sent = []

  def action(record):
    if not sent:
      sent.append(1)
      os.kill(os.getpid(), number)
    return record

  return action


def _poison(record):
  return {**record, "vertices": np.full_like(record["vertices"], np.nan)}


def test_killed_at_any_moment_it_goes_on_to_the_same_end(tmp_path, whole):
  command = [sys.executable, tiny.__file__, str(tmp_path), "20"]
  environment = {
    **os.environ,
    "PYTHONPATH": str(pathlib.Path(loop.__file__).parents[2]),
  }
  chance = random.Random(0)
  for _ in range(2):
    child = subprocess.Popen(
      command, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    # Wait for some line of progress, then a little longer: before, in, after a save.
    for line in child.stdout:
      if line.startswith("stage1 ") and "/20" in line:
        break
    time.sleep(chance.uniform(0, 0.1))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
  outcome = loop.run(tiny.make_task(tmp_path, total_steps=20, checkpoint_every=5))
  assert outcome.finished
  assert tiny.same(tiny.final_params(tmp_path), tiny.final_params(whole[0]))
  steps = [line["step"] for line in _lines(tmp_path) if "total" in line]
  assert steps == list(range(2, 21, 2))


def test_a_nan_stops_with_the_name_of_the_term(tmp_path, monkeypatch):
  task = tiny.make_task(tmp_path, name="stage1", total_steps=20, checkpoint_every=4)
  with monkeypatch.context() as patch:
    _at_batch(patch, 11, _poison)
    with pytest.raises(metrics.NonFiniteError) as error:
      loop.run(task)
  message = str(error.value)
  assert "loss term position_l1 became nan at step 11" in message
  assert "step 8 is saved" in message
  folder = tmp_path / "stage1" / "failed" / "11"
  assert f"(affjax replay {folder})" in message
  failure = failures.read(folder)
  assert (failure.step, failure.total_steps) == (11, 20)
  assert np.isnan(failure.record["vertices"]).all()
  learner = task.learner
  replay = lambda failure: failures.replay(
    failure, folder, learner, tiny.make_state(learner), None, task.mesh
  )
  assert steps.first_bad(replay(failure)) == "position_l1"
  sound = tiny.stacked(tiny.Source(tiny.TEMPLATE, 4))
  assert steps.first_bad(replay(dataclasses.replace(failure, record=sound))) is None
  good = tiny.final_params(tmp_path)
  assert np.isfinite(good["position"]["predictor"]["kernel"]).all()
  # With sound data the stage goes on.
  assert loop.run(tiny.make_task(tmp_path, total_steps=20, checkpoint_every=4)).finished


def test_stages_chain_and_train_only_their_networks(tmp_path):
  for name in ("stage1", "stage2", "stage3"):
    outcome = loop.run(tiny.make_task(tmp_path, name=name, total_steps=4))
    assert outcome.finished
    assert outcome.summary["stage"] == name
  first, second, third = (tiny.final_params(tmp_path, f"stage{k}") for k in (1, 2, 3))
  assert tiny.same(first["position"], second["position"])
  assert not tiny.same(second["position"], third["position"])
  assert not tiny.same(first["pose"], second["pose"])
  assert (tmp_path / "pictures" / "stage3_000004.png").exists()


def test_a_stage_without_its_predecessor_says_what_to_run(tmp_path, monkeypatch):
  with pytest.raises(workdir.WorkdirError) as error:
    tiny.make_task(tmp_path / "a", name="stage2")
  assert "run first: train --config=stage1" in str(error.value)
  _at_batch(monkeypatch, 3, _signals(signal.SIGTERM))
  loop.run(tiny.make_task(tmp_path / "b", total_steps=20))
  with pytest.raises(workdir.WorkdirError, match="not reached its last step 20"):
    tiny.make_task(tmp_path / "b", name="stage2")


def test_another_config_is_refused(tmp_path):
  loop.run(tiny.make_task(tmp_path, total_steps=2))
  with pytest.raises(
    workdir.WorkdirError, match=r"learning_rate is 0.01 there and 0.5"
  ):
    tiny.make_task(tmp_path, total_steps=2, learning_rate=0.5)
  # Another stage may have other settings, but not other networks.
  config = {"model": {"template": "other"}}
  with pytest.raises(workdir.WorkdirError, match=r"model.template is \"sheet\" there"):
    workdir.claim(tmp_path, "stage2", config)


def test_a_finished_stage_can_be_made_longer(tmp_path):
  loop.run(tiny.make_task(tmp_path / "a", total_steps=4))
  longer = loop.run(tiny.make_task(tmp_path / "a", total_steps=8))
  assert longer.finished
  assert longer.step == 8
  loop.run(tiny.make_task(tmp_path / "b", total_steps=8))
  assert tiny.same(tiny.final_params(tmp_path / "a"), tiny.final_params(tmp_path / "b"))


def test_damaged_files_are_named(tmp_path):
  loop.run(tiny.make_task(tmp_path, total_steps=2))
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(workdir.WorkdirError, match=r"cannot read .*config.json"):
    tiny.make_task(tmp_path, total_steps=2)
  (tmp_path / "config.json").unlink()
  victim = tmp_path / "stage1" / "checkpoints" / "2" / "params"
  for path in victim.rglob("*"):
    if path.is_file():
      path.write_bytes(b"")
  with pytest.raises(
    checkpoint.CheckpointError, match="checkpoints/2 is damaged: params/"
  ):
    tiny.make_task(tmp_path, total_steps=4)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (
      lambda: loop.Plan(0, 1, 1, loop.Log(), Checkpointing()),
      "total_steps must",
    ),
    (lambda: loop.Log(every=0), "every must be at least 1"),
    (lambda: loop.Log(pictures_every=-1), "pictures_every must"),
    (lambda: Checkpointing(every=0), "every must be at least 1"),
  ],
)
def test_nonsense_plans_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()
