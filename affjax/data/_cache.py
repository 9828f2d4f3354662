"""A cache of computed records on disk."""

import hashlib
import json
import os
import pathlib
import shutil
import threading
from typing import Any

import numpy as np

from affjax.data._record_source import Record, RecordFacts, RecordSource

_VERSION = 1


class StaleCacheError(ValueError):
  """The cache folder holds records of another source."""


class DiskCache:
  """A random-access view of a source that computes each record once.

  The folder holds a memory-mapped array for each field, and a byte for each record that
  is set after the record was written. A killed process leaves at worst a record that is
  computed again. Several threads and several processes may fill one cache.

  Args:
    source: Source whose records have constant shapes.
    path: Folder, made if missing.
    rebuild: Whether a cache of another source in the folder is deleted.

  Raises:
    StaleCacheError: The folder holds a cache of another source.
    ValueError: The folder is not empty and holds no cache, or the source is empty.
  """

  def __init__(
    self,
    source: RecordSource,
    path: str | os.PathLike[str],
    *,
    rebuild: bool = False,
  ):
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

  @property
  def facts(self) -> RecordFacts:
    """Properties that all records share."""
    return self._source.facts

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
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
    """Returns the settings of the source."""
    return self._source.settings()

  def done(self) -> int:
    """Returns the number of records on disk."""
    return int(np.count_nonzero(self._done))

  def flush(self) -> None:
    """Flushes everything to the disk, records before their done bytes."""
    with self._lock:
      for array in self._arrays.values():
        array.flush()
      self._done.flush()

  def _check(self, settings: dict[str, Any], rebuild: bool) -> None:
    """Raises or deletes the cache unless it was made with the same settings."""
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
      changed = [k for k in settings if old.get(k) != settings[k]] or ["format"]
      raise StaleCacheError(
        f"cache {str(self._path)!r} was made with other settings "
        f"({', '.join(changed)}); delete it or pass rebuild=True"
      )
    shutil.rmtree(self._path)

  def _create(self, settings: dict[str, Any]) -> None:
    """Creates the empty cache, whole or not at all.

    Unlike `files.written_folder`, it never replaces the cache of a faster process.
    """
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
      # Another process was faster, and its cache is equal if it is one.
      shutil.rmtree(beside, ignore_errors=True)
      if not (self._path / "cache.json").exists():
        raise
      self._check(settings, rebuild=False)


def _digest(settings: dict[str, Any]) -> str:
  return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
