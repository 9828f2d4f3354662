"""The command that compares affjax with the method in PyTorch."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
from experiments import compare_pytorch

ROOT = pathlib.Path(__file__).parents[2]
TINY = "--size 16 --batch 2 --width 2 --steps 3 --rounds 3 --threads 1"


def _run(folder):
  """Returns what the command prints, and the file that it leaves."""
  command = [sys.executable, "-m", "experiments.compare_pytorch", "--stages", "stage1"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  done = subprocess.run(
    [*command, *TINY.split(), "--out", str(folder)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
  )
  assert done.returncode == 0, done.stderr
  path = folder / "compare_pytorch_16.json"
  return done.stdout, path, json.loads(path.read_text())


def test_the_command_agrees_and_goes_on_where_it_stopped(tmp_path):
  printed, path, found = _run(tmp_path)
  verdicts = found["verdicts"]["stage1"]
  for kind in ("outputs", "losses", "gradients", "updates", "run"):
    assert verdicts[kind]["met"], (kind, verdicts[kind])
  assert found["results"]["stage1"]["transplanted"]
  assert printed.count("stage1: ") == len(compare_pytorch.PARTS)
  times = found["results"]["stage1"]["seconds"]["update_s"]
  assert min(time["median"] for time in times.values()) > 0

  del found["results"]["stage1"]["run"]
  path.write_text(json.dumps(found))
  printed, _, again = _run(tmp_path)
  lines = [line for line in printed.splitlines() if line.startswith("stage1: ")]
  assert lines == ["stage1: run"]
  assert again["results"]["stage1"]["run"].keys() >= {"losses", "weights"}


def test_results_of_another_method_do_not_count(tmp_path):
  path = tmp_path / "found.json"
  path.write_text(json.dumps({"method": {"size": 64}, "results": {"stage1": {}}}))
  assert compare_pytorch.known(path, {"size": 64}) == {"stage1": {}}
  assert compare_pytorch.known(path, {"size": 32}) == {}


@pytest.mark.parametrize(
  ("kind", "value", "met"),
  [("gradients", 1e-4, True), ("gradients", 2e-3, False), ("speed", 1.79, False)],
)
def test_a_missed_target_is_reported(kind, value, met):
  result = {"seconds": {"ratio": value, "fastest": "PyTorch, stacked"}}
  if kind == "gradients":
    same = {"a": value / 2, "b": value}
    result = {"errors": {"outputs": same, "losses": same, "gradients": same}}
  found = compare_pytorch.verdicts(result)
  assert found[kind][0] == value
  assert compare_pytorch.met(kind, found[kind][0]) is met
  assert ("missed" not in compare_pytorch.table({"stage1": result})) is met
