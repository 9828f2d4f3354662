"""The names of `affjax.data` that need JAX; it imports them on first use."""

from affjax.data._augmentation import Ranges as Ranges
from affjax.data._augmentation import augmented as augmented
from affjax.data._batching import FIELDS as FIELDS
from affjax.data._batching import to_batch as to_batch
from affjax.data._cache import DiskCache as DiskCache
from affjax.data._cache import StaleCacheError as StaleCacheError
from affjax.data._folder import FolderSource as FolderSource
from affjax.data._guides import Degradation as Degradation
from affjax.data._guides import degradation as degradation
from affjax.data._guides import with_guide_noise as with_guide_noise
from affjax.data._mixing import MixedSource as MixedSource
from affjax.data._pipeline import steps_per_epoch as steps_per_epoch
from affjax.data._pipeline import training_batches as training_batches
from affjax.data._preparation.outcomes import Tally as Tally
from affjax.data._preparation.run import PrepareReport as PrepareReport
from affjax.data._preparation.run import prepare as prepare
from affjax.data._prepared import PreparedSource as PreparedSource
from affjax.data._record_source import Record as Record
from affjax.data._record_source import RecordFacts as RecordFacts
from affjax.data._record_source import RecordSource as RecordSource
from affjax.data._sources import SOURCES as SOURCES
from affjax.data._sources import Wanted as Wanted
from affjax.data._sources import mixed as mixed
from affjax.data._sources import pair as pair
from affjax.data._synthetic.source import SyntheticFaces as SyntheticFaces
