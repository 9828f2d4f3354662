"""The tables of the paper: their commands, how they go on, and what they say."""

import json

import pytest

from experiments.paper import __main__ as command
from experiments.paper import plan, summary
from experiments.paper.plan import Run


def _write(run, root, side, top):
  row = lambda measure, mean, baseline: {
    "measure": measure,
    "mean": mean,
    "baseline": baseline,
  }
  content = {
    "photos": 4,
    "without_a_head": {"000001": "no face found"},
    "rows": [
      row("SIDE, raw", side, 0.9),
      {**row("SIDE, raw", 5.0, 5.0), "stratum": "dark"},
      {**row("SIDE, raw", 5.0, 5.0), "part": "nose"},
      row("MAD, raw", 10 * side, 12.0),
      row("identity cosine, canonical", top, None),
      row("identity top-1", top, 0.25),
      row("identity top-5", 1.0, 1.0),
    ],
  }
  run.result(root).parent.mkdir(parents=True)
  run.result(root).write_text(json.dumps(content))


def test_a_run_is_three_stages_in_one_workdir_and_an_evaluation(tmp_path):
  *stages, judging = plan.commands(Run("plain", 2), plan.SCALES["cpu"], tmp_path)
  workdir = f"--workdir={tmp_path / 'runs' / 'plain-2'}"
  assert [words[3] for words in stages] == [f"--config={s}" for s in plan.STAGES]
  for words in stages:
    assert workdir in words
    assert "--config.model.architecture=plain" in words
    assert "--config.seed=2" in words
  assert judging[3:7] == ["evaluate", str(tmp_path / "runs/plain-2"), "--on", plan.SET]


def test_every_option_of_a_variant_is_one_of_the_config(tmp_path):
  from affjax import build

  for name in plan.VARIANTS:
    for words in plan.commands(Run(name), plan.SCALES["smoke"], tmp_path)[:-1]:
      config = build.default_config()
      for word in words[5:]:
        key, value = word.removeprefix("--config.").split("=", 1)
        section = config
        *path, last = key.split(".")
        for part in path:
          section = section[part]
        assert last in section, key
        section[last] = type(section[last])(value)


def test_what_is_done_is_not_made_again_and_a_failure_stops_its_run_only(tmp_path):
  done, failing, last = Run("paper"), Run("plain"), Run("guided")
  _write(done, tmp_path, 0.5, 1.0)
  called = []

  def call(words):
    called.append(words)
    return 1 if "plain-0" in " ".join(words) else 0

  scale = plan.SCALES["smoke"]
  problems = command.make([done, failing, last], scale, tmp_path, call=call)
  assert len(called) == 1 + len(plan.commands(last, scale, tmp_path))
  assert problems == [f"plain-0: status 1 of {' '.join(called[0][2:])}"]


def test_tables_have_means_spreads_and_the_papers_numbers(tmp_path, monkeypatch):
  monkeypatch.setattr(summary, "RESULTS", tmp_path / "results")
  runs = plan.schedule(["paper", "plain", "no_adversarial"], [0, 1])
  _write(Run("paper", 0), tmp_path, 0.5, 0.75)
  _write(Run("paper", 1), tmp_path, 0.7, 0.75)
  _write(Run("no_adversarial", 0), tmp_path, 0.5, 0.5)
  first, second, third = summary.write(tmp_path, "smoke", runs).split("Table ")[1:]
  lines = first.splitlines()
  assert "| the mean head |  | 0.9 | 12 |  |" in lines
  assert "| AffUNet | 2, 3 | 0.6 ± 0.14 | 6 ± 1.4 | 0.721, 14.74 |" in lines
  assert "| DECA |  | bring its output | bring its output | 2.486, 53.61 |" in lines
  assert not [line for line in lines if "L_adv" in line]
  plain = (
    "| AffUNet without affine convolution |  | not trained yet | not trained yet |"
  )
  assert f"{plain} 0.947, 39.62 |" in lines
  assert "| the mean head |  | – | 0.25 | 1 |  |" in second.splitlines()
  assert "| without L_adv | 1, 3 | 0.5 | 0.5 | 1 | 0.447, 0.794, 0.872 |" in third
  result = json.loads((tmp_path / "results" / "paper_smoke.json").read_text())
  assert [row["row"] for row in result["rows"]] == [
    "the mean head",
    "AffUNet",
    "without L_adv",
  ]


def test_a_folder_without_results_is_one_line(tmp_path, monkeypatch, capsys):
  words = ["paper", "--scale", "smoke", "--out", str(tmp_path), "--summary"]
  monkeypatch.setattr("sys.argv", words)
  with pytest.raises(SystemExit, match="2"):
    command.main()
  assert "holds no evaluation yet" in capsys.readouterr().err
