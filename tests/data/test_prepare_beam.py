"""Tests of `affjax prepare --runner` on Apache Beam's direct runner."""

import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from affjax.assets import store
from affjax.data import PrepareOptions, PrepareRun, _builder, _record, _shards, prepare
from affjax.data._preparation.workspace import Workspace
from tests.command_line import run


def _apache_beam():
  return pytest.importorskip(
    "apache_beam", reason="Apache Beam is optional: pip install 'affjax[beam]'"
  )


BEAM = PrepareRun(runner="DirectRunner")
OPTIONS = PrepareOptions(size=64, splits="0.5,0.0,0.5")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
  """Writes photos for both splits: the astronaut, and one without a face."""
  folder = tmp_path_factory.mktemp("photos")
  (folder / "a.jpg").write_bytes(store.read_asset("astronaut.jpg"))
  with Image.open(folder / "a.jpg") as photo:
    for k in range(4):
      photo.rotate(3 * k + 2).save(folder / f"b{k}.png")
  Image.new("RGB", (60, 60), "navy").save(folder / "nobody.png")
  return folder


def _records(folder):
  """Returns the examples by split and source, as TFDS reads them."""
  builder = tfds.builder_from_directory(folder)
  found = {}
  for split in builder.info.splits:
    data = builder.as_data_source(split)
    for k in range(len(data)):
      found[split, data[k]["source"].decode()] = data[k]
  return found


def test_direct_runner_gives_the_same_records(photos, tmp_path):
  """The last bits of floats may differ: Beam's workers have more threads than ours."""
  _apache_beam()
  by_beam = prepare(str(photos), tmp_path / "beam", OPTIONS, BEAM)
  by_processes = prepare(str(photos), tmp_path / "own", OPTIONS, PrepareRun(workers=1))
  same = ("kept", "splits", "skipped", "skipped_names", "photos", "plan")
  for name in same:
    assert by_beam.summary[name] == by_processes.summary[name]
  found, expected = _records(by_beam.folder), _records(by_processes.folder)
  assert found.keys() == expected.keys()
  assert len(found) == 5
  for source, example in found.items():
    for name in ("pose", "landmarks", "crop", "quality"):
      ours = expected[source][name]
      np.testing.assert_allclose(example[name], ours, rtol=1e-3, atol=1e-2)
    steps = example["vertices"].astype(int) - expected[source]["vertices"]
    assert np.abs(steps).max() < 20  # of 0.01 mm
    assert example["licence"] == expected[source]["licence"]
    assert example["image"].shape == (64, 64, 3)
  assert len(by_beam.summary["splits"]) == 2
  about, lengths = _shards.read_info(by_beam.folder)
  assert about == _shards.read_info(by_processes.folder)[0]
  assert sum(map(sum, lengths.values())) == 5
  assert (by_beam.folder / "worst.html").exists()
  assert [p.name for p in by_beam.folder.parent.iterdir()] == [_shards.VERSION]


def test_pipeline_that_fails_goes_on_where_it_was(photos, tmp_path, monkeypatch):
  """The first run finishes its units but cannot write shards; the second run can."""
  _apache_beam()

  def full(*arguments, **options):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(_builder, "_examples", full)
    with pytest.raises(ValueError, match="cannot write the data set"):
      prepare(str(photos), tmp_path, OPTIONS, BEAM)
  assert not _shards.data_folder(tmp_path, "faces").exists()
  left = Workspace(tmp_path / "faces" / ".preparing")
  contents = [kept.content for unit in (0, 1) for kept in left.load(unit).kept]
  again = prepare(str(photos), tmp_path, OPTIONS, BEAM)
  assert again.photos == 0  # no photo was prepared again
  known = {_record.decode(c, fields=("source",))["source"] for c in contents}
  assert known == {source for _, source in _records(again.folder)}
  assert json.loads((again.folder / "summary.json").read_bytes())["kept"] == 5


def test_unknown_runner_is_one_line(photos, tmp_path):
  _apache_beam()
  out = str(tmp_path / "out")
  command = ["prepare", str(photos), "-o", out, "--size", "64", "--runner", "Magic"]
  done = run(*command)
  assert done.exit_code == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert "knows no runner 'Magic'" in done.stderr
  assert not (tmp_path / "out").exists()


def test_without_beam_the_runner_says_how_to_get_it(photos, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  out = str(tmp_path / "out")
  command = ["prepare", str(photos), "-o", out, "--runner", "DirectRunner"]
  done = run(*command)
  assert done.exit_code == 2
  assert len(done.stderr.strip().splitlines()) == 1
  assert "pip install 'affjax[beam]'" in done.stderr
  assert not (tmp_path / "out").exists()
