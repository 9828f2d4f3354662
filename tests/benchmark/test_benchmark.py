"""Benchmark sets and judgments: made, resumed, damaged, judged."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from affjax import benchmark, pool
from affjax.benchmark import _judging, _recipes, _samples
from affjax.eval import Heads
from affjax.heads import open_head, random_vertices
from tests.command_line import run


def _painted(index: int) -> _samples.Encoded:
  """A sample that takes no painting."""
  model = open_head("embedded")
  rng = np.random.default_rng(index)
  vertices = random_vertices(rng, model, 1)[0]
  pose = np.array([0, rng.uniform(-0.6, 0.6), 0, 0, 0, 0], np.float32)
  return _samples.encode(
    _samples.Sample(
      photo=np.full((64, 64, 3), 90 + index, np.uint8),
      visible=np.full((64, 64), 255, np.uint8),
      vertices=vertices,
      pose=pose,
      diffuse=np.full((32, 32, 3), 150, np.uint8),
      light=np.ones((4, 4, 1), np.float32),
      light_color=np.ones(3, np.float32),
      expression_mm=1.0,
      scan=vertices[:200],
    )
  )


@pytest.fixture
def painting(monkeypatch):
  """Painting replaced by `_painted` in this process; records what was painted."""
  painted = []

  def run(make, tasks, *, workers):
    for index in tasks:
      painted.append(index)
      yield index, _painted(index)

  monkeypatch.setattr(pool, "run", run)
  return painted


@pytest.fixture
def small():
  return benchmark.recipe("embedded", count=6, size=64)


def test_a_set_is_made_resumed_and_read_in_part(painting, small, tmp_path):
  folder = tmp_path / "set"
  part = benchmark.make_set(small, folder, limit=2)
  assert len(part) == 2
  whole = benchmark.make_set(small, folder)
  assert painting == [0, 1, 2, 3, 4, 5]
  assert len(whole) == 6
  assert whole.hashes[:2] == part.hashes
  assert benchmark.read_set(folder, limit=2).sha256 == part.sha256
  truths = whole.truths([1, 4])
  assert truths.names == ("000001", "000004")
  np.testing.assert_allclose(truths.photos[0], 91, atol=1)
  np.testing.assert_allclose(
    truths.vertices[1],
    random_vertices(np.random.default_rng(4), open_head("embedded"), 1)[0],
    atol=6e-5,
  )


def test_a_killed_run_keeps_finished_samples(painting, small, tmp_path, monkeypatch):
  def killed(make, tasks, *, workers):
    yield 0, _painted(0)
    raise KeyboardInterrupt

  folder = tmp_path / "set"
  usual = pool.run
  monkeypatch.setattr(pool, "run", killed)
  with pytest.raises(KeyboardInterrupt):
    benchmark.make_set(small, folder)
  monkeypatch.setattr(pool, "run", usual)
  with pytest.raises(benchmark.SetError, match="holds 1 of the 6 samples"):
    benchmark.read_set(folder)
  benchmark.make_set(small, folder)
  assert painting == [1, 2, 3, 4, 5]


def _damage_photo(folder: pathlib.Path) -> None:
  path = folder / "photos" / "000001.jpg"
  path.write_bytes(path.read_bytes()[:-1] + b"x")


def _remove_truth(folder: pathlib.Path) -> None:
  (folder / "truth" / "000001.npz").unlink()


@pytest.mark.parametrize("damage", [_damage_photo, _remove_truth])
def test_a_damaged_sample_is_refused_by_name(painting, small, tmp_path, damage):
  made = benchmark.make_set(small, tmp_path / "set", limit=2)
  damage(tmp_path / "set")
  made.truths([0])
  with pytest.raises(benchmark.SetError, match="sample 000001 of benchmark set 'emb"):
    made.truths([0, 1])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c["samples"].update({"000000": "0" * 64}), "does not match its hash"),
    (lambda c: c["recipe"].update(head="0"), "another head or version"),
    (lambda c: c["recipe"].update(color="red"), "another recipe"),
    (lambda c: c.update(format=0), "another format"),
    (lambda c: c.pop("samples"), "cannot be read"),
  ],
)
def test_a_changed_index_is_refused(painting, small, tmp_path, change, message):
  benchmark.make_set(small, tmp_path / "set", limit=1)
  path = tmp_path / "set" / "set.json"
  content = json.loads(path.read_text())
  change(content)
  path.write_text(json.dumps(content))
  with pytest.raises(benchmark.SetError, match=message):
    benchmark.read_set(tmp_path / "set", limit=1)


def test_another_recipe_is_replaced_only_when_asked(painting, small, tmp_path):
  benchmark.make_set(small, tmp_path / "set", limit=1)
  other = dataclasses.replace(small, seed=1)
  with pytest.raises(benchmark.SetError, match="add --overwrite"):
    benchmark.make_set(other, tmp_path / "set", limit=1)
  made = benchmark.make_set(other, tmp_path / "set", limit=1, overwrite=True)
  assert made.recipe == other


def test_sets_of_a_name():
  with pytest.raises(ValueError, match="set must be one of embedded, ict, got 'now'"):
    benchmark.recipe("now")
  with pytest.raises(ValueError, match="name its folder by --ict"):
    _recipes.painter(benchmark.recipe("ict"), None)
  folders = {benchmark.folder_of(benchmark.recipe(name)) for name in benchmark.SETS}
  assert len(folders) == len(benchmark.SETS)


def test_a_sample_is_painted_from_the_recipe():
  """The true painting, small."""
  made = benchmark.recipe("embedded", count=2, size=64)
  painter = _recipes.painter(made, None)
  sample = _samples.decode(painter(1))
  assert sample.photo.shape == (64, 64, 3)
  assert 100 < len(sample.scan) <= 600
  exact = painter.faces.exact(1)
  np.testing.assert_allclose(sample.vertices, exact["vertices"], atol=6e-5)
  assert painter(1).sha256 == painter(1).sha256


class _Halfway:
  """A method that halves the error of the mean head, and fails in known ways."""

  about = "half of the way"

  def heads_in(self, truths):
    vertices = 0.5 * (truths.vertices + truths.template.vertices)
    vertices[1, 0] = np.nan
    index = [k for k in range(len(truths)) if k != 2]
    heads = Heads(vertices.astype(np.float32), truths.pose).chosen(index)
    return benchmark.Answer(index, heads, {2: "the file is missing"})


def test_a_method_is_judged_beside_the_mean_head(painting, small, tmp_path):
  made = benchmark.make_set(small, tmp_path / "set")
  judgment = _judging.judge(_Halfway(), made)
  assert judgment.problems == {
    "000001": "NaN or infinity in the vertices",
    "000002": "the file is missing",
  }
  result = benchmark.as_json(judgment)
  (row,) = (
    row
    for row in result["rows"]
    if row["measure"] == "position, raw" and "part" not in row and "stratum" not in row
  )
  assert row["n"] == 4
  assert row["ratio"] == pytest.approx(0.5, abs=1e-3)
  text = benchmark.as_text(judgment, "halfway")
  assert "without a head: 1 (the file is missing): 000002" in text
  # The mean head has no pose in a gray photo: nothing is compared in silence.
  assert "rotation" in text
  json.dumps(result, allow_nan=False)


def test_commands(painting, monkeypatch, tmp_path):
  monkeypatch.setenv("AFFJAX_CACHE_DIR", str(tmp_path))
  answer = run("evaluate", "mean", "--on", "embedded", "--limit", 2)
  assert answer.exit_code == 2
  assert "affjax benchmark embedded --limit 2" in answer.stderr
  answer = run("benchmark", "embedded", "--limit", 3)
  assert answer.exit_code == 0, answer.stderr
  assert answer.stdout.startswith("3 samples, SHA-256 ")
  out = tmp_path / "out"
  answer = run("evaluate", "mean", "--on", "embedded", "--limit", 2, "-o", out)
  assert answer.exit_code == 0, answer.stderr
  assert answer.stdout.startswith("mean on embedded: 2 photos, mean head")
  result = json.loads((out / "result.json").read_text())
  assert result["photos"] == 2
  assert all(row["ratio"] in (1.0, None) for row in result["rows"])
  assert run("evaluate", "fit", "--on", tmp_path).exit_code == 2
  assert run("evaluate", "magic", "--on", "embedded").exit_code == 2
  assert run("evaluate", "fit", "--on", "embedded", "--limit", -1).exit_code == 2
