"""No step is lost: damaged checkpoints, full disks, locks, changed settings."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from affjax.train import (
  checkpoint,
  checksums,
  loop,
  provenance,
  sharding,
  workdir,
)
from affjax.train.checkpoint import Checkpoints
from affjax.train.lock import Lock, LockedError
from affjax.train.retention import Checkpointing
from affjax.train.sharding import MeshShape
from tests.train import tiny_training as tiny


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """A stage run from beginning to end."""
  root = tmp_path_factory.mktemp("whole")
  assert _finish(root).finished
  return root


@pytest.fixture
def part(whole, tmp_path):
  """The same stage without its last checkpoint, as if it had been killed."""
  root = tmp_path / "run"
  shutil.copytree(whole, root)
  shutil.rmtree(root / "stage1" / "checkpoints" / "12")
  (root / "stage1" / "summary.json").unlink()
  return root


def _steps(root):
  folder = root / "stage1" / "checkpoints"
  return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _finish(root, **options):
  options = {"total_steps": 12, "checkpoint_every": 4, "keep": 3, **options}
  return loop.run(tiny.make_task(root, **options))


def _largest(folder):
  files = [p for p in folder.rglob("*") if p.is_file() and p.name != checksums.NAME]
  return max(files, key=lambda path: path.stat().st_size)


def _flip(folder):
  path = _largest(folder)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


def _tear(folder):
  path = _largest(folder)
  path.write_bytes(path.read_bytes()[:10])


def _half_delete(folder):
  shutil.rmtree(folder / "params")
  (folder / checksums.NAME).unlink()


def _garble(folder):
  for path in (folder / "_CHECKPOINT_METADATA", *(folder / "meta").iterdir()):
    path.write_bytes(b"\x00{")


def _empty(folder):
  shutil.rmtree(folder)
  folder.mkdir()


@pytest.mark.parametrize("damage", [_flip, _tear, _half_delete, _garble, _empty])
def test_a_damaged_checkpoint_is_passed_over(part, damage, caplog):
  damage(part / "stage1" / "checkpoints" / "8")
  start = tiny.make_task(part, total_steps=12).start
  assert start.origin == "its checkpoint of step 4"
  assert int(start.state.step) == 4
  (line,) = (r.getMessage() for r in caplog.records if r.name.startswith("affjax"))
  assert "checkpoints/8" in line
  assert "step 4 is taken instead" in line
  assert _steps(part) == [4]
  assert (part / "stage1" / "damaged" / "8").is_dir()


def test_after_damage_the_run_ends_as_it_would_have(part, whole):
  _flip(part / "stage1" / "checkpoints" / "8")
  assert _finish(part).finished
  assert tiny.same(tiny.final_params(part), tiny.final_params(whole))
  assert _steps(part) == [4, 8, 12]


def test_without_any_whole_checkpoint_the_run_does_not_begin_anew(part):
  for step in ("4", "8"):
    _flip(part / "stage1" / "checkpoints" / step)
  with pytest.raises(checkpoint.DamageError, match=r"(?s)points/8 is.*points/4 is"):
    tiny.make_task(part, total_steps=12, checkpoint_every=4)
  assert _steps(part) == [4, 8]


def test_checksums_can_be_checked_with_the_usual_tool(whole):
  folder = whole / "stage1" / "checkpoints" / "12"
  lines = (folder / checksums.NAME).read_text().splitlines()
  assert len(lines) > 5
  subprocess.run(["sha256sum", "--quiet", "-c", checksums.NAME], check=True, cwd=folder)


def test_reading_leaves_a_checkpoint_in_the_making_alone(part):
  half = part / "stage1" / "checkpoints" / "12.orbax-checkpoint-tmp"
  half.mkdir()
  _flip(part / "stage1" / "checkpoints" / "8")
  like = tiny.make_learner("stage1").reconstructor.init(0)
  with Checkpoints(part / "stage1") as checkpoints:
    assert checkpoints.restore_params(like)[1] == 4
  assert half.is_dir()
  assert _steps(part) == [4, 8]
  task = tiny.make_task(part, total_steps=12)
  with Checkpoints(part / "stage1", Checkpointing()) as checkpoints:
    checkpoints.save(tiny.make_state(task.learner), task.data, {})
  assert not half.exists()


def test_the_last_and_the_best_are_kept(tmp_path):
  task = tiny.make_task(tmp_path, total_steps=2)
  like = task.learner.reconstructor.init(0)
  metrics = {1: 4.0, 2: 1.0, 3: 2.0, 4: 3.0, 5: 5.0}
  options = Checkpointing(keep=2, keep_best=1)
  with Checkpoints(tmp_path / "stage1", options) as checkpoints:
    for step, metric in metrics.items():
      params = jax.tree.map(lambda leaf, step=step: leaf * 0 + step, like)
      state = tiny.make_state(task.learner, params=params)
      state = dataclasses.replace(state, step=jax.numpy.int32(step))
      checkpoints.save(state, task.data, {}, metric)
  assert _steps(tmp_path) == [2, 4, 5]
  with Checkpoints(tmp_path / "stage1") as checkpoints:
    assert (checkpoints.latest(), checkpoints.best()) == (5, 2)
    params, step, _ = checkpoints.restore_params(like, best=True)
  assert step == 2
  assert {float(leaf.min()) for leaf in jax.tree.leaves(params)} == {2.0}


def test_the_metric_is_a_loss_of_held_out_samples(whole, tmp_path):
  summary = json.loads((whole / "stage1" / "summary.json").read_text())
  assert summary["best_step"] in (4, 8, 12)
  like = tiny.make_learner("stage1").reconstructor.init(0)
  with Checkpoints(whole / "stage1") as checkpoints:
    assert checkpoints.best() == summary["best_step"]
    meta = checkpoints.restore_params(like)[2]
  assert meta["metric"] == pytest.approx(summary["eval_after"]["total"])
  with pytest.raises(ValueError, match=r"metric must be one of .*position_l1.*'nose'"):
    tiny.make_task(tmp_path, metric="nose")


def test_a_state_may_be_donated_while_it_is_saved(tmp_path):
  """What is written is the state at the time of `save`, whatever happens to it then."""
  task = tiny.make_task(tmp_path, total_steps=2)
  state = tiny.make_state(task.learner)
  before = jax.tree.map(np.array, state.params)
  with Checkpoints(tmp_path / "stage1", Checkpointing()) as checkpoints:
    checkpoints.save(state, task.data, {})
    for leaf in jax.tree.leaves(state.params):
      np.asarray(leaf).flags.writeable or leaf.delete()
  assert tiny.same(tiny.final_params(tmp_path), before)


@pytest.fixture
def small_disk(tmp_path):
  """A file system of 4 MB."""
  place = tmp_path / "disk"
  place.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
  if (
    shutil.which("mount") is None
    or subprocess.run(mount, capture_output=True).returncode
  ):
    pytest.skip("may not mount a file system")
  yield place
  subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(place):
  with (place / "ballast").open("wb", buffering=0) as ballast:
    size = 1 << 20
    while size > 16:
      try:
        ballast.write(b"\0" * size)
      except OSError:
        size //= 2


def _wait_for(path):
  until = time.monotonic() + 60
  while not path.exists() and time.monotonic() < until:
    time.sleep(0.01)


def test_a_full_disk_stops_the_run_and_spoils_nothing(small_disk, whole, monkeypatch):
  task = tiny.make_task(small_disk, total_steps=12, checkpoint_every=4)
  inner, seen = loop.sharding.put_batch, []

  def put_batch(record, mesh):
    seen.append(1)
    if len(seen) == 7:
      _wait_for(small_disk / "stage1" / "checkpoints" / "4")
      _fill(small_disk)
    return inner(record, mesh)

  with monkeypatch.context() as patch:
    patch.setattr(loop.sharding, "put_batch", put_batch)
    with pytest.raises(OSError, match=r"[Nn]o space.*step 4 is saved") as error:
      loop.run(task)
  assert "\n" not in str(error.value)
  del task
  (small_disk / "ballast").unlink()
  assert _finish(small_disk).finished
  assert tiny.same(tiny.final_params(small_disk), tiny.final_params(whole))


def test_an_error_while_writing_is_one_line(part, monkeypatch):
  def fails(*_, **__):
    raise ValueError('RESOURCE_EXHAUSTED: writing "x": No space left on device [28]\nx')

  task = tiny.make_task(part, total_steps=12)
  with Checkpoints(part / "stage1", Checkpointing()) as checkpoints:
    monkeypatch.setattr(ocp.CheckpointManager, "save", fails)
    state = tiny.make_state(task.learner)
    expected = r"^stage1 stopped: .*no space is left on the disk; step 8 is saved. make"
    with (
      pytest.raises(OSError, match=expected),
      loop._saying_what_is_saved("stage1", checkpoints),
    ):
      checkpoints.save(state, task.data, {})
  assert _steps(part) == [4, 8]


def test_changed_settings_name_the_options_that_allow_them(part):
  with pytest.raises(workdir.WorkdirError) as error:
    tiny.make_task(part, total_steps=12, learning_rate=0.5)
  message = str(error.value)
  assert "learning_rate is 0.01 there and 0.5 here" in message
  assert "--config.resume=force" in message
  assert f"--config.init_from={part / 'stage1'}" in message
  assert "delete" not in message
  forced = tiny.make_task(part, learning_rate=0.5, resume="force")
  assert forced.start.origin == "its checkpoint of step 8"
  again = json.loads((part / "stage1" / "config.json").read_text())
  assert again["learning_rate"] == 0.5
  with pytest.raises(workdir.WorkdirError, match="resume must be one of auto, force"):
    tiny.make_task(part, resume="please")


def test_another_run_can_be_begun_from_the_weights(part, tmp_path):
  task = tiny.make_task(
    tmp_path / "b", learning_rate=0.5, init_from=str(part / "stage1")
  )
  assert task.start.origin == f"the weights of {part / 'stage1'}, step 8"
  assert int(task.start.state.step) == 0


def test_a_workdir_in_use_is_refused(part):
  holder = subprocess.Popen(
    [
      sys.executable,
      "-c",
      "import pathlib, sys, time\nfrom affjax.train.lock import Lock\n"
      f"lock = Lock(pathlib.Path({str(part)!r}))\nprint('held', flush=True)\n"
      "time.sleep(600)",
    ],
    stdout=subprocess.PIPE,
    cwd=pathlib.Path(loop.__file__).parents[2],
    text=True,
  )
  assert holder.stdout is not None
  assert holder.stdout.readline() == "held\n"
  expected = rf"is in use by process {holder.pid} on .* since 20.*another --workdir"
  with pytest.raises(LockedError, match=expected):
    tiny.make_task(part, total_steps=12)
  os.kill(holder.pid, signal.SIGKILL)
  holder.wait()
  holder.stdout.close()
  lock = Lock(part)
  with pytest.raises(LockedError, match=f"process {os.getpid()}"):
    Lock(part)
  lock.release()
  lock.release()
  assert tiny.make_task(part, total_steps=12).lock is not None


def test_a_checkpoint_of_other_networks_lists_what_differs(part):
  learner = tiny.make_learner("stage1")
  params = learner.reconstructor.init(0)
  params["pose"] = {"kernel": jax.numpy.zeros((4, 7)), "bias": jax.numpy.zeros(7)}
  del params["light"]
  with (
    Checkpoints(part / "stage1") as checkpoints,
    pytest.raises(checkpoint.CheckpointError) as error,
  ):
    checkpoints.restore_params(params)
  message = str(error.value)
  assert "light/kernel is (4, 1) there and absent here" in message
  assert "pose/bias is absent there and (7,) here" in message
  assert "pose/kernel is (4, 6) there and (4, 7) here" in message


def test_another_optimizer_lists_what_differs(part):
  learner = tiny.make_learner("stage1", clip_norm=0.0)
  state = tiny.make_state(learner)
  with (
    Checkpoints(part / "stage1") as checkpoints,
    pytest.raises(checkpoint.CheckpointError, match=r"optimizer/\d/mu/position"),
  ):
    checkpoints.restore(
      state, tiny.make_data(tiny.Source(tiny.TEMPLATE, 16), batch_size=4)
    )


@pytest.mark.slow
def test_a_run_goes_on_with_more_devices(part, whole):
  assert _finish(part, devices=4).finished
  pairs = zip(
    jax.tree.leaves(tiny.final_params(part)),
    jax.tree.leaves(tiny.final_params(whole)),
    strict=True,
  )
  for found, expected in pairs:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_with_fewer_devices(tmp_path):
  task = tiny.make_task(tmp_path, total_steps=2)
  state = sharding.put_state(
    tiny.make_state(task.learner), sharding.make_mesh(MeshShape(4))
  )
  with Checkpoints(tmp_path / "stage1", Checkpointing()) as checkpoints:
    checkpoints.save(state, task.data, {})
    checkpoints.wait()
    found = checkpoints.restore(tiny.make_state(task.learner), task.data).state
  assert tiny.same(found, state)
  devices = [leaf.sharding.device_set for leaf in jax.tree.leaves(found)]
  assert {len(some) for some in devices} == {1}


def test_software_is_kept_and_compared(part, monkeypatch):
  like = tiny.make_learner("stage1").reconstructor.init(0)
  with Checkpoints(part / "stage1") as checkpoints:
    meta = checkpoints.restore_params(like)[2]
  assert meta["software"]["jax"] == jax.__version__
  assert meta["trained"] == ["pose", "position"]
  here = provenance.describe()
  assert tiny.make_task(part, total_steps=12).start.notes == ()
  newer = {**here, "jax": "99.0"}
  monkeypatch.setattr(provenance, "describe", lambda: newer)
  (note,) = tiny.make_task(part, total_steps=12).start.notes
  assert note == f"begun with other software: jax was {jax.__version__}, is 99.0"


def test_a_repository_around_the_package_is_not_its_own(tmp_path, monkeypatch):
  commit = provenance.describe()["git"]
  assert commit is None or len(commit.removesuffix("+changes")) == 40
  package = tmp_path / "affjax"
  package.mkdir()
  subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
  monkeypatch.setattr("affjax.__file__", str(package / "__init__.py"))
  assert provenance.describe()["git"] is None


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
  """`save` returns before the checkpoint has its name."""
  task = tiny.make_task(tmp_path, total_steps=2)
  write, may_end = checksums.write, threading.Event()
  monkeypatch.setattr(checksums, "write", lambda f: may_end.wait(60) and write(f))
  with Checkpoints(tmp_path / "stage1", Checkpointing()) as checkpoints:
    checkpoints.save(tiny.make_state(task.learner), task.data, {})
    assert _steps(tmp_path) == []
    may_end.set()
    checkpoints.wait()
    assert _steps(tmp_path) == [0]
