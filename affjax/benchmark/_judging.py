"""Judges a method on a set, chunk by chunk, beside the mean head."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from affjax.benchmark._contestants import Answer, Contestant, MeanHead
from affjax.eval import (
  EMBEDDING_SIZE,
  RETRIEVALS,
  Cases,
  Heads,
  Photos,
  Truths,
  chosen,
  identity_pair,
  measured,
  properties,
  retrievals,
)

# Number of photos at a time.
_CHUNK = 20

# Values of each photo by measure and part; NaN where there is none.
Table = dict[str, dict[str, Float[np.ndarray, " _"]]]


@runtime_checkable
class Samples(Protocol):
  """Photos that methods are judged on: a `BenchmarkSet` or a `PhotoFolder`."""

  @property
  def name(self) -> str:
    """Name of the set."""
    ...

  @property
  def sha256(self) -> str:
    """Hash of all samples."""
    ...

  @property
  def names(self) -> Sequence[str]:
    """Name of each photo that can be judged, without suffix."""
    ...

  @property
  def problems(self) -> Mapping[str, str]:
    """Photos that cannot be judged by name, and the reason for each."""
    ...

  def __len__(self) -> int:
    """Returns the number of photos that can be judged."""
    ...

  def load(self, indices: Sequence[int]) -> Photos:
    """Returns some of the photos."""
    ...


@dataclasses.dataclass(frozen=True, eq=False)
class Judgment:
  """All values of a method on a set.

  Attributes:
    names: Name of each photo.
    about: A phrase that names the method.
    values: Values of the method.
    baseline: Values of the mean head.
    properties: Properties of the photos, from which strata are made.
    problems: Reason for each photo without a head, by name.
    gaps: Photos that have a head, but no finite value of a measure, by measure.
  """

  names: tuple[str, ...]
  about: str
  values: Table
  baseline: Table
  properties: Mapping[str, Float[np.ndarray, " n"]]
  problems: Mapping[str, str]
  gaps: Mapping[str, tuple[str, ...]]


def judge(
  contestant: Contestant,
  samples: Samples,
  *,
  measures: Sequence[str] = (),
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judgment:
  """Returns the values of a method and of the mean head on a set.

  Args:
    contestant: The method.
    samples: The photos.
    measures: Names of the measures to take; all that apply if empty.
    progress: Function that is called with the numbers of judged photos and of all.
  """
  total = len(samples)
  size, parts = min(_CHUNK, total), []
  for start in range(0, total, _CHUNK):
    indices = range(start, min(start + _CHUNK, total))
    parts.append(_chunk(contestant, samples.load(indices), size, measures))
    progress(indices.stop, total)
  return _joined(parts, contestant.about, samples.problems)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
  names: tuple[str, ...]
  values: Table
  baseline: Table
  properties: dict[str, np.ndarray]
  problems: dict[str, str]
  embeddings: tuple[np.ndarray, np.ndarray]


def _chunk(
  contestant: Contestant, photos: Photos, size: int, measures: Sequence[str]
) -> _Part:
  mean = MeanHead().heads_in(photos)
  baseline, pair = same = _values(mean, photos, size, measures)
  answer = mean
  if not isinstance(contestant, MeanHead):
    answer = without_nan(contestant.heads_in(photos))
    same = _values(answer, photos, size, measures)
  return _Part(
    tuple(photos.names),
    same[0],
    baseline,
    dict(properties(photos)) if isinstance(photos, Truths) else {},
    {photos.names[k]: reason for k, reason in answer.problems.items()},
    (same[1], pair),
  )


def without_nan(answer: Answer) -> Answer:
  """Returns an answer whose heads with NaN or infinity have become problems."""
  if answer.heads is None:
    return answer
  heads, problems = answer.heads, dict(answer.problems)
  each = heads.vertices if isinstance(heads, Heads) else heads.points
  good = [bool(np.isfinite(points).all()) for points in each]
  keep = [k for k, fine in enumerate(good) if fine]
  for number, fine in zip(answer.index, good, strict=True):
    if not fine:
      problems[number] = "NaN or infinity in the vertices"
  index = tuple(answer.index[k] for k in keep)
  return Answer(index, chosen(heads, keep) if keep else None, problems)


def _values(
  answer: Answer, photos: Photos, size: int, measures: Sequence[str]
) -> tuple[Table, np.ndarray]:
  """Returns the measures of up to `size` photos; NaN for those without a head.

  Also returns the embeddings of heads and photos `[2, n, d]`, from which it is told at
  the end which photo of the whole set a head leads to.
  """
  pair = np.full((2, len(photos), EMBEDDING_SIZE), np.nan, np.float32)
  if answer.heads is None:
    return {}, pair
  # Repeats fill the chunk, so that functions are compiled for few sizes.
  index = list(answer.index)
  padding = [0] * (size - len(index))
  cases = Cases(
    chosen(photos, [*index, *(index[k] for k in padding)]),
    chosen(answer.heads, [*range(len(index)), *padding]),
  )
  found: Table = {}
  for name, parts in measured(cases, measures).items():
    found[name] = {}
    for part, values in parts.items():
      found[name][part] = np.full(len(photos), np.nan, np.float32)
      found[name][part][index] = np.asarray(values)[: len(index)]
  if RETRIEVALS.keys() & found.keys():
    pair[:, index] = identity_pair(cases, canonical=True)[:, : len(index)]
  return found, pair


def _joined(parts: list[_Part], about: str, unread: Mapping[str, str]) -> Judgment:
  names = tuple(name for part in parts for name in part.names)
  values, baseline = (
    _joined_tables([getattr(p, which) for p in parts], [len(p.names) for p in parts])
    for which in ("values", "baseline")
  )
  for k, table in enumerate((values, baseline)):
    for name in RETRIEVALS.keys() & table.keys():
      whole = np.concatenate([part.embeddings[k] for part in parts], 1)
      table[name] = dict(retrievals(whole, RETRIEVALS[name]))
  problems = dict(unread)
  for part in parts:
    problems |= part.problems
  gaps = {}
  for measure, found in values.items():
    bad = ~np.isfinite(found[""])
    lost = tuple(n for n, b in zip(names, bad, strict=True) if b and n not in problems)
    if lost:
      gaps[measure] = lost
  keys = parts[0].properties if parts else ()
  joined = {k: np.concatenate([p.properties[k] for p in parts]) for k in keys}
  return Judgment(names, about, values, baseline, joined, problems, gaps)


def _joined_tables(tables: list[Table], counts: list[int]) -> Table:
  """Concatenates chunks; a chunk without any head has no measures."""
  result: Table = {}
  for table in tables:
    for name, parts in table.items():
      result.setdefault(name, {part: np.empty(0, np.float32) for part in parts})
  for name, parts in result.items():
    for part in parts:
      parts[part] = np.concatenate(
        [
          table[name][part] if name in table else np.full(count, np.nan, np.float32)
          for table, count in zip(tables, counts, strict=True)
        ]
      )
  return result
