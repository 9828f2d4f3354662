"""A preparation that is killed at any moment and run again gives the same data set."""

import os
import pathlib
import random
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds

from affjax.data import _shards
from affjax.data._preparation import assembly
from tests.data import preparation_fake

_HERE = pathlib.Path(__file__).parent


def _start(out, *, lag=0.02, workers=2, most_bytes=()):
  paths = (str(_HERE.parents[1]), str(_HERE))
  return subprocess.Popen(
    [sys.executable, _HERE / "preparation_fake.py", out, str(lag), str(workers)]
    + [str(size) for size in most_bytes],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _files(out):
  folder = _shards.data_folder(out, "faces")
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Returns the data set of an uninterrupted preparation."""
  out = tmp_path_factory.mktemp("whole")
  process = _start(out, lag=0, workers=1)
  assert process.communicate(timeout=240)[0].endswith("finished\n")
  return _files(out)


def test_uninterrupted_data_set_is_whole(whole, tmp_path):
  names = [name for name in whole if "array_record" in name]
  assert len(names) > 4
  folder = _shards.data_folder(tmp_path, "faces")
  folder.mkdir(parents=True)
  for name, content in whole.items():
    (folder / name).write_bytes(content)
  source = tfds.builder_from_directory(folder).as_data_source("train")
  found = [source[k]["source"].decode() for k in range(len(source))]
  expected = [
    kept.source
    for unit in range(preparation_fake.UNITS)
    for kept in preparation_fake.outcome(unit).kept
    if kept.split == "train"
  ]
  assert found == expected
  summary = assembly.finished(folder)
  assert summary["skipped"] == {"no face": preparation_fake.UNITS}
  assert summary["kept"] == preparation_fake.UNITS * preparation_fake.EACH


def test_killed_again_and_again_it_gives_the_same_bytes(whole, tmp_path):
  rng, kills = random.Random(3), 0
  # Kills after a number of units, or during assembly, unless it has finished by then.
  for after in (2, 13, preparation_fake.UNITS):
    process = _start(tmp_path)
    done = 0
    for line in process.stdout:
      done += line.startswith(("done", "started"))
      if done >= after:
        break
    time.sleep(rng.uniform(0, 0.08))
    process.kill()
    process.communicate()
    kills += process.returncode == -9
  last = _start(tmp_path)
  assert last.communicate(timeout=240)[0].endswith("finished\n")
  assert kills >= 2
  assert _files(tmp_path) == whole
  assert [p.name for p in (tmp_path / "faces").iterdir()] == [_shards.VERSION]


def test_full_disk_is_named_and_the_next_run_finishes(whole, tmp_path):
  """Files may not grow beyond 12 kB: part files fit, a shard does not."""
  process = _start(tmp_path, lag=0, most_bytes=[12_000])
  errors = process.communicate(timeout=240)[1]
  assert process.returncode == 1
  assert "cannot write the data set" in errors
  assert "run the command again" in errors
  assert not _shards.data_folder(tmp_path, "faces").exists()
  again = _start(tmp_path, lag=0)
  assert again.communicate(timeout=240)[0].endswith("finished\n")
  assert _files(tmp_path) == whole
