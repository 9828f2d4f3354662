"""Shards of prepared records, and the files that turn them into a TFDS data set.

`<root>/<name>/<version>/` holds `dataset_info.json`, `features.json`, `metadata.json`
and `<name>-<split>.array_record-00000-of-00004`. The shards are written first, in any
order and by any process; `write_info` comes last, because a folder without
`dataset_info.json` is no data set yet.
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from affjax.data import _record, _train_extra
from affjax.files import written_file

INFO = "dataset_info.json"
METADATA = "metadata.json"
VERSION = "1.0.0"

# One record per chunk makes random access fast; photos are compressed already.
_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
  """The properties that all records of a data set share, stored in `metadata.json`.

  Attributes:
    template: name of the template whose vertices the records hold.
    vertices: number of those vertices.
    size: width and height of the aligned photos, pixels.
    map_size: width and height of the diffuse maps, texels.
    provider: name of the provider of the geometry, e.g. "fit".
    affjax: version of affjax that wrote the records.
  """

  template: str
  vertices: int
  size: int
  map_size: int
  provider: str
  affjax: str


def data_folder(root: str | os.PathLike[str], name: str) -> pathlib.Path:
  """Returns the folder of a data set's files: `<root>/<name>/<version>`.

  Raises:
    ValueError: TFDS does not allow the name.
  """
  _require_name("name", name)
  return pathlib.Path(root) / name / VERSION


def shard_name(name: str, split: str, index: int, count: int) -> str:
  """Returns the file name that TFDS expects for shard `index` of `count`.

  Raises:
    ValueError: TFDS does not allow the name or split, or the index is not in range.
  """
  _require_name("name", name)
  _require_name("split", split)
  if not 0 <= index < count <= 99999:
    raise ValueError(f"index must lie in [0, {count}) and count below 1e5, got {index}")
  return f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"


def write_shard(path: str | os.PathLike[str], records: Iterable[bytes]) -> int:
  """Writes a shard, whole or not at all, and returns its number of records.

  Args:
    path: `data_folder(...) / shard_name(...)`.
    records: Contents as `_record.encode` returns them.
  """
  with _train_extra.needed_for("writing shards"):
    from array_record.python import array_record_module  # pyright: ignore

  place = pathlib.Path(path)
  place.parent.mkdir(parents=True, exist_ok=True)
  count = 0
  with written_file(place, durable=True) as partial:
    writer = array_record_module.ArrayRecordWriter(str(partial), _OPTIONS)
    try:
      for data in records:
        writer.write(data)
        count += 1
    finally:
      writer.close()
  return count


def open_reader(path: str | os.PathLike[str], options: str = "") -> Any:
  """Returns an `ArrayRecordReader` of a shard.

  Raises:
    ImportError: array_record is not installed.
    RuntimeError: The file is no whole shard.
  """
  with _train_extra.needed_for("reading shards"):
    from array_record.python import array_record_module  # pyright: ignore

  return array_record_module.ArrayRecordReader(str(path), options)


def count_records(path: str | os.PathLike[str]) -> int:
  """Returns the number of records in a shard.

  Raises:
    ValueError: The file is missing or no whole shard; it is named.
  """
  place = pathlib.Path(path)
  if not place.is_file():
    raise ValueError(f"shard {place.name!r} is missing in {str(place.parent)!r}")
  try:
    reader = open_reader(place)
    try:
      return int(reader.num_records())
    finally:
      reader.close()
  except (RuntimeError, ValueError, IndexError, OSError) as error:
    raise ValueError(f"shard {place.name!r} cannot be read: {error}") from error


def write_info(
  folder: str | os.PathLike[str],
  splits: Mapping[str, Sequence[int]],
  facts: DatasetFacts,
  *,
  description: str = "",
) -> None:
  """Writes the files that turn shards into a TFDS data set.

  Args:
    folder: Result of `data_folder`; its parent is named like the data set.
    splits: Number of records in each shard of each split, in order. A split without
      records is left out, since TFDS has no empty splits.
    facts: Properties that all records share.
    description: Text for people.

  Raises:
    ValueError: There is no record at all, or a shard is missing or has another number
      of records.
  """
  with _train_extra.needed_for("writing a data set"):
    from etils import epath
    from tensorflow_datasets import core
    from tensorflow_datasets.core import dataset_info, file_adapters, naming

  place = pathlib.Path(folder)
  name, version = place.parent.name, place.name
  full = {split: list(counts) for split, counts in splits.items() if sum(counts)}
  if not full:
    raise ValueError(f"splits must hold at least one record, got {dict(splits)}")
  template = naming.ShardedFileTemplate(
    dataset_name=name,
    data_dir=epath.Path(place),
    filetype_suffix="array_record",
  )
  infos = []
  for split, counts in full.items():
    size = 0
    for index, count in enumerate(counts):
      path = place / shard_name(name, split, index, len(counts))
      if (found := count_records(path)) != count:
        raise ValueError(f"shard {path.name!r} must hold {count} records, got {found}")
      size += path.stat().st_size
    infos.append(
      core.SplitInfo(
        name=split, shard_lengths=counts, num_bytes=size, filename_template=template
      )
    )
  identity = dataset_info.DatasetIdentity(
    name=name, version=core.Version(version), data_dir=str(place), module_name=""
  )
  info = dataset_info.DatasetInfo(
    builder=identity,
    features=_record.features(facts.size, facts.vertices),
    description=description or "Aligned photos with the geometry of their heads.",
    metadata=dataset_info.MetadataDict(dataclasses.asdict(facts)),
  )
  info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
  info.set_splits(core.SplitDict(infos))
  info.write_to_directory(place)


def read_info(
  folder: str | os.PathLike[str],
) -> tuple[DatasetFacts, dict[str, list[int]]]:
  """Returns what `write_info` was given: facts and splits.

  Raises:
    ValueError: The folder holds no such data set; the file at fault is named.
  """
  place = pathlib.Path(folder)
  info, stored = _read_json(place / INFO), _read_json(place / METADATA)
  try:
    fields = [field.name for field in dataclasses.fields(DatasetFacts)]
    facts = DatasetFacts(**{name: stored[name] for name in fields})
    splits = {
      split["name"]: [int(length) for length in split["shardLengths"]]
      for split in info["splits"]
    }
    if info["fileFormat"] != "array_record" or info["name"] != place.parent.name:
      raise ValueError("its file format or the name of its folder differs")
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{str(place)!r} is no data set of affjax: {error}") from error
  return facts, splits


def _read_json(path: pathlib.Path) -> Any:
  if not path.is_file():
    raise ValueError(f"{str(path.parent)!r} holds no data set: no {path.name} in it")
  try:
    return json.loads(path.read_text("utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path.name} cannot be read: {error}") from error


def _require_name(argument: str, value: str) -> None:
  if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
    raise ValueError(
      f"{argument} must be lowercase letters, digits and _, got {value!r}"
    )
