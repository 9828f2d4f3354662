"""The kinds of training data by name, each with records held out of training."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from affjax.data import _prepared
from affjax.data._cache import DiskCache
from affjax.data._folder import FolderSource
from affjax.data._mixing import MixedSource
from affjax.data._prepared import PreparedSource
from affjax.data._synthetic.source import SyntheticFaces
from affjax.heads import MorphableModel
from affjax.types import Camera


@dataclasses.dataclass(frozen=True, eq=False)
class Wanted:
  """What records are wanted, whatever they come from.

  Attributes:
    head: whose template's vertices the records hold.
    camera: of synthetic photos.
    size: width and height of photos and of diffuse maps.
    held_out: how many records are kept from training.
    count: of synthetic heads.
    seed: of synthetic heads.
    occluders: chance of something before a synthetic face.
    backgrounds: a folder of photos for synthetic backgrounds, or "".
    cache: a folder in which computed records are kept, or `None`.
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

  def __post_init__(self):
    if self.held_out < 1:
      raise ValueError(f"held_out must be at least 1, got {self.held_out}")


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
  """The records `first <= i < last` of a source, as a source."""

  whole: Any
  first: int
  last: int

  def __len__(self) -> int:
    return self.last - self.first

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if not 0 <= index < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    return self.whole[self.first + int(index)]

  def settings(self) -> dict[str, Any]:
    """What decides the records."""
    return {**self.whole.settings(), "first": self.first, "last": self.last}


def pair(name: str, path: str, wanted: Wanted) -> tuple[Any, Any]:
  """A training source, and a source of records that are never trained on.

  Args:
    name: one of `SOURCES`, but "mixed".
    path: of the folder or data set; empty for "synthetic".
    wanted: what the records must be.

  Raises:
    ValueError: an unknown name, or the source refuses its path.
  """
  if name not in _MAKERS:
    raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {name!r}")
  train, held = _MAKERS[name](path, wanted)
  # Records of a prepared data set are read faster than a cache is.
  folder = wanted.cache
  if folder is None or name == "prepared":
    return train, held
  return DiskCache(train, folder / "train"), DiskCache(held, folder / "test")


def mixed(
  parts: Mapping[str, tuple[str, str, float]], wanted: Wanted
) -> tuple[MixedSource, MixedSource]:
  """The same for several sources, each with its share.

  Args:
    parts: `(source, path, weight)` by a name of the user's.
    wanted: as for `pair`; every part holds so many records out.

  Raises:
    ValueError: no parts, or one that `pair` refuses; it is named.
  """
  trained, held = {}, {}
  for name, (source, path, _) in parts.items():
    cache = wanted.cache and wanted.cache / name
    own = dataclasses.replace(wanted, cache=cache)
    try:
      trained[name], held[name] = pair(source, path, own)
    except ValueError as error:
      raise ValueError(f"mixture.{name}: {error}") from error
  weights = {name: weight for name, (_, _, weight) in parts.items()}
  return MixedSource(trained, weights), MixedSource(held, weights)


def _folder(path: str, wanted: Wanted) -> tuple[Any, Any]:
  size = wanted.size
  photos = FolderSource(path, wanted.head.template, size=size, map_size=size)
  return _divided(photos, wanted.held_out)


def _prepared_pair(path: str, wanted: Wanted) -> tuple[Any, Any]:
  """Held out are records of a split that says so or, without one, the last ones."""
  size, template = wanted.size, wanted.head.template
  split = lambda name: PreparedSource(path, name, template, size=size, map_size=size)
  counts = _prepared.splits_of(path)
  for name in ("validation", "test"):
    if counts.get(name):
      count = min(counts[name], wanted.held_out)
      return split("train"), Part(split(name), 0, count)
  return _divided(split("train"), wanted.held_out)


def _synthetic(path: str, wanted: Wanted) -> tuple[Any, Any]:
  del path  # painted, not read
  train, held = (
    SyntheticFaces(
      wanted.head,
      count,
      wanted.size,
      seed=wanted.seed,
      split=split,
      occluders=wanted.occluders,
      backgrounds=wanted.backgrounds or None,
      camera=wanted.camera,
    )
    for split, count in (("train", wanted.count), ("test", wanted.held_out))
  )
  return train, held


def _divided(source: Any, held_out: int) -> tuple[Part, Part]:
  """All records but the last, and the last."""
  known = max(len(source) - held_out, 0)
  return Part(source, 0, known), Part(source, known, len(source))


_MAKERS: dict[str, Callable[[str, Wanted], tuple[Any, Any]]] = {
  "synthetic": _synthetic,
  "folder": _folder,
  "prepared": _prepared_pair,
}
SOURCES = (*_MAKERS, "mixed")
