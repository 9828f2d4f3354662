"""`python -m affjax.main` as a user runs it."""

import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from affjax import build, commands, main
from affjax.train import checkpoint, sharding
from tests import tiny_config

ROOT = pathlib.Path(__file__).parents[1]


def _command(*arguments):
  return [sys.executable, "-m", "affjax.main", *map(str, arguments)]


def _run(*arguments, expect=0):
  done = subprocess.run(
    _command(*arguments),
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=600,
  )
  assert done.returncode == expect, done.stdout + done.stderr
  return done


def _run_here(*arguments):
  """Runs the program in this process, which has started already."""
  printed = io.StringIO()
  with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
    patch.chdir(ROOT)
    assert main.main(["main", *arguments]) == 0, printed.getvalue()
  return printed.getvalue()


def _stage(stage, photos, workdir, **changes):
  return [
    f"--config={stage}",
    f"--workdir={workdir}",
    f"--config.data.path={photos}",
    *tiny_config.flags(**changes),
  ]


@pytest.fixture
def refused(capsys, monkeypatch):
  """`refused(*arguments, expect=2)`: the one line that a refused command prints."""
  monkeypatch.chdir(ROOT)
  monkeypatch.syspath_prepend(str(ROOT))

  def run(*arguments, expect=2):
    assert main.main(["main", *map(str, arguments)]) == expect
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]

  return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  return tiny_config.write_photos(tmp_path_factory.mktemp("data") / "photos")


# The first stage, as long as it takes to be stopped twice.
LONG = {"steps": 20, "checkpoint__every": 5, "log__every": 1}


@pytest.fixture(scope="module")
def chained(photos, tmp_path_factory):
  """A workdir after all three stages, the first in its own process, and their words."""
  workdir = tmp_path_factory.mktemp("run") / "a"
  printed = [
    _run(*_stage("stage1", photos, workdir, **LONG)).stdout,
    _run_here(*_stage("stage2", photos, workdir)),
    _run_here(*_stage("stage3", photos, workdir)),
  ]
  return workdir, printed


def test_three_stages_chain_by_themselves(chained):
  workdir, printed = chained
  assert "starts from fresh weights" in printed[0]
  assert f"starts from the weights of {workdir / 'stage1'}, step 20" in printed[1]
  assert f"starts from the weights of {workdir / 'stage2'}, step 4" in printed[2]
  assert "adversarial_discriminator" in printed[2]
  for name in ("stage1", "stage2", "stage3"):
    summary = json.loads((workdir / name / "summary.json").read_text())
    assert summary["finished"]
    assert np.isfinite(list(summary["eval_after"].values())).all()
    last = 20 if name == "stage1" else 4
    assert (workdir / "pictures" / f"{name}_{last:06d}.png").exists()
  assert summary["features"].startswith("vgg16")
  assert json.loads((workdir / "config.json").read_text())["stage"] == "stage3"


@pytest.mark.slow
def test_three_stages_train_on_an_obj(tmp_path, monkeypatch):
  from tests.heads.test_open_head import HEAD, write_obj

  monkeypatch.chdir(tmp_path)
  write_obj(tmp_path / "person.obj", HEAD.template.vertices)
  photos = tiny_config.write_photos(tmp_path / "photos", template="person.obj")
  for stage in ("stage1", "stage2", "stage3"):
    changes = {"model__template": "person.obj"}
    assert main.main(["main", *_stage(stage, photos, tmp_path / "a", **changes)]) == 0
  monkeypatch.chdir(ROOT)
  run = build.load_run(tmp_path / "a")
  assert (run.stage, run.reconstructor.template.name) == ("stage3", "person")
  images = np.full((1, tiny_config.SIZE, tiny_config.SIZE, 3), 0.5, np.float32)
  assert np.isfinite(jax.jit(run.reconstructor)(run.params, images).render).all()


def test_debugging_shows_the_traceback(monkeypatch, capsys, tmp_path):
  monkeypatch.setenv("AFFJAX_DEBUG", "1")
  arguments = ["main", "--config=stage1", f"--workdir={tmp_path}", "--config.steps=-1"]
  assert main.main([*arguments, "--config.epochs=-1"]) == 2
  assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_the_run_can_be_loaded_and_used(chained):
  run = build.load_run(chained[0])
  assert (run.stage, run.step) == ("stage3", 4)
  images = np.full((1, tiny_config.SIZE, tiny_config.SIZE, 3), 0.5, np.float32)
  predict = jax.jit(lambda p, x: run.reconstructor(p, x, render=False))
  found = predict(run.params, images)
  assert np.isfinite(found.position).all()
  assert found.diffuse.shape == images.shape


def test_a_run_knows_what_no_stage_has_trained(chained, photos, tmp_path):
  assert build.load_run(chained[0]).untrained == ()
  first = build.load_run(chained[0] / "stage1")
  assert first.untrained == ("diffuse", "light", "pose")
  # Weights from a trained run are trained, whatever stage goes on with them.
  config = tiny_config.config(
    "stage1", data__path=str(photos), init_from=str(chained[0])
  )
  task = build.task(config, tmp_path / "b")
  folder = tmp_path / "b" / "stage1"
  with checkpoint.Checkpoints(folder, task.plan.checkpoint) as checkpoints:
    checkpoints.save(task.start.state, task.data, task.description(0.0))
  assert build.load_run(tmp_path / "b").untrained == ()


def test_a_complete_stage_is_not_run_again(chained, photos):
  assert "nothing to do" in _run_here(*_stage("stage1", photos, chained[0], **LONG))


