"""Records kept on disk once they were made."""

import hashlib
import json
import os
import pathlib
import shutil
import threading
from typing import Any

import numpy as np

_VERSION = 1


class StaleCacheError(ValueError):
  """The folder holds records of another source."""


class DiskCache:
  """A random-access view of a source that computes each record once.

  One memory-mapped array a field, and a byte a record that says whether it is done. The
  byte is set after the record's data was written, so a killed process leaves at worst a
  record to be made again; several threads, and several processes, may fill one cache.

  Args:
    source: has `len`, `[i] -> dict of arrays` of constant shapes, and `settings() ->
      JSON-able dict`, which says what decides its records.
    path: a folder, made if missing.
    rebuild: empty the folder if it holds a cache of another source.

  Raises:
    StaleCacheError: the folder holds a cache of another source.
    ValueError: the folder holds something that is no cache, or the source is empty.
  """

  def __init__(self, source: Any, path: str | os.PathLike, *, rebuild: bool = False):
    if len(source) == 0:
      raise ValueError("source must hold at least one record to be cached, got 0")
    self._source, self._path = source, pathlib.Path(path)
    self._lock = threading.Lock()
    settings = json.loads(json.dumps(source.settings(), sort_keys=True))
    if self._path.exists() and any(self._path.iterdir()):
      self._check(settings, rebuild)
    if not (self._path / "cache.json").exists():
      self._create(settings)
    fields = json.loads((self._path / "cache.json").read_text())["fields"]
    self._arrays = {
      name: np.lib.format.open_memmap(self._path / f"{name}.npy", mode="r+")
      for name in fields
    }
    self._done = np.lib.format.open_memmap(self._path / "done.npy", mode="r+")

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if not -len(self) <= index < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    index = int(index) % len(self)
    if not self._done[index]:
      record = self._source[index]
      with self._lock:
        for name, array in self._arrays.items():
          array[index] = record[name]
        self._done[index] = 1
      return record
    return {name: np.array(array[index]) for name, array in self._arrays.items()}

  def settings(self) -> dict[str, Any]:
    """Those of the source."""
    return self._source.settings()

  def done(self) -> int:
    """How many records are on disk."""
    return int(np.count_nonzero(self._done))

  def flush(self):
    """Writes everything through to the disk, data before marks."""
    with self._lock:
      for array in self._arrays.values():
        array.flush()
      self._done.flush()

  def _check(self, settings: dict, rebuild: bool):
    place = self._path / "cache.json"
    if not place.exists():
      raise ValueError(f"folder {str(self._path)!r} is not empty and holds no cache")
    try:
      found = json.loads(place.read_text())
      same = found["version"] == _VERSION and found["fingerprint"] == _digest(settings)
      old = found.get("settings", {})
    except (ValueError, KeyError, TypeError, AttributeError):
      same, old = False, {}
    if same:
      return
    if not rebuild:
      changed = [k for k in settings if old.get(k) != settings[k]] or ["its format"]
      raise StaleCacheError(
        f"cache {str(self._path)!r} was made with other settings "
        f"({', '.join(changed)}); delete it or pass rebuild=True"
      )
    shutil.rmtree(self._path)

  def _create(self, settings: dict):
    """Builds the empty cache beside, then renames it into place."""
    first = {name: np.asarray(value) for name, value in self._source[0].items()}
    beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    count = len(self._source)
    for name, value in first.items():
      np.lib.format.open_memmap(
        beside / f"{name}.npy",
        mode="w+",
        dtype=value.dtype,
        shape=(count, *value.shape),
      )
    np.lib.format.open_memmap(
      beside / "done.npy", mode="w+", dtype=np.uint8, shape=(count,)
    )
    about = {
      "version": _VERSION,
      "fingerprint": _digest(settings),
      "settings": settings,
      "fields": sorted(first),
    }
    (beside / "cache.json").write_text(json.dumps(about, indent=1))
    try:
      if self._path.exists():
        self._path.rmdir()
      beside.rename(self._path)
    except OSError:
      # Another process was faster; its cache is as good, if it is one.
      shutil.rmtree(beside, ignore_errors=True)
      if not (self._path / "cache.json").exists():
        raise
      self._check(settings, rebuild=False)


def _digest(settings: dict) -> str:
  return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
