"""Several sources as one, each with its share."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import grain
import numpy as np

from affjax.data import _batching


class Interleaving(grain.transforms.DatasetSelectionMap):
  """Which source gives the i-th sample, and which of its samples that is.

  Fixed by the weights alone. Among the first n samples source k has n times its share,
  to within the number of sources, for every n: there is nothing random in the order,
  and nothing to be saved but i.

  Args:
    weights: positive, of any sum.
    length: samples in an epoch; indices may go beyond.

  Raises:
    ValueError: no weights, or one that is not positive and finite.
  """

  def __init__(self, weights: Sequence[float], length: int):
    if not weights or not all(w > 0 and math.isfinite(w) for w in weights):
      raise ValueError(f"weights must be positive, got {tuple(weights)}")
    # 0.1 is meant as a tenth, not as the binary number next to it.
    exact = [Fraction(repr(float(weight))) for weight in weights]
    unit = math.lcm(*(weight.denominator for weight in exact))
    self._weights = tuple(int(weight * unit) for weight in exact)
    self._length = length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index: int) -> tuple[int, int]:
    # Each source takes its share of what those before it leave.
    left, place = sum(self._weights), index
    for source, weight in enumerate(self._weights):
      before, after = place * weight // left, (place + 1) * weight // left
      if after > before:
        return source, before
      place, left = place - before, left - weight
    raise AssertionError("the last source takes all that is left")


class MixedSource:
  """A source of records of several sources in fixed shares.

  `source[i]` goes through each of them in order, and over again; the training pipeline
  shuffles each by itself. As long as all sources together; a share decides how often
  the records of a source are seen, not whether.

  Args:
    sources: by name, each with `len`, `[i]` and `settings()`.
    weights: by the same names, positive, of any sum.

  Raises:
    ValueError: the names differ, a weight is not positive, or a source is empty.
  """

  def __init__(self, sources: Mapping[str, Any], weights: Mapping[str, float]):
    if not sources or set(sources) != set(weights):
      raise ValueError(
        f"weights must be for {', '.join(sources) or 'some sources'}, got "
        f"{', '.join(weights) or 'none'}"
      )
    empty = [name for name, source in sources.items() if not len(source)]
    if empty:
      raise ValueError(f"source {', '.join(empty)} of the mixture holds no records")
    self._named = dict(sources)
    self.weights = {name: float(weights[name]) for name in sources}
    self._order = self.interleaving(len(self))

  @property
  def parts(self) -> list["Projection"]:
    """The sources in their order, with the fields that all of them have."""
    return [Projection(source) for source in self._named.values()]

  def interleaving(self, length: int) -> Interleaving:
    """The order of `parts` in an epoch of another length."""
    return Interleaving(tuple(self.weights.values()), length)

  def __len__(self) -> int:
    return sum(len(source) for source in self._named.values())

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    if not 0 <= index < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} records")
    which, place = self._order[int(index)]
    part = self.parts[which]
    return part[place % len(part)]

  def settings(self) -> dict[str, Any]:
    """What decides the records."""
    parts = {name: source.settings() for name, source in self._named.items()}
    return {"source": "MixedSource", "weights": self.weights, "parts": parts}


class Projection:
  """A source's records with the fields that a training step reads, and no others."""

  def __init__(self, source: Any):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    record = self._source[index]
    return {name: record[name] for name in _batching.FIELDS}

  def settings(self) -> dict[str, Any]:
    """Those of the source."""
    return self._source.settings()
