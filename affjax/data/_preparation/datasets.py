"""Photos of a data set that TFDS installed, such as `celeb_a_hq`; no TensorFlow."""

import dataclasses
import functools
import itertools
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

from affjax.data import _shards, _train_extra
from affjax.data._preparation.inputs import MOST_BYTES, Entry, InputError, Listing

_FIELD = "image"


@dataclasses.dataclass(frozen=True)
class TfdsInput:
  """The photos of an installed TFDS data set, stored as TFRecords or ArrayRecords.

  A photo is named `SPLIT/NUMBER`, numbered over the shards of the split.

  Attributes:
    path: folder with the data set's `dataset_info.json`; the photos are its feature
      "image".
  """

  path: pathlib.Path

  def listing(self) -> Listing:
    """Returns all photos; reads only the framing of TFRecords."""
    info = _info(self.path)
    entries = []
    for split in sorted(info.splits):
      number = itertools.count()
      for shard in info.splits[split].filepaths:
        for where in _frames(pathlib.Path(os.fspath(shard))):
          entries.append(Entry(f"{split}/{next(number):07d}", where, str(where[1:])))
    return Listing(entries, {}, 0)

  def read(self, entry: Entry) -> UInt8[np.ndarray, "h w 3"]:
    """Returns the pixels of a photo."""
    shard, offset, size = entry.where
    if size is None:
      data = _array_record(shard).read([offset])[0]
    else:
      with open(shard, "rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
    example = _info(self.path).features.deserialize_example_np(data)
    pixels = np.asarray(example[_FIELD])
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
      raise ValueError(
        f"{_FIELD} of {entry.name!r} must be uint8 [h, w, 1 or 3], got {pixels.dtype} "
        f"{list(pixels.shape)}"
      )
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def installed_folder(name: str) -> pathlib.Path:
  """Returns the folder in which TFDS keeps an installed data set.

  Raises:
    InputError: TFDS has no such data set.
  """
  with _train_extra.needed_for("reading a TFDS data set"):
    import tensorflow_datasets as tfds

  try:
    return pathlib.Path(tfds.builder(name).data_dir)
  except Exception as error:  # TFDS raises errors of many types for unknown names.
    line = " ".join(str(error).split())[:300]
    raise InputError(f"TFDS has no data set {name!r} installed: {line}") from error


@functools.lru_cache(maxsize=2)
def _info(path: pathlib.Path) -> Any:
  with _train_extra.needed_for("reading a TFDS data set"):
    import tensorflow_datasets as tfds

  try:
    info = tfds.builder_from_directory(path).info
    fields = list(info.features)  # pyright: ignore[reportArgumentType]
  except Exception as error:  # TFDS raises errors of many types for damaged files.
    line = " ".join(str(error).split())[:300]
    raise InputError(f"data set {str(path)!r} cannot be read: {line}") from error
  if _FIELD not in fields:
    raise InputError(
      f"data set {str(path)!r} has no feature {_FIELD!r}; it has {', '.join(fields)}"
    )
  return info


def _frames(shard: pathlib.Path) -> Iterator[tuple[str, int, int | None]]:
  """Yields the place of each record of a shard: file, offset (or number), bytes."""
  if "array_record" in shard.name:
    yield from (
      (str(shard), k, None) for k in range(_array_record(str(shard)).num_records())
    )
    return
  total = shard.stat().st_size
  with shard.open("rb") as stream:
    offset = 0
    while offset < total:
      head = stream.read(12)
      size = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else total
      if size > MOST_BYTES or offset + size + 16 > total:
        raise InputError(f"shard {str(shard)!r} is cut short or damaged at {offset}")
      yield str(shard), offset + 12, size
      offset += size + 16
      stream.seek(offset)


@functools.lru_cache(maxsize=64)
def _array_record(path: str) -> Any:
  return _shards.open_reader(path)
