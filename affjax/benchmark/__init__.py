"""Benchmark sets, and methods judged on them beside the mean head.

`make_set` makes a set and `read_set` opens it; `photo_folder` opens photos whose
geometry is not known. `contestant` returns a method by name, `Reconstructed` makes one
of any reconstructor, `tool_folder` opens the files of another tool. `judge` runs a
method; `as_text`, `as_json` and `write_page` show the result.
"""

from affjax.benchmark._contestants import (
  CONTESTANTS,
  Answer,
  Contestant,
  MeanHead,
  Reconstructed,
  contestant,
)
from affjax.benchmark._judging import Judgment, Samples, judge
from affjax.benchmark._page import write_page
from affjax.benchmark._photo_folder import PhotoFolder, photo_folder
from affjax.benchmark._recipes import SETS, Recipe, recipe
from affjax.benchmark._sets import (
  INDEX,
  BenchmarkSet,
  SetError,
  folder_of,
  make_set,
  read_set,
)
from affjax.benchmark._tables import as_json, as_text
from affjax.benchmark._tools import TOOLS, Tool, ToolFolder, tool_folder

__all__ = [
  "CONTESTANTS",
  "INDEX",
  "SETS",
  "TOOLS",
  "Answer",
  "BenchmarkSet",
  "Contestant",
  "Judgment",
  "MeanHead",
  "PhotoFolder",
  "Recipe",
  "Reconstructed",
  "Samples",
  "SetError",
  "Tool",
  "ToolFolder",
  "as_json",
  "as_text",
  "contestant",
  "folder_of",
  "judge",
  "make_set",
  "photo_folder",
  "read_set",
  "recipe",
  "tool_folder",
  "write_page",
]
