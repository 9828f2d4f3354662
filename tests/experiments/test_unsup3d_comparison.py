"""The comparison of Unsup3D's variants: plan, table, and what it refuses."""

import dataclasses
import json

import numpy as np
import pytest

from affjax import build
from experiments.unsup3d import plan, summary
from experiments.unsup3d.plan import Run, Settings


def write(root, variant, seed, side, **settings):
  """Writes the result of a run whose photos have these SIDEs, and MADs of ten times."""
  errors = lambda values: {
    "side_percent": list(values),
    "mad_deg": [10 * value for value in values],
    "pixels": [100.0] * len(values),
  }
  run = Run(variant, seed)
  content = {
    **dataclasses.asdict(run),
    "settings": dataclasses.asdict(Settings(**settings)),
    "machine": {},
    "method": errors(side),
    "constant": errors([2.0, 4.0, 6.0]),
  }
  path = run.result(root)
  path.parent.mkdir(exist_ok=True)
  path.write_text(json.dumps(content))


def test_the_table_averages_seeds_and_counts_photos(tmp_path):
  write(tmp_path, "original", 0, [1.0, 2.0, 3.0])
  write(tmp_path, "original", 1, [3.0, 4.0, float("nan")])
  write(tmp_path, "affine", 0, [1.0, 1.0, 1.0])
  content = summary.summarized(summary.results(tmp_path))
  row = content["rows"]["original"]["side_percent"]
  # The third photo has no error in one run.
  assert (row["n"], row["mean"]) == (2, pytest.approx(2.5))
  assert row["ratio_to_constant"] == pytest.approx(2.5 / 3)
  assert row["by_seed"] == [2.0, 3.5]
  assert row["paper"] == 1.423
  low, high = row["interval"]
  assert low <= row["mean"] <= high
  assert content["rows"]["constant depth"]["mad_deg"]["mean"] == pytest.approx(40)
  assert content["seeds"] == {"original": [0, 1], "affine": [0]}
  assert content["photos"] == 3
  lines = summary.table(content).splitlines()
  assert lines[3].startswith("| original | 2 | 2 | 2.500 (")
  assert lines[4].endswith("| 1.367 / 21.8 |")
  summary.write(tmp_path, tmp_path / "summary.json")
  assert json.loads((tmp_path / "summary.json").read_text())["photos"] == 3


def test_runs_of_several_settings_are_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no runs"):
    summary.results(tmp_path)
  write(tmp_path, "original", 0, [1.0, 2.0, 3.0])
  write(tmp_path, "affine", 0, [1.0, 2.0, 3.0], steps=5)
  with pytest.raises(ValueError, match="runs of several settings"):
    summary.results(tmp_path)


def test_the_runs_of_a_seed_differ_in_nothing_but_the_variant(tmp_path):
  runs = plan.schedule(plan.VARIANTS, [3, 4])
  assert [run.name for run in runs] == [
    "original-3",
    "affine-3",
    "original-4",
    "affine-4",
  ]
  settings = Settings(size=32, width=8)
  first, second = (plan.config(run, settings, tmp_path).to_dict() for run in runs[:2])
  assert second["model"]["unsup3d"]["affine"] is True
  second["model"]["unsup3d"]["affine"] = False
  assert first == second
  assert first["seed"] == 3
  assert np.isclose(first["model"]["camera"]["fov_deg"], 10.32, atol=0.01)
  build.read_config(plan.config(runs[0], settings, tmp_path))
