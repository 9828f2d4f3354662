"""Shards of prepared records, and the files that make them a TFDS data set.

`<root>/<name>/<version>/` holds `dataset_info.json`, `features.json`, `metadata.json`
and `<name>-<split>.array_record-00000-of-00004`. Write the shards first, in any order
and from any process, `write_info` last: a folder without `dataset_info.json` is not a
data set yet.
"""

import dataclasses
import json
import os
import pathlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from array_record.python import array_record_module  # pyright: ignore

from affjax.data import _record

INFO = "dataset_info.json"
METADATA = "metadata.json"
VERSION = "1.0.0"

# Single records are found at once; photos are compressed already.
_OPTIONS = "group_size:1,uncompressed"


@dataclasses.dataclass(frozen=True)
class About:
  """What every record of a data set has in common; `metadata.json` holds it.

  Attributes:
    template: name of the template whose vertices the records hold.
    vertices: how many those are.
    size: width and height of the aligned photos, pixels.
    map_size: width and height of the diffuse maps, texels.
    provider: what made the geometry, e.g. "embedded".
    affjax: version of the program that wrote the records.
  """

  template: str
  vertices: int
  size: int
  map_size: int
  provider: str
  affjax: str


def data_folder(root: str | os.PathLike, name: str) -> pathlib.Path:
  """Where the files of data set `name` lie: `<root>/<name>/<version>`.

  Raises:
    ValueError: TFDS does not allow the name.
  """
  _require_name("name", name)
  return pathlib.Path(root) / name / VERSION


def shard_name(name: str, split: str, index: int, count: int) -> str:
  """The file name of shard `index` of `count`, as TFDS looks for it.

  Raises:
    ValueError: TFDS does not allow the name or split, or the index is not in range.
  """
  _require_name("name", name)
  _require_name("split", split)
  if not 0 <= index < count <= 99999:
    raise ValueError(f"index must lie in [0, {count}) and count below 1e5, got {index}")
  return f"{name}-{split}.array_record-{index:05d}-of-{count:05d}"


def write_shard(path: str | os.PathLike, records: Iterable[bytes]) -> int:
  """Writes a shard beside and moves it into place; the number of records.

  Args:
    path: `data_folder(...) / shard_name(...)`.
    records: of `record.encode`. What they raise leaves no file.
  """
  place = pathlib.Path(path)
  place.parent.mkdir(parents=True, exist_ok=True)
  beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
  count = 0
  try:
    writer = array_record_module.ArrayRecordWriter(str(beside), _OPTIONS)
    try:
      for data in records:
        writer.write(data)
        count += 1
    finally:
      writer.close()
    with open(beside, "rb+") as file:
      os.fsync(file.fileno())
    os.replace(beside, place)
  finally:
    beside.unlink(missing_ok=True)
  return count


def count_records(path: str | os.PathLike) -> int:
  """How many records a shard holds.

  Raises:
    ValueError: the file is missing or no whole shard; it is named.
  """
  place = pathlib.Path(path)
  if not place.is_file():
    raise ValueError(f"shard {place.name!r} is missing in {str(place.parent)!r}")
  try:
    reader = array_record_module.ArrayRecordReader(str(place), "")
    try:
      return int(reader.num_records())
    finally:
      reader.close()
  except (RuntimeError, ValueError, IndexError, OSError) as error:
    raise ValueError(f"shard {place.name!r} cannot be read: {error}") from error


def write_info(
  folder: str | os.PathLike,
  splits: Mapping[str, Sequence[int]],
  about: About,
  *,
  description: str = "",
):
  """Makes shards a data set: writes `features.json`, `metadata.json`, `dataset_info`.

  Args:
    folder: of `data_folder`; the data set's name is its parent's.
    splits: for each split the numbers of records of its shards, in order. A split
      without records is left out, since TFDS has no empty ones.
    about: what the records have in common.
    description: for people.

  Raises:
    ValueError: there is no record at all, or a shard is missing or has another number
      of records.
  """
  from etils import epath
  from tensorflow_datasets.core import dataset_info, file_adapters, naming, utils
  from tensorflow_datasets.core import splits as splits_lib

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
      splits_lib.SplitInfo(
        name=split, shard_lengths=counts, num_bytes=size, filename_template=template
      )
    )
  identity = dataset_info.DatasetIdentity(
    name=name, version=utils.Version(version), data_dir=str(place), module_name=""
  )
  info = dataset_info.DatasetInfo(
    builder=identity,
    features=_record.features(about.size, about.vertices),
    description=description or "Aligned photos with the geometry of their heads.",
    metadata=dataset_info.MetadataDict(dataclasses.asdict(about)),
  )
  info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD)
  info.set_splits(splits_lib.SplitDict(infos))
  info.write_to_directory(place)


def read_about(folder: str | os.PathLike) -> tuple[About, dict[str, list[int]]]:
  """What `write_info` was given: what the records share, and the shards' lengths.

  Raises:
    ValueError: the folder holds no such data set; the file at fault is named.
  """
  place = pathlib.Path(folder)
  info, stored = _read_json(place / INFO), _read_json(place / METADATA)
  try:
    fields = {field.name: field.type for field in dataclasses.fields(About)}
    about = About(**{name: stored[name] for name in fields})
    splits = {
      split["name"]: [int(length) for length in split["shardLengths"]]
      for split in info["splits"]
    }
    if info["fileFormat"] != "array_record" or info["name"] != place.parent.name:
      raise ValueError("its format or its folder's name differs")
  except (KeyError, TypeError, ValueError) as error:
    raise ValueError(f"{str(place)!r} is no data set of ours: {error}") from error
  return about, splits


def _read_json(path: pathlib.Path) -> Any:
  if not path.is_file():
    raise ValueError(f"{str(path.parent)!r} holds no data set: no {path.name} in it")
  try:
    return json.loads(path.read_text("utf-8"))
  except (OSError, ValueError) as error:
    raise ValueError(f"{path.name} cannot be read: {error}") from error


def _require_name(argument: str, value: str):
  if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
    raise ValueError(
      f"{argument} must be lower-case letters, digits and _, got {value!r}"
    )