@pytest.mark.parametrize(
  "ends",
  [
    ((signal.SIGKILL, -9, 11),),
    # test_train_loop.py stops and kills stages of smaller networks at any moment.
    pytest.param(
      ((signal.SIGTERM, 0, 4), (signal.SIGKILL, -9, 4)), marks=pytest.mark.slow
    ),
  ],
  ids=["killed", "stopped and killed"],
)
def test_killed_it_goes_on_to_the_same_weights(chained, photos, tmp_path, ends):
  command = _stage("stage1", photos, tmp_path / "parts", **LONG)
  for number, expect, steps in ends:
    child = subprocess.Popen(
      _command(*command),
      cwd=ROOT,
      stdout=subprocess.PIPE,
      text=True,
    )
    assert child.stdout is not None
    lines = (line for line in child.stdout if "/20" in line)
    for _ in range(steps):
      next(lines)
    os.kill(child.pid, number)
    child.stdout.read()
    assert child.wait() == expect
    time.sleep(0.1)
  assert "its checkpoint of step" in _run_here(*command)
  parts, whole = map(build.load_run, (tmp_path / "parts", chained[0] / "stage1"))
  assert parts.step == whole.step == 20
  for a, b in zip(
    *(jax.tree.leaves(run.params) for run in (parts, whole)), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_typing_errors_are_one_line_that_helps(refused, tmp_path):
  there = ("--config=stage1", f"--workdir={tmp_path / 'a'}")
  line = refused(*there, "--config.data.batchsize=3")
  assert "no config key 'batchsize'; did you mean 'batch_size'?" in line
  assert "did you mean 'data'" in refused(*there, "--config.dat.batch_size=3")
  assert "invalid literal for int" in refused(*there, "--config.data.batch_size=x")
  # All of them at once.
  line = refused(
    *there,
    "--config.data.batchsize=3",
    "--config.steps=9",
    "--config.lossx.image_l1=2",
    "--config.model.size=x",
  )
  assert "no config key 'batchsize'" in line
  assert "no config key 'lossx'; did you mean 'loss'?" in line
  assert "--config.model.size=x: invalid literal" in line
  assert "steps" not in line
  assert "Did you mean: workdir" in refused(*there, "--workdri=b")
  assert "unexpected argument 'b'" in refused(*there, "b")
  assert "--workdir is missing" in refused(there[0])
  assert "--config is missing" in refused(there[1])
  assert "nowhere.py" in refused("--config=configs/nowhere.py", there[1])
  assert not (tmp_path / "a").exists()


def test_a_misspelt_key_shows_no_traceback(tmp_path):
  arguments = ("--config=configs/stage1.py", f"--workdir={tmp_path / 'a'}")
  done = _run(*arguments, "--config.optimizer.learning_rat=1", expect=2)
  assert "did you mean 'learning_rate'?" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


def test_help_shows_the_commands(capsys):
  with pytest.raises(SystemExit) as ended:
    main.main(["main", "--help"])
  assert ended.value.code == 0
  assert "--config=stage1" in capsys.readouterr().out


def test_a_stage_without_its_predecessor_names_the_command(refused, photos, tmp_path):
  line = refused(*_stage("stage2", photos, tmp_path / "a"))
  assert "run first: python -m affjax.main --config=stage1" in line


def test_a_workdir_of_another_config_is_refused(refused, chained, photos):
  line = refused(*_stage("stage2", photos, chained[0], model__position__width=8))
  assert "model.position.width is 4 there and 8 here" in line


def test_a_workdir_that_cannot_be_made_is_one_line(refused, photos, tmp_path):
  (tmp_path / "file").write_text("")
  line = refused(*_stage("stage1", photos, tmp_path / "file" / "a"), expect=1)
  assert "file" in line


def test_a_damaged_photo_is_named(refused, tmp_path):
  folder = tiny_config.write_photos(tmp_path / "photos")
  whole = (folder / "03.png").read_bytes()
  (folder / "03.png").write_bytes(whole[:100])
  line = refused(*_stage("stage1", folder, tmp_path / "a"), expect=1)
  assert "cannot read photo '03.png'" in line


def test_a_nan_names_its_term_and_can_be_replayed(
  refused, photos, tmp_path, monkeypatch, capsys
):
  put = sharding.put_batch

  def broken(record, mesh):
    return put({**record, "vertices": np.full_like(record["vertices"], np.nan)}, mesh)

  monkeypatch.setattr(sharding, "put_batch", broken)
  line = refused(*_stage("stage1", photos, tmp_path / "a"), expect=1)
  assert "loss term position_l1 became" in line
  (failed,) = (tmp_path / "a" / "stage1" / "failed").iterdir()
  assert f"(affjax replay {failed})" in line
  before = sorted(tmp_path.rglob("*"))
  assert commands.main(["replay", str(failed)]) == 1
  printed = capsys.readouterr()
  assert "term_gradient/position_l1" in printed.out
  assert "not finite: " in printed.err
  assert "position_l1" in printed.err
  assert sorted(tmp_path.rglob("*")) == before
  (failed / "batch.npz").write_bytes(b"PK")
  assert commands.main(["replay", str(failed)]) == 2
  assert "cannot read" in capsys.readouterr().err


def test_processes_that_cannot_meet_are_refused(refused, tmp_path):
  there = ("--config=stage1", f"--workdir={tmp_path / 'a'}")
  line = refused(*there, "--coordinator=host:1", "--processes=2", "--process=2")
  assert "needs processes >= 1 and process in [0, processes), got 2 and 2" in line
  line = refused(*there, "--process=1")
  assert "need coordinator = HOST:PORT" in line
  assert "the processes did not connect" in refused(*there, "--coordinator=auto")
