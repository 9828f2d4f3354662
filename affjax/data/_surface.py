"""The names of `affjax.data` that need JAX; it imports them on first use."""

# ruff: noqa: F401
from affjax.data._augmentation import Ranges, augmented
from affjax.data._batching import FIELDS, to_batch
from affjax.data._cache import DiskCache, StaleCacheError
from affjax.data._folder import FolderSource
from affjax.data._mixing import MixedSource
from affjax.data._pipeline import steps_per_epoch, training_batches
from affjax.data._preparation.outcomes import Tally
from affjax.data._preparation.run import PrepareReport, prepare
from affjax.data._prepared import PreparedSource
from affjax.data._record_source import Record, RecordFacts, RecordSource
from affjax.data._sources import SOURCES, Wanted, mixed, pair
from affjax.data._synthetic.source import SyntheticFaces
