"""Training data: sources of records, pipelines, and the preparation of data sets.

Sources implement `RecordSource`: `SyntheticFaces`, `FolderSource`, `PreparedSource` and
`MixedSource`; configs choose one of `SOURCES` by name. `training_batches` shuffles a
source, `to_batch` converts its records inside the training step. `prepare` makes a data
set of photos. `training_batches`, `PreparedSource` and `prepare` need the extra
`affjax[train]`; importing this package does not.
"""

# ruff: noqa: F403, F405
import importlib
from typing import TYPE_CHECKING, Any

from affjax.data._preparation.options import PrepareOptions, PrepareRun

if TYPE_CHECKING:
  from affjax.data._surface import *

__all__ = [
  "FIELDS",
  "SOURCES",
  "Degradation",
  "DiskCache",
  "FolderSource",
  "MixedSource",
  "PrepareOptions",
  "PrepareReport",
  "PrepareRun",
  "PreparedSource",
  "Ranges",
  "Record",
  "RecordFacts",
  "RecordSource",
  "StaleCacheError",
  "SyntheticFaces",
  "Tally",
  "Wanted",
  "augmented",
  "degradation",
  "mixed",
  "pair",
  "prepare",
  "steps_per_epoch",
  "to_batch",
  "training_batches",
  "with_guide_noise",
]


def __getattr__(name: str) -> Any:
  """Imports what needs JAX on first use: `affjax prepare --help` does without it."""
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}._surface"), name)
