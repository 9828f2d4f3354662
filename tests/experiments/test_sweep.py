"""The sweep over configs: its plan, how it goes on, and its table."""

import json
import sys

import pytest

from experiments import sweep

FAKE = """
import json, pathlib, sys
flags = dict(a[2:].split("=", 1) for a in sys.argv[1:])
rate = float(flags["config.optimizer.learning_rate"])
if rate > 1:
  sys.exit("error: learning_rate is too large")
done = pathlib.Path(flags["workdir"]) / "stage1"
done.mkdir()
summary = {"finished": True, "eval_after": {"total": abs(rate - 0.01)}, "flags": flags}
(done / "summary.json").write_text(json.dumps(summary))
"""


@pytest.fixture
def sweeping(tmp_path, monkeypatch):
  """`sweeping(*arguments)` runs the script; training is `FAKE`."""
  script = tmp_path / "fake.py"
  script.write_text(FAKE)
  real = sweep.command

  def command(*arguments):
    return [sys.executable, str(script), *real(*arguments)[3:]]

  def run(*arguments):
    monkeypatch.setattr("sys.argv", ["sweep", "--out", f"{tmp_path}/out", *arguments])
    sweep.main()
    return tmp_path / "out"

  monkeypatch.setattr(sweep, "command", command)
  return run


RATES = ("--config=stage1", "--vary", "optimizer.learning_rate=0.1,0.02,5")


def test_every_combination_of_listed_values():
  found = sweep.combinations({"a": ("1", "2"), "b": ("x", "y")}, None, 0)
  assert [tuple(row.values()) for row in found] == [
    ("1", "x"),
    ("1", "y"),
    ("2", "x"),
    ("2", "y"),
  ]


def test_random_combinations_are_different_reproducible_and_even_in_the_logarithm():
  choices = {"weight": (0.001, 10.0), "size": ("64", "128")}
  found = sweep.combinations(choices, 400, 3)
  assert found == sweep.combinations(choices, 400, 3)
  assert len({tuple(row.values()) for row in found}) == 400
  below = sum(float(row["weight"]) < 0.1 for row in found)
  assert 160 < below < 240  # two of the four decades
  assert {row["size"] for row in found} == {"64", "128"}


def test_impossible_plans_are_refused():
  with pytest.raises(ValueError, match="a is a range: give --random N"):
    sweep.combinations({"a": (0.1, 1.0)}, None, 0)
  with pytest.raises(ValueError, match="--random 3: there are 2 combinations"):
    sweep.combinations({"a": ("1", "2")}, 3, 0)
  for text in ("a", "a=", "a=0:1", "a=2:1", "a=x:y"):
    with pytest.raises(Exception, match=r"must be"):
      sweep.varied(text)


def test_the_best_run_comes_first_and_a_failed_one_is_named(sweeping, capsys):
  out = sweeping(*RATES, "--set", "steps=7")
  lines = (out / "table.md").read_text().splitlines()
  assert lines[2:4] == ["| 1 | 0.02 | 0.01 |", "| 0 | 0.1 | 0.09 |"]
  assert lines[4] == "| 2 | 5 | failed: error: learning_rate is too large |"
  rows = json.loads((out / "table.json").read_text())["rows"]
  assert [row["run"] for row in rows] == [1, 0, 2]
  flags = json.loads((out / "runs/0001/stage1/summary.json").read_text())["flags"]
  assert flags["config"] == "stage1"
  assert flags["config.steps"] == "7"


def test_it_goes_on_where_it_was(sweeping, monkeypatch, capsys):
  out = sweeping(*RATES)
  capsys.readouterr()
  sweeping(*RATES)
  # The failed run alone is tried again.
  assert next(line[:3] for line in capsys.readouterr().out.splitlines()) == "3/3"
  monkeypatch.setattr(sweep, "run", None)
  sweeping("--summary")
  with pytest.raises(SystemExit):
    sweeping("--config=stage1", "--vary", "optimizer.learning_rate=0.1")
  assert "holds another plan" in capsys.readouterr().err
  assert len(json.loads((out / "plan.json").read_text())["runs"]) == 3


def test_a_slurm_array_has_a_task_for_each_run(sweeping, capsys):
  out = sweeping(*RATES, "--slurm")
  text = (out / "array.sbatch").read_text()
  assert "#SBATCH --array=0-2\n" in text
  assert text.rstrip().endswith("--only $SLURM_ARRAY_TASK_ID")
  assert not (out / "runs").exists()
  sweeping("--only", "1")
  assert [path.name for path in (out / "runs").iterdir()] == ["0001"]


def test_a_metric_that_is_not_there_is_named(sweeping, capsys):
  with pytest.raises(SystemExit):
    sweeping(*RATES, "--metric", "eval_after.loss")
  assert "there is no 'loss' among total" in capsys.readouterr().err
