"""The session for the day on which a GPU is at hand, as far as it runs without one."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments import gpu_session
from experiments.gpu_session import Step

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def session(tmp_path, monkeypatch):
  """Runs a session of the given steps; its exit status and its record by step."""
  monkeypatch.setattr(gpu_session, "_SCRATCH", tmp_path / "scratch")

  def run(steps, *arguments):
    monkeypatch.setattr(gpu_session, "plan", lambda cpu: steps)
    status = gpu_session.main(["--out", str(tmp_path / "out"), "--cpu", *arguments])
    steps = json.loads((tmp_path / "out" / "session.json").read_text())["steps"]
    return status, {step["name"]: step for step in steps}

  return run


def _python(program: str) -> tuple[str, ...]:
  return (sys.executable, "-c", program)


def test_a_step_that_fails_or_hangs_does_not_stop_the_others(session, tmp_path):
  steps = [
    Step("wrong", 1, _python("print('oh'); raise SystemExit(3)"), 60),
    Step("stuck", 1, _python("import time; time.sleep(600)"), 1),
    Step("absent", 1, ("true",), 60, needs=("no_such_module_or_program",)),
    Step("file", 1, ("true",), 60, needs=("experiments/no_such_file.py",)),
    Step("gpu", 1, ("true",), 60, needs_gpu=True),
    Step("shell", 1, "echo x > {scratch}/x && cp {scratch}/x {out}/kept", 60),
    Step("right", 2, _python("print('RESULT {\"ms\": 1.5}')"), 60),
  ]
  status, record = session(steps)
  assert status == 1
  found = {name: step["status"] for name, step in record.items()}
  assert found == {
    "wrong": "failed",
    "stuck": "out of time",
    "absent": "skipped",
    "file": "skipped",
    "gpu": "skipped",
    "shell": "ok",
    "right": "ok",
  }
  assert record["wrong"]["exit"] == 3
  assert "oh" in record["wrong"]["end_of_output"]
  assert "no_such_module_or_program" in record["absent"]["reason"]
  assert record["right"]["result"] == {"ms": 1.5}
  files = {path.name for path in (tmp_path / "out").iterdir()}
  assert files == {"session.json", "session.log", "kept"}
  assert not (tmp_path / "scratch").exists()


def test_parts_names_and_the_end_of_time(session):
  steps = [Step("one", 1, ("true",), 60), Step("two", 2, ("true",), 60)]
  assert set(session(steps, "--part", "2")[1]) == {"two"}
  # What another call has left stays in the record.
  assert set(session(steps, "--only", "one")[1]) == {"two", "one"}
  status, record = session(steps, "--seconds", "1")
  assert status == 0
  assert {step["reason"] for step in record.values()} == {"no time left"}
  with pytest.raises(SystemExit):
    session(steps, "--only", "three")


def test_each_part_has_its_own_time(session):
  sleep = _python("import time; time.sleep(60)")
  steps = [Step("one", 1, sleep, 60), Step("two", 2, ("true",), 1)]
  status, record = session(steps, "--seconds", "2")
  assert status == 0
  assert record["one"]["status"] == "skipped"  # less than ten seconds are left
  assert record["two"]["status"] == "ok"


def test_the_parts_fit_their_calls():
  for cpu in (False, True):
    steps = gpu_session.plan(cpu)
    assert len({step.name for step in steps}) == len(steps)
    assert [step.part for step in steps] == sorted(step.part for step in steps)
    assert {step.part for step in steps} == set(gpu_session.PARTS)
    if not cpu:
      assert max(step.limit_s for step in steps) <= gpu_session.PART_S
    for step in steps:
      for script in (p for p in step.command if str(p).endswith((".py", ".cu"))):
        if "=" not in script:
          assert (ROOT / script).is_file(), script


def test_dry_run_says_what_would_run():
  command = [sys.executable, "experiments/gpu_session.py", "--dry-run", "--part", "1"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert "experiments/gpu/checks.py rasterizer" in done.stdout
  assert "stage3" not in done.stdout
  command[-1:] = ["5", "6"]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  assert "compute-sanitizer --tool memcheck" in done.stdout
  assert "--config=configs/stage3.py" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
  "check", ["build", "rasterizer", "affine", "render", "small", "stage3"]
)
def test_checks_run_on_the_cpu(check):
  command = [sys.executable, "experiments/gpu/checks.py", check, "--cpu"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert done.stdout.splitlines()[-1].startswith("RESULT {")
