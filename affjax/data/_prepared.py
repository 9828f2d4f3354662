"""Prepared data sets as a source of training records; needs `affjax[train]`."""

import bisect
import itertools
import operator
import os
import pathlib
import threading
import zlib
from typing import Any

import numpy as np
from PIL import Image

from affjax.data import _record, _shards
from affjax.data._record_source import Record, RecordFacts, require_template
from affjax.types import Template

_FIELDS = (
  "image",
  "visible",
  "diffuse",
  "vertices",
  "pose",
  "landmarks",
  "has_pose",
  "has_diffuse",
)


class PreparedSource:
  """Random access to the records of one split of a data set; thread-safe.

  A record holds `image` uint8 `[S, S, 3]`, `visible` uint8 `[S, S, 1]`, `vertices`
  float32 `[V, 3]` (head space, dm), `pose` float32 `[6]`, `landmarks` float32 `[68, 2]`
  (px of `image`), `diffuse` uint8 `[M, M, 3]` (black if there is none), `has_pose` and
  `has_diffuse`.

  Args:
    folder: Folder of the data set's files, or one above that holds no other data set.
    split: Name of the split, e.g. "train".
    template: Template whose vertices the records must hold.
    size: S, at most that of the data set; larger photos are reduced.
    map_size: M; maps of another size are resized.

  Raises:
    ValueError: The folder holds no data set, the split does not exist, a shard is
      missing or damaged, the records hold vertices of another template, or the photos
      are smaller than `size`.
  """

  def __init__(
    self,
    folder: str | os.PathLike[str],
    split: str,
    template: Template,
    *,
    size: int,
    map_size: int,
  ):
    self._folder = find_data(folder)
    dataset, splits = _shards.read_info(self._folder)
    if split not in splits:
      raise ValueError(f"split must be one of {', '.join(splits)}, got {split!r}")
    self.facts = RecordFacts(dataset.template, dataset.vertices, size, map_size)
    self._provider = dataset.provider
    require_template(self.facts, template.name, len(template.vertices))
    if size > dataset.size:
      raise ValueError(
        f"the photos of {str(self._folder)!r} have {dataset.size} px, fewer than the "
        f"{size} px asked for: prepare them again with --size {size}, or train with "
        f"model.size={dataset.size}"
      )
    name, lengths = self._folder.parent.name, splits[split]
    self._paths = [
      self._folder / _shards.shard_name(name, split, index, len(lengths))
      for index in range(len(lengths))
    ]
    for path, length in zip(self._paths, lengths, strict=True):
      if (found := _shards.count_records(path)) != length:
        raise ValueError(f"shard {path.name!r} must hold {length} records, got {found}")
    self._ends = list(itertools.accumulate(lengths))
    self._readers: dict[int, Any] = {}
    self._lock = threading.Lock()
    self._split, self._size, self._map_size = split, size, map_size
    # One array for all records: new zeros would take new memory pages every time.
    self._no_map = np.zeros((map_size, map_size, 3), np.uint8)
    self._no_map.flags.writeable = False

  def __len__(self) -> int:
    return self._ends[-1] if self._ends else 0

  def __getitem__(self, index: int) -> Record:
    position = operator.index(index)
    if not -len(self) <= position < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    position %= len(self)
    shard = bisect.bisect_right(self._ends, position)
    place = position - (self._ends[shard - 1] if shard else 0)
    try:
      data = self._reader(shard).read([place])[0]
      found = _record.decode(data, fields=_FIELDS)
      if len(found["vertices"]) != self.facts.vertices:
        raise ValueError(
          f"vertices must be {self.facts.vertices}, got {len(found['vertices'])}"
        )
    except (ValueError, RuntimeError, IndexError, OSError) as error:
      name = self._paths[shard].name
      raise ValueError(
        f"record {place} of shard {name!r} is damaged: {error}"
      ) from error
    return self._fitted(found)

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records: data set, shards' sizes and times."""
    stamp = 0
    for path in self._paths:
      about = path.stat()
      line = f"{path.name} {about.st_size} {about.st_mtime_ns}"
      stamp = zlib.crc32(line.encode(), stamp)
    return {
      "source": "PreparedSource",
      "template": self.facts.template,
      "provider": self._provider,
      "split": self._split,
      "count": len(self),
      "size": self._size,
      "map_size": self._map_size,
      "files": stamp,
    }

  def _reader(self, shard: int) -> Any:
    with self._lock:
      if shard not in self._readers:
        # Records are read one by one in any order: no read-ahead, no threads.
        options = "readahead_buffer_size:0,max_parallelism:0"
        self._readers[shard] = _shards.open_reader(self._paths[shard], options)
      return self._readers[shard]

  def _fitted(self, found: Record) -> Record:
    """Returns the record at the sizes that were asked for."""
    scale = self._size / len(found["image"])
    if scale != 1:
      found["landmarks"] = (found["landmarks"] + 0.5) * np.float32(scale) - 0.5
    found["image"] = _resized(found["image"], self._size)
    found["visible"] = _resized(found["visible"], self._size)
    if found["has_diffuse"]:
      found["diffuse"] = _resized(found["diffuse"], self._map_size)
    else:
      found["diffuse"] = self._no_map
    return found


def find_data(folder: str | os.PathLike[str]) -> pathlib.Path:
  """Returns the folder with `dataset_info.json`, at most two levels below `folder`.

  Raises:
    ValueError: There is none, or there are several.
  """
  place = pathlib.Path(folder)
  if not place.is_dir():
    raise ValueError(f"path must be the folder of a data set, got {str(folder)!r}")
  for pattern in (_shards.INFO, f"*/{_shards.INFO}", f"*/*/{_shards.INFO}"):
    found = sorted(path.parent for path in place.glob(pattern))
    if len(found) > 1:
      names = ", ".join(str(path) for path in found)
      raise ValueError(f"{str(place)!r} holds several data sets, choose one: {names}")
    if found:
      return found[0].resolve()
  raise ValueError(f"{str(place)!r} holds no data set: no {_shards.INFO} in it")


def splits_of(folder: str | os.PathLike[str]) -> dict[str, int]:
  """Returns the number of records in each split of a data set.

  Raises:
    ValueError: The folder holds no data set.
  """
  splits = _shards.read_info(find_data(folder))[1]
  return {name: sum(lengths) for name, lengths in splits.items()}


def _resized(pixels: np.ndarray, size: int) -> np.ndarray:
  if len(pixels) == size:
    return pixels
  single = pixels.shape[2] == 1
  picture = Image.fromarray(pixels[..., 0] if single else pixels)
  small = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
  return small[..., None] if single else small
