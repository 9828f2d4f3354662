"""Shuffled, mirrored and augmented records as Grain data sets."""

from typing import Any

import numpy as np

from affjax.data import _augmentation, _guides, _mirroring, _train_extra
from affjax.data._augmentation import Ranges
from affjax.data._mixing import MixedSource
from affjax.data._record_source import RecordSource
from affjax.types import Template

with _train_extra.needed_for("training on batches"):
  import grain


def shuffled(source: RecordSource, seed: int, length: int) -> grain.MapDataset[Any]:
  """Returns the first `length` records of each epoch, in the seed's order."""
  if not isinstance(source, MixedSource):
    records: Any = source  # Grain's annotations ask for any kind of index
    data = grain.MapDataset.source(records).seed(seed).shuffle()
    return data.slice(slice(0, length))
  parts = [
    grain.MapDataset.source(part).seed(seed + k).shuffle()
    for k, part in enumerate(source.parts)
  ]
  order: Any = source.interleaving(length)  # Grain's interface, without importing Grain
  return grain.MapDataset.select_from_datasets(parts, order).seed(seed)


def batched(
  data: grain.MapDataset[Any],
  *,
  batch_size: int,
  index: int,
  count: int,
  epochs: int | None,
  threads: int,
) -> grain.DatasetIterator[Any]:
  """Returns an iterator over the batches of process `index` of `count`."""
  data = data.batch(batch_size, drop_remainder=True)
  data = data.slice(slice(index, None, count)).repeat(epochs)
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(2 * threads, 4)
  )
  return iter(data.to_iter_dataset(options))


class Mirror(grain.transforms.RandomMap):
  """Mirrors half of the records, chosen by the iterator's own randomness."""

  def __init__(self, template: Template):
    self._template = template

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    """Returns the record or its mirror image."""
    if rng.random() < 0.5:
      return element
    return _mirroring.mirror_record(element, self._template)


class Augment(grain.transforms.RandomMap):
  """Augments photos by the iterator's own randomness."""

  def __init__(self, ranges: Ranges):
    self._ranges = ranges

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    """Returns the augmented record."""
    return _augmentation.augmented(element, self._ranges, rng)


class GuideNoise(grain.transforms.RandomMap):
  """Draws the random numbers of each record's guide."""

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    """Returns the record with the numbers."""
    return _guides.with_guide_noise(element, rng)
