"""The table of data sources by name, each with records that are held out of training.

A new source is a class that implements `RecordSource` and a row of `_ROWS`.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from affjax.data import _collections, _prepared
from affjax.data._cache import DiskCache
from affjax.data._folder import FolderSource
from affjax.data._mixing import MixedSource
from affjax.data._prepared import PreparedSource
from affjax.data._record_source import (
  Record,
  RecordFacts,
  RecordSource,
  require_template,
)
from affjax.data._synthetic.source import SyntheticFaces
from affjax.heads import MorphableModel
from affjax.types import Camera


@dataclasses.dataclass(frozen=True, eq=False)
class Wanted:
  """The properties of the records that are wanted, whatever their source.

  Attributes:
    head: head model; the records hold vertices of its template.
    camera: camera of synthetic photos.
    size: width and height of photos and of diffuse maps, px.
    held_out: number of records that are kept from training.
    count: number of synthetic heads.
    seed: seed of synthetic heads.
    occluders: chance of an occluder in front of a synthetic face.
    backgrounds: folder of photos for synthetic backgrounds, or "".
    cache: folder in which computed records are kept, or None.
    photos: number of photos of one person in a record; 1 = records of single photos.
  """

  head: MorphableModel
  camera: Camera
  size: int
  held_out: int
  count: int
  seed: int
  occluders: float
  backgrounds: str
  cache: pathlib.Path | None
  photos: int = 1

  def __post_init__(self):
    for name in ("held_out", "photos"):
      if getattr(self, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


# A training source, and a source of held-out records.
SourcePair = tuple[RecordSource, RecordSource]


@dataclasses.dataclass(frozen=True)
class _Row:
  """A data source.

  Attributes:
    open: A function of path and wanted properties.
    cached: Whether reading a record is slow.
    people: Whether it knows which photos are of one person.
  """

  open: Callable[[str, Wanted], SourcePair]
  cached: bool = True
  people: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class PartOfSource:
  """The records `first <= i < last` of a source, as a source."""

  whole: RecordSource
  first: int
  last: int

  @property
  def facts(self) -> RecordFacts:
    """Properties that all records share."""
    return self.whole.facts

  def __len__(self) -> int:
    return self.last - self.first

  def __getitem__(self, index: int) -> Record:
    if not 0 <= index < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    return self.whole[self.first + int(index)]

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records."""
    return {**self.whole.settings(), "first": self.first, "last": self.last}


def pair(name: str, path: str, wanted: Wanted) -> SourcePair:
  """Returns a training source, and a source of records that are never trained on.

  Args:
    name: One of `SOURCES` except "mixed".
    path: Folder or data set; empty for "synthetic".
    wanted: Properties of the records.

  Raises:
    ValueError: The name is unknown, the source refuses its path, or the records hold
      vertices of another template.
  """
  if name not in _ROWS:
    raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {name!r}")
  row, folder = _ROWS[name], wanted.cache
  if wanted.photos > 1 and not row.people:
    known = [source for source, other in _ROWS.items() if other.people]
    raise ValueError(
      f"source must be one of {', '.join(known)} for collections of photos, got "
      f"{name!r}"
    )
  train, held_out = row.open(path, wanted)
  template = wanted.head.template
  require_template(train.facts, template.name, len(template.vertices))
  if folder is None or not row.cached:
    return train, held_out
  return DiskCache(train, folder / "train"), DiskCache(held_out, folder / "test")


def mixed(
  parts: Mapping[str, tuple[str, str, float]], wanted: Wanted
) -> tuple[MixedSource, MixedSource]:
  """Returns mixtures of several sources: one for training, one of held-out records.

  Args:
    parts: `(source, path, weight)` by a name that the user chose.
    wanted: Properties of the records; every part holds out `held_out` records.

  Raises:
    ValueError: There are no parts, or `pair` refuses one, which is named.
  """
  trained: dict[str, RecordSource] = {}
  held: dict[str, RecordSource] = {}
  for name, (source, path, _) in parts.items():
    cache = wanted.cache and wanted.cache / name
    own = dataclasses.replace(wanted, cache=cache)
    try:
      trained[name], held[name] = pair(source, path, own)
    except ValueError as error:
      raise ValueError(f"mixture.{name}: {error}") from error
  weights = {name: weight for name, (_, _, weight) in parts.items()}
  return MixedSource(trained, weights), MixedSource(held, weights)


def _folder(path: str, wanted: Wanted) -> SourcePair:
  size = wanted.size
  photos = FolderSource(path, wanted.head.template, size=size, map_size=size)
  if wanted.photos > 1:
    people = _collections.by_name(photos, photos.names, wanted.photos)
    return _divided(people, wanted.held_out)
  return _divided(photos, wanted.held_out)


def _prepared_splits(path: str, wanted: Wanted) -> SourcePair:
  """Holds out records of split validation or test, or else the last ones of train."""
  size, template = wanted.size, wanted.head.template
  split = lambda name: PreparedSource(path, name, template, size=size, map_size=size)
  counts = _prepared.splits_of(path)
  for name in ("validation", "test"):
    if counts.get(name):
      count = min(counts[name], wanted.held_out)
      return split("train"), PartOfSource(split(name), 0, count)
  return _divided(split("train"), wanted.held_out)


def _synthetic(path: str, wanted: Wanted) -> SourcePair:
  del path  # synthetic faces are painted, not read
  each = wanted.photos
  train, held_out = (
    SyntheticFaces(
      wanted.head,
      count,
      wanted.size,
      seed=wanted.seed,
      split=split,
      occluders=wanted.occluders,
      backgrounds=wanted.backgrounds or None,
      camera=wanted.camera,
      photos=each,
    )
    for split, count in (("train", wanted.count), ("test", wanted.held_out * each))
  )
  if each == 1:
    return train, held_out
  grouped = _collections.consecutive
  return grouped(train, each), grouped(held_out, each)


def _divided(source: RecordSource, held_out: int) -> SourcePair:
  """Divides a source into all records but the last ones, and the last ones."""
  known = max(len(source) - held_out, 0)
  return PartOfSource(source, 0, known), PartOfSource(source, known, len(source))


_ROWS: dict[str, _Row] = {
  "synthetic": _Row(_synthetic, people=True),
  "folder": _Row(_folder, people=True),
  # Prepared records are read faster than a cache is.
  "prepared": _Row(_prepared_splits, cached=False),
}
SOURCES = (*_ROWS, "mixed")
