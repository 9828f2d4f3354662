"""Training data: synthetic faces, folders of photos, prepared data sets, pipelines."""

from affjax.data._augmentation import Ranges, augmented
from affjax.data._batching import FIELDS, to_batch
from affjax.data._cache import DiskCache, StaleCacheError
from affjax.data._folder import FolderSource
from affjax.data._mixing import MixedSource
from affjax.data._pipeline import steps_per_epoch, training_batches
from affjax.data._prepared import PreparedSource
from affjax.data._sources import Wanted, mixed, pair
from affjax.data._synthetic.source import SyntheticFaces

__all__ = [
  "FIELDS",
  "DiskCache",
  "FolderSource",
  "MixedSource",
  "PreparedSource",
  "Ranges",
  "StaleCacheError",
  "SyntheticFaces",
  "Wanted",
  "augmented",
  "mixed",
  "pair",
  "steps_per_epoch",
  "to_batch",
  "training_batches",
]
