"""Training data: sources of records, pipelines, and the preparation of data sets.

Sources implement `RecordSource`: `SyntheticFaces`, `FolderSource`, `PreparedSource` and
`MixedSource`; configs choose one of `SOURCES` by name. `training_batches` shuffles a
source, `to_batch` converts its records inside the training step. `prepare` makes a data
set of photos. `training_batches`, `PreparedSource` and `prepare` need the extra
`affjax[train]`; importing this package does not.
"""

from affjax.data._augmentation import Ranges, augmented
from affjax.data._batching import FIELDS, to_batch
from affjax.data._cache import DiskCache, StaleCacheError
from affjax.data._folder import FolderSource
from affjax.data._mixing import MixedSource
from affjax.data._pipeline import steps_per_epoch, training_batches
from affjax.data._preparation.options import PrepareOptions, PrepareRun
from affjax.data._preparation.outcomes import Tally
from affjax.data._preparation.run import PrepareReport, prepare
from affjax.data._prepared import PreparedSource
from affjax.data._record_source import Record, RecordFacts, RecordSource
from affjax.data._sources import SOURCES, Wanted, mixed, pair
from affjax.data._synthetic.source import SyntheticFaces

__all__ = [
  "FIELDS",
  "SOURCES",
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
  "mixed",
  "pair",
  "prepare",
  "steps_per_epoch",
  "to_batch",
  "training_batches",
]
