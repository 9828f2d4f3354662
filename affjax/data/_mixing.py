"""A mixture of several sources in fixed shares."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from affjax.data import _batching
from affjax.data._record_source import Record, RecordFacts, RecordSource


class Interleaving:
  """The order in which sources take turns: `[i] -> (source, index in the source)`.

  The weights alone determine it. Among the first n samples, source k has n times its
  share, to within the number of sources, for every n. Nothing in the order is random,
  so that a checkpoint needs only i. Implements Grain's `DatasetSelectionMap`.

  Args:
    weights: Positive weights of the sources, of any sum.
    length: Number of samples in an epoch; indices may be larger.

  Raises:
    ValueError: There are no weights, or one is not positive and finite.
  """

  def __init__(self, weights: Sequence[float], length: int):
    if not weights or not all(w > 0 and math.isfinite(w) for w in weights):
      raise ValueError(f"weights must be positive, got {tuple(weights)}")
    # 0.1 means a tenth, not the nearest binary number.
    exact = [Fraction(repr(float(weight))) for weight in weights]
    unit = math.lcm(*(weight.denominator for weight in exact))
    self._weights = tuple(int(weight * unit) for weight in exact)
    self._length = length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index: int) -> tuple[int, int]:
    # Each source takes its share of what the sources before it leave.
    left, place = sum(self._weights), index
    for source, weight in enumerate(self._weights):
      before, after = place * weight // left, (place + 1) * weight // left
      if after > before:
        return source, before
      place, left = place - before, left - weight
    raise AssertionError("the last source takes all that is left")


class MixedSource:
  """A source that mixes the records of several sources in fixed shares.

  Each source is read in order and then again from its beginning; the training pipeline
  shuffles each one by itself. The length is that of all sources together: a share
  determines how often the records of a source are seen, not whether.

  Args:
    sources: Sources by name.
    weights: Positive weights by the same names, of any sum.

  Raises:
    ValueError: The names differ, a weight is not positive, a source is empty, or the
      sources' records differ in template or size.
  """

  def __init__(self, sources: Mapping[str, RecordSource], weights: Mapping[str, float]):
    if not sources or set(sources) != set(weights):
      raise ValueError(
        f"weights must be for {', '.join(sources) or 'some sources'}, got "
        f"{', '.join(weights) or 'none'}"
      )
    empty = [name for name, source in sources.items() if not len(source)]
    if empty:
      raise ValueError(f"source {', '.join(empty)} of the mixture holds no records")
    kinds = {name: source.facts for name, source in sources.items()}
    self.facts = next(iter(kinds.values()))
    other = next((name for name in kinds if kinds[name] != self.facts), None)
    if other is not None:
      raise ValueError(
        f"sources of a mixture must agree in template and sizes, got {self.facts} and, "
        f"of {other!r}, {kinds[other]}"
      )
    self._named = dict(sources)
    self.weights = {name: float(weights[name]) for name in sources}
    self._order = self.interleaving(len(self))

  @property
  def parts(self) -> list["Projection"]:
    """The sources in their order, reduced to the fields that all of them have."""
    return [Projection(source) for source in self._named.values()]

  def interleaving(self, length: int) -> Interleaving:
    """Returns the order of `parts` in an epoch of another length."""
    return Interleaving(tuple(self.weights.values()), length)

  def __len__(self) -> int:
    return sum(len(source) for source in self._named.values())

  def __getitem__(self, index: int) -> Record:
    if not 0 <= index < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    which, place = self._order[int(index)]
    part = self.parts[which]
    return part[place % len(part)]

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records."""
    parts = {name: source.settings() for name, source in self._named.items()}
    return {"source": "MixedSource", "weights": self.weights, "parts": parts}


class Projection:
  """A source reduced to the fields that a training step reads."""

  def __init__(self, source: RecordSource):
    self._source = source

  @property
  def facts(self) -> RecordFacts:
    """Properties that all records share."""
    return self._source.facts

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Record:
    record = self._source[index]
    return {name: record[name] for name in _batching.FIELDS}

  def settings(self) -> dict[str, Any]:
    """Returns the settings of the source."""
    return self._source.settings()
