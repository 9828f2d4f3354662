"""Judges a method on a set, chunk by chunk, beside the mean head."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from affjax.benchmark._contestants import Answer, Contestant, MeanHead
from affjax.benchmark._sets import BenchmarkSet
from affjax.eval import Cases, Truths, measured, properties

# Number of photos at a time.
_CHUNK = 20

# Values of each photo by measure and part; NaN where there is none.
Table = dict[str, dict[str, Float[np.ndarray, " n"]]]


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
  benchmark: BenchmarkSet,
  *,
  progress: Callable[[int, int], None] = lambda done, total: None,
) -> Judgment:
  """Returns the values of a method and of the mean head on a set.

  Args:
    contestant: The method.
    benchmark: The set.
    progress: Function that is called with the numbers of judged photos and of all.
  """
  total = len(benchmark)
  size, parts = min(_CHUNK, total), []
  for start in range(0, total, _CHUNK):
    indices = range(start, min(start + _CHUNK, total))
    parts.append(_chunk(contestant, benchmark.truths(indices), size))
    progress(indices.stop, total)
  return _joined(parts, contestant.about)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
  truths: tuple[str, ...]
  values: Table
  baseline: Table
  properties: dict[str, np.ndarray]
  problems: dict[str, str]


def _chunk(contestant: Contestant, truths: Truths, size: int) -> _Part:
  mean = MeanHead()
  baseline = mean.heads_in(truths)
  answer = baseline if isinstance(contestant, MeanHead) else contestant.heads_in(truths)
  answer = without_nan(answer)
  return _Part(
    tuple(truths.names),
    _values(answer, truths, size),
    _values(baseline, truths, size),
    dict(properties(truths)),
    {truths.names[k]: reason for k, reason in answer.problems.items()},
  )


def without_nan(answer: Answer) -> Answer:
  """Returns an answer whose heads with NaN or infinity have become problems."""
  if answer.heads is None:
    return answer
  heads, problems = answer.heads, dict(answer.problems)
  good = [bool(np.isfinite(head).all()) for head in heads.vertices]
  keep = [k for k, fine in enumerate(good) if fine]
  for number, fine in zip(answer.index, good, strict=True):
    if not fine:
      problems[number] = "NaN or infinity in the vertices"
  index = tuple(answer.index[k] for k in keep)
  return Answer(index, heads.chosen(keep) if keep else None, problems)


def _values(answer: Answer, truths: Truths, size: int) -> Table:
  """Returns the measures of up to `size` photos; NaN for those without a head."""
  if answer.heads is None:
    return {}
  # Repeats fill the chunk, so that functions are compiled for few sizes.
  index = list(answer.index)
  padding = [0] * (size - len(index))
  cases = Cases(
    truths.chosen([*index, *(index[k] for k in padding)]),
    answer.heads.chosen([*range(len(index)), *padding]),
  )
  found: Table = {}
  for name, parts in measured(cases).items():
    found[name] = {}
    for part, values in parts.items():
      found[name][part] = np.full(len(truths), np.nan, np.float32)
      found[name][part][index] = np.asarray(values)[: len(index)]
  return found


def _joined(parts: list[_Part], about: str) -> Judgment:
  names = tuple(name for part in parts for name in part.truths)
  values, baseline = (
    _joined_tables([getattr(p, which) for p in parts], [len(p.truths) for p in parts])
    for which in ("values", "baseline")
  )
  problems = {k: v for part in parts for k, v in part.problems.items()}
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
