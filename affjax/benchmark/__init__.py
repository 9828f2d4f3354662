"""Benchmark sets, and methods judged on them beside the mean head.

`make_set` makes a set and `read_set` opens it. `contestant` returns a method by name,
`judge` runs it, and `as_text` and `as_json` show the result.
"""

from affjax.benchmark._contestants import (
  CONTESTANTS,
  Answer,
  Contestant,
  MeanHead,
  ModelFit,
  contestant,
)
from affjax.benchmark._judging import Judgment, judge
from affjax.benchmark._recipes import SETS, Recipe, recipe
from affjax.benchmark._sets import (
  BenchmarkSet,
  SetError,
  folder_of,
  make_set,
  read_set,
)
from affjax.benchmark._tables import as_json, as_text

__all__ = [
  "CONTESTANTS",
  "SETS",
  "Answer",
  "BenchmarkSet",
  "Contestant",
  "Judgment",
  "MeanHead",
  "ModelFit",
  "Recipe",
  "SetError",
  "as_json",
  "as_text",
  "contestant",
  "folder_of",
  "judge",
  "make_set",
  "read_set",
  "recipe",
]
