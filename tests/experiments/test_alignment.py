"""The comparison of architectures: what is run, in which order, and the summary."""

import json
import math

import pytest

from experiments.alignment import __main__ as command
from experiments.alignment import plan, summary
from experiments.alignment.plan import Run, Settings


def _write(root, run, settings, error, **more):
  (root / "runs").mkdir(exist_ok=True)
  result = {
    "task": run.task,
    "architecture": run.architecture,
    "seed": run.seed,
    "settings": vars(settings),
    "errors": {"visible": error, "hidden": 2 * error},
    **more,
  }
  run.path(root).write_text(json.dumps(result))
  return result


def _trained(error, seconds):
  return {
    "parameters": 1234,
    "curve": [[0, 9.0], [4, error]],
    "sampling_px_of_64": [error, 1.0, 1.0, 1.0],
    "seconds_a_step": {"cpu": seconds, "wall": seconds},
    "machine": {"cpu": "a"},
  }


def test_the_first_seed_makes_a_whole_table():
  runs = plan.schedule(["colors", "stage2"], ["plain", "paper"], [0, 1])
  assert [run.seed for run in runs] == [0] * 4 + [1] * 4
  assert {(run.task, run.architecture) for run in runs[:4]} == {
    (task, name) for task in ("colors", "stage2") for name in ("plain", "paper")
  }


def test_runs_that_are_done_are_left_out(tmp_path):
  runs = plan.schedule(["colors"], ["plain", "paper"], [0])
  _write(tmp_path, runs[0], Settings(), 1.0)
  assert plan.left(runs, tmp_path, Settings()) == runs[1:]


def test_a_folder_of_other_settings_is_refused(tmp_path):
  run = Run("colors", "plain", 0)
  _write(tmp_path, run, Settings(), 1.0)
  with pytest.raises(ValueError, match="made with steps = 400: choose another --out"):
    plan.left([run], tmp_path, Settings(steps=50))


def test_impossible_settings_are_refused():
  with pytest.raises(ValueError, match="multiple of batch, got 60 and 8"):
    Settings(held_out=60)
  with pytest.raises(ValueError, match="less than steps, got 20 and 20"):
    Settings(steps=20)


def test_rows_are_means_and_deviations_over_the_seeds(tmp_path):
  results = [
    _write(tmp_path, Run("colors", "paper", 0), Settings(), 20.0, **_trained(20.0, 1)),
    _write(tmp_path, Run("colors", "paper", 1), Settings(), 22.0, **_trained(22.0, 3)),
    _write(tmp_path, Run("colors", "constant color", 0), Settings(), 15.0),
  ]
  constant, paper = summary.rows(results)
  assert constant["mean"] == {"visible": 15.0, "hidden": 30.0}
  assert constant["deviation"] == {"visible": None, "hidden": None}
  assert paper["seeds"] == [0, 1]
  assert paper["mean"] == {"visible": 21.0, "hidden": 42.0}
  assert math.isclose(paper["deviation"]["visible"], math.sqrt(2))
  assert paper["cpu_seconds_a_step"] == 2
  assert paper["sampling_px_of_64"] == [21.0, 1.0, 1.0, 1.0]
  assert paper["curve"] == [(0, 9.0), (4, 21.0)]
  lines = summary.table("colors", [paper, constant]).splitlines()
  assert lines[2].startswith("| constant color |  | 15.00 | 30.00 |")
  assert lines[3] == (
    "| `paper` | 2 | 21.00 ± 1.41 | 42.00 ± 2.83 | 1,234 | 2000 | 21.0, 1.0, 1.0, 1.0 |"
  )


def test_a_folder_without_runs_is_one_line(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr("sys.argv", ["alignment", "--out", str(tmp_path), "--summary"])
  with pytest.raises(SystemExit, match="2"):
    command.main()
  assert f"--out {tmp_path} holds no runs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_sweep_goes_on_where_it_was(tmp_path, monkeypatch):
  text = "--size 64 --width 4 --steps 4 --warmup 1 --photos 8 --held-out 8 --points 2"
  wanted = "--seeds 0 --tasks colors --architectures plain,guided"
  arguments = ["alignment", "--out", str(tmp_path), *text.split(), *wanted.split()]
  monkeypatch.setattr("sys.argv", arguments)
  command.main()
  found = {path.stem: result for path, result in plan.results(tmp_path)}
  assert set(found) == {"colors-constant color-0", "colors-guided-0", "colors-plain-0"}
  assert [step for step, _ in found["colors-guided-0"]["curve"]] == [0, 2, 4]
  # Guided layers look where the texel is, plain ones at the map's own coordinates.
  near, far = (found[f"colors-{name}-0"] for name in ("guided", "plain"))
  assert max(near["sampling_px_of_64"]) < 3 < min(far["sampling_px_of_64"])
  monkeypatch.setattr("experiments.alignment.train.train", None)
  command.main()
