"""Benchmark sets: made, resumed, damaged."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from affjax import benchmark, pool
from affjax.benchmark import _recipes, _samples
from affjax.heads import open_head, random_vertices
from tests.benchmark.conftest import painted


def test_a_set_is_made_resumed_and_read_in_part(painting, small, tmp_path):
  folder = tmp_path / "set"
  part = benchmark.make_set(small, folder, limit=2)
  assert len(part) == 2
  whole = benchmark.make_set(small, folder)
  assert painting == [0, 1, 2, 3, 4, 5]
  assert len(whole) == 6
  assert whole.hashes[:2] == part.hashes
  assert benchmark.read_set(folder, limit=2).sha256 == part.sha256
  truths = whole.load([1, 4])
  assert truths.names == ("000001", "000004")
  np.testing.assert_allclose(truths.photos[0], 91, atol=1)
  np.testing.assert_allclose(
    truths.vertices[1],
    random_vertices(np.random.default_rng(4), open_head("embedded"), 1)[0],
    atol=6e-5,
  )


def test_a_killed_run_keeps_finished_samples(painting, small, tmp_path, monkeypatch):
  def killed(make, tasks, *, workers):
    yield 0, painted(0)
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
  made.load([0])
  with pytest.raises(benchmark.SetError, match="sample 000001 of benchmark set 'emb"):
    made.load([0, 1])


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


@pytest.mark.slow
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
