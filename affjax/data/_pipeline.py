"""From a random-access source to shuffled batches, with Grain."""

from typing import Any

import grain
import jax
import numpy as np

from affjax.data import _augmentation, _mirroring
from affjax.data._augmentation import Ranges
from affjax.data._mixing import MixedSource
from affjax.types import Template


def training_batches(
  source: Any,
  *,
  batch_size: int,
  seed: int,
  epochs: int | None = None,
  mirror: Template | None = None,
  augment: Ranges | None = None,
  threads: int = 2,
  process_index: int | None = None,
  process_count: int | None = None,
) -> grain.DatasetIterator:
  """An iterator over stacked records, a new order each epoch, the same for a seed.

  Threads rather than processes: records are made by compiled programs or read from
  memory maps, and worker processes cost seconds to start and leak when killed. The
  iterator's state goes into a checkpoint by
  `grain.checkpoint.CheckpointSave(iterator)`.

  What is random about a record depends on the seed and on its place among the samples
  of all processes, so that any number of processes sees the same batches.

  Args:
    source: has `len` and `[i] -> dict of arrays`; the parts of a `MixedSource` are
      shuffled each by itself and keep their shares.
    batch_size: of all processes together.
    seed: of order and mirroring.
    epochs: None = without end.
    mirror: if given, half of the records are mirrored, at random; the template whose
      vertices the records hold.
    augment: what may change in photos; nothing if not given.
    threads: that make records ahead.
    process_index: this process; jax's if not given.
    process_count: how many share the source; jax's if not given. Each gets another
      part of every batch, in order.

  Raises:
    ValueError: the batch is larger than the source, or does not divide by the
      processes.
  """
  index = jax.process_index() if process_index is None else process_index
  count = jax.process_count() if process_count is None else process_count
  if batch_size % count:
    raise ValueError(
      f"batch_size must divide by the {count} processes, got {batch_size}"
    )
  steps = steps_per_epoch(len(source), batch_size)
  local = batch_size // count
  data = _ordered(source, seed, steps * batch_size)
  if mirror is not None:
    data = data.random_map(_Mirror(_mirroring.mirror_vertices(mirror)))
  if augment is not None and augment.active:
    data = data.random_map(_Augment(augment))
  data = data.batch(local, drop_remainder=True)
  data = data.slice(slice(index, None, count)).repeat(epochs)
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(2 * threads, 4)
  )
  return iter(data.to_iter_dataset(options))


def steps_per_epoch(count: int, batch_size: int) -> int:
  """Whole batches in a source; what is left over waits for another epoch's order.

  Raises:
    ValueError: there is not one whole batch.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be positive, got {batch_size}")
  if count < batch_size:
    raise ValueError(
      f"batch_size must be at most the {count} samples, got {batch_size}"
    )
  return count // batch_size


def _ordered(source: Any, seed: int, length: int) -> grain.MapDataset:
  """`length` samples of each epoch, in the seed's order."""
  if not isinstance(source, MixedSource):
    data = grain.MapDataset.source(source).seed(seed).shuffle()
    return data.slice(slice(0, length))
  parts = [
    grain.MapDataset.source(part).seed(seed + k).shuffle()
    for k, part in enumerate(source.parts)
  ]
  order = source.interleaving(length)
  return grain.MapDataset.select_from_datasets(parts, order).seed(seed)


class _Mirror(grain.transforms.RandomMap):
  """Mirrors every other record, by the iterator's own randomness."""

  def __init__(self, twin: np.ndarray):
    self._twin = twin

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    if rng.random() < 0.5:
      return element
    return _mirroring.mirror_record(element, self._twin)


class _Augment(grain.transforms.RandomMap):
  """Changes photos, by the iterator's own randomness."""

  def __init__(self, ranges: Ranges):
    self._ranges = ranges

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    return _augmentation.augmented(element, self._ranges, rng)
