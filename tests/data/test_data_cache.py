import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from affjax.data import DiskCache, StaleCacheError
from tests.data.fake_source import FakeSource


class _Source(FakeSource):
  def __init__(self, count=6, size=4):
    self.count, self.size, self.made = count, size, []

  def __len__(self):
    return self.count

  def __getitem__(self, index):
    self.made.append(index)
    rng = np.random.default_rng(index)
    return {
      "image": rng.integers(0, 256, (self.size, self.size, 3), np.uint8),
      "has_pose": np.asarray(index, np.float32),
    }

  def settings(self):
    return {"count": self.count, "size": self.size, "names": ("a", "b")}


def test_computes_each_record_once_and_keeps_it(tmp_path):
  source = _Source()
  cache = DiskCache(source, tmp_path / "cache")
  source.made.clear()
  first = [cache[i] for i in range(6)]
  again = [cache[i] for i in range(6)]
  assert sorted(source.made) == list(range(6))
  reopened = _Source()
  kept = [DiskCache(reopened, tmp_path / "cache")[i] for i in range(6)]
  assert reopened.made == []
  for a, b, c in zip(first, again, kept, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
      np.testing.assert_array_equal(a[name], c[name])
      assert np.asarray(a[name]).dtype == c[name].dtype


def test_indices_behave_as_a_sequence_s(tmp_path):
  cache = DiskCache(_Source(), tmp_path / "cache")
  assert len(cache) == 6
  np.testing.assert_array_equal(cache[-1]["image"], cache[5]["image"])
  with pytest.raises(IndexError, match="index 6 is out of range for 6 records"):
    cache[6]


def test_another_source_s_cache_is_an_error_or_rebuilt(tmp_path):
  DiskCache(_Source(), tmp_path / "cache")[0]
  other = _Source(size=5)
  with pytest.raises(StaleCacheError, match=r"other settings \(size\)"):
    DiskCache(other, tmp_path / "cache")
  rebuilt = DiskCache(other, tmp_path / "cache", rebuild=True)
  assert rebuilt.done() == 0
  assert rebuilt[0]["image"].shape == (5, 5, 3)


def test_a_damaged_description_is_stale_and_a_strange_folder_refused(tmp_path):
  DiskCache(_Source(), tmp_path / "cache")
  (tmp_path / "cache" / "cache.json").write_text("{")
  with pytest.raises(StaleCacheError):
    DiskCache(_Source(), tmp_path / "cache")
  (tmp_path / "photos").mkdir()
  (tmp_path / "photos" / "mine.txt").write_text("keep")
  with pytest.raises(ValueError, match="holds no cache"):
    DiskCache(_Source(), tmp_path / "photos", rebuild=True)
  assert (tmp_path / "photos" / "mine.txt").exists()


def test_an_empty_source_is_refused(tmp_path):
  with pytest.raises(ValueError, match="at least one record"):
    DiskCache(_Source(0), tmp_path / "cache")


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from tests.data.test_data_cache import _Source
from affjax.data._cache import DiskCache
cache = DiskCache(_Source(), sys.argv[1])
cache[0], cache[3]
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_a_good_cache(tmp_path):
  place = str(pathlib.Path(__file__).parents[2])
  done = subprocess.run(
    [sys.executable, "-c", _KILLED, str(tmp_path / "cache"), place], timeout=120
  )
  assert done.returncode == -signal.SIGKILL
  source = _Source()
  cache = DiskCache(source, tmp_path / "cache")
  assert cache.done() == 2
  np.testing.assert_array_equal(cache[3]["image"], _Source()[3]["image"])
  assert source.made == []
  assert json.loads((tmp_path / "cache" / "cache.json").read_text())["version"] == 1
