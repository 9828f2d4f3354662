"""The report: it is made of the results, and its verdicts follow from them."""

import json

import pytest

from experiments import report


def test_the_committed_report_is_that_of_the_committed_results():
  assert report.REPORT.read_text() == report.report()


def _comparison(plain, paper):
  row = lambda name, side: {
    "task": "position",
    "architecture": name,
    "seeds": [0, 1],
    "parameters": 10,
    "mean": {"side": side, "mad": 10 * side, "distance": 20 * side},
    "deviation": {"side": 0.1, "mad": 1.0, "distance": 2.0},
  }
  settings = {"photos": 6, "size": 64, "held_out": 2, "steps": 4, "batch": 2}
  return {"settings": settings, "rows": [row("plain", plain), row("paper", paper)]}


@pytest.mark.parametrize(
  ("plain", "paper", "verdict", "ratio"),
  [
    (1.0, 0.8, "the direction reproduces", "SIDE 0.8"),
    (1.0, 1.1, "it does not reproduce", "SIDE 1.1"),
  ],
)
def test_verdicts_follow_from_the_numbers(
  tmp_path, monkeypatch, plain, paper, verdict, ratio
):
  content = json.dumps(_comparison(plain, paper))
  (tmp_path / "alignment.json").write_text(content)
  (tmp_path / "alignment_long.json").write_text(json.dumps(_comparison(1.0, 0.5)))
  monkeypatch.setattr(report, "RESULTS", tmp_path)
  text = " ".join(report.report().split())
  short = text[text.rindex("With 4 steps of 2 on 6 photos **") :]
  assert short.startswith(f"With 4 steps of 2 on 6 photos **{verdict}")
  assert f" {ratio}, " in short
  assert f"| paper | 2 | {20 * paper:.3g} ± 2 | {paper} ± 0.1 |" in text
  assert "distance 0.5, SIDE 0.5, MAD 0.5 (2 seeds)" in text


def test_what_is_missing_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr(report, "RESULTS", tmp_path)
  text = report.report()
  assert text.count("Not measured: `results/") == len(report.SECTIONS)
