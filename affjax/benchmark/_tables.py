"""Tables of a judgment: whole, by region and by stratum; as text and as JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affjax.benchmark._judging import Judgment
from affjax.eval import MEASURES, STRATA, Summary, stratum, summary

# Measures whose regions and strata are printed; JSON has those of all.
_PRINTED = (
  "position, raw",
  "position, similarity",
  "scan (NoW-like)",
  "normals, visible face",
)


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of the tables.

  Attributes:
    measure: Name of the measure.
    part: Region, or "" for the whole.
    property: Property of the stratum, or "" for all photos.
    stratum: Name of the stratum, or "".
    unit: Unit of the values.
    summary: Means and intervals.
  """

  measure: str
  part: str
  property: str
  stratum: str
  unit: str
  summary: Summary


def rows(judgment: Judgment) -> list[Row]:
  """Returns all rows of a judgment, in the order of `MEASURES`."""
  result = []
  for measure in MEASURES:
    own = judgment.values.get(measure.name, {})
    other = judgment.baseline.get(measure.name, {})
    for part, values in own.items():
      base = other.get(part, np.full_like(values, np.nan))
      for which, label, chosen in _groups(judgment):
        if part and which:
          continue
        found = summary(values[chosen], base[chosen])
        if not found.n and not np.isfinite(base).any():
          found = _alone(values[chosen])
        result.append(Row(measure.name, part, which, label, measure.unit, found))
  return result


def _alone(values: np.ndarray) -> Summary:
  """Returns the summary of a measure that the mean head lacks."""
  found = summary(values, values)
  nothing = (math.nan, math.nan)
  return dataclasses.replace(
    found, baseline=math.nan, ratio=math.nan, ratio_interval=nothing
  )


def _groups(judgment: Judgment) -> list[tuple[str, str, np.ndarray]]:
  """Returns property, stratum and its photos; first all photos."""
  groups = [("", "", np.ones(len(judgment.names), bool))]
  for name, values in judgment.properties.items():
    labels = [stratum(name, float(value)) for value in values]
    for _, label in STRATA[name]:
      chosen = np.array([found == label for found in labels], bool)
      if chosen.any():
        groups.append((name, label, chosen))
  return groups


def as_json(judgment: Judgment) -> dict[str, Any]:
  """Returns a judgment as JSON values; numbers have four digits, NaN is null."""
  return {
    "method": judgment.about,
    "photos": len(judgment.names),
    "rows": [
      {
        **{k: v for k, v in dataclasses.asdict(row).items() if v and k != "summary"},
        **{k: _number(v) for k, v in dataclasses.asdict(row.summary).items()},
      }
      for row in rows(judgment)
    ],
    "without_a_head": dict(judgment.problems),
    "without_a_value": {k: list(v) for k, v in judgment.gaps.items()},
  }


def _number(value: Any) -> Any:
  if isinstance(value, tuple):
    return [_number(item) for item in value]
  if isinstance(value, float):
    return float(f"{value:.4g}") if math.isfinite(value) else None
  return value


def as_text(judgment: Judgment, what: str) -> str:
  """Returns the tables as aligned text."""
  tables = [_aligned(table) for _, table in blocks(judgment, what)]
  return "\n\n".join(
    [*tables, *(["\n".join(notes(judgment))] if notes(judgment) else [])]
  )


def blocks(judgment: Judgment, what: str) -> list[tuple[str, list[tuple[str, ...]]]]:
  """Returns title and rows of each table; the first row names the columns.

  Args:
    judgment: The values.
    what: Name of the method.
  """
  every = rows(judgment)
  whole = [row for row in every if not row.part and not row.property]
  columns = (what, "95 %", "mean head", "ratio", "95 %", "N")
  table = [_cells(row, (row.measure, row.unit)) for row in whole]
  found = [("", [("measure", "unit", *columns), *table])]
  for name in _PRINTED:
    for by, some in (
      ("region", [row for row in every if row.measure == name and row.part]),
      ("stratum", [row for row in every if row.measure == name and row.property]),
    ):
      label = lambda row: row.part or f"{row.property} {row.stratum}"
      table = [_cells(row, (label(row), "")) for row in some]
      if some:
        title = f"{name} by {by}"
        found.append((title, [(title, some[0].unit, *columns), *table]))
  return found


def _cells(row: Row, start: tuple[str, str]) -> tuple[str, ...]:
  found = row.summary
  return (
    *start,
    _short(found.mean),
    _span(found.interval),
    _short(found.baseline),
    _short(found.ratio, 3),
    _span(found.ratio_interval, 3),
    str(found.n),
  )


def _short(value: float, digits: int = 4) -> str:
  return f"{value:.{digits}g}" if math.isfinite(value) else "-"


def _span(interval: tuple[float, float], digits: int = 3) -> str:
  low, high = interval
  return f"{_short(low, digits)}-{_short(high, digits)}" if math.isfinite(low) else "-"


def _aligned(table: Sequence[Sequence[str]]) -> str:
  widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
  lines = []
  for row in table:
    cells = [
      cell.ljust(width) if k < 2 else cell.rjust(width)
      for k, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    lines.append("  ".join(cells).rstrip())
  return "\n".join(lines)


def notes(judgment: Judgment) -> list[str]:
  """Returns lines about what the tables leave out, with the names of photos."""
  found = []
  for reason, names in _by_reason(judgment.problems).items():
    found.append(f"without a head: {len(names)} ({reason}): {_listed(names)}")
  for measure, names in judgment.gaps.items():
    found.append(f"without a value of {measure!r}: {len(names)}: {_listed(names)}")
  return found


def _by_reason(problems: Mapping[str, str]) -> dict[str, list[str]]:
  found: dict[str, list[str]] = {}
  for name, reason in problems.items():
    found.setdefault(reason, []).append(name)
  return found


def _listed(names: Sequence[str], most: int = 8) -> str:
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
