"""`affjax.data` without the modules of the extra `affjax[train]`."""

import subprocess
import sys

import numpy as np
import pytest

from affjax.data import (
  PrepareOptions,
  _shards,
  prepare,
  training_batches,
)
from tests.data import prepared_faces
from tests.data.fake_source import FakeSource

_EXTRA = ("grain", "tensorflow_datasets", "array_record", "apache_beam")


class _Numbers(FakeSource):
  def __len__(self):
    return 4

  def __getitem__(self, index):
    return {"number": np.asarray(index, np.int32)}


def test_importing_the_package_imports_none_of_them():
  program = (
    f"import sys, affjax.data; print([m for m in {_EXTRA!r} if m in sys.modules])"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"


def test_batches_say_how_to_get_grain(monkeypatch):
  monkeypatch.setitem(sys.modules, "grain", None)
  monkeypatch.delitem(sys.modules, "affjax.data._grain", raising=False)
  monkeypatch.delattr("affjax.data._grain", raising=False)
  with pytest.raises(ImportError, match=r"grain: pip install 'affjax\[train\]'"):
    training_batches(_Numbers(), batch_size=2, seed=0)


def test_shards_say_how_to_get_array_record(monkeypatch, tmp_path):
  shard = tmp_path / "a"
  _shards.write_shard(shard, [b"record"])
  for name in ("array_record", "array_record.python"):
    monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(ImportError, match=r"array_record.*: pip install 'affjax\[train"):
    _shards.count_records(shard)


def test_data_sets_say_how_to_get_tfds(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
  with pytest.raises(ImportError, match=r"tensorflow_datasets: pip install 'affjax"):
    prepare("tfds:celeb_a_hq", tmp_path, PrepareOptions())
  with pytest.raises(ImportError, match=r"tensorflow_datasets: pip install 'affjax"):
    prepared_faces.write(tmp_path, [prepared_faces.record(0)])
