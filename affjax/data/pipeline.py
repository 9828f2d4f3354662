"""From a random-access source to shuffled batches, with Grain."""

from typing import Any

import grain
import jax
import numpy as np

from affjax.data import mirroring
from affjax.types import Template


def training_batches(
  source: Any,
  *,
  batch_size: int,
  seed: int,
  epochs: int | None = None,
  mirror: Template | None = None,
  threads: int = 2,
  process_index: int | None = None,
  process_count: int | None = None,
) -> grain.DatasetIterator:
  """An iterator over stacked records, a new order each epoch, the same for a seed.

  Threads rather than processes: records are made by compiled programs or read from
  memory maps, and worker processes cost seconds to start and leak when killed. The
  iterator's state goes into a checkpoint by
  `grain.checkpoint.CheckpointSave(iterator)`.

  Args:
    source: has `len` and `[i] -> dict of arrays`.
    batch_size: of all processes together.
    seed: of order and mirroring.
    epochs: None = without end.
    mirror: if given, half of the records are mirrored, at random; the template whose
      vertices the records hold.
    threads: that make records ahead.
    process_index: this process; jax's if not given.
    process_count: how many share the source; jax's if not given. Each gets another
      share of every batch.

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
  data = grain.MapDataset.source(source).seed(seed).shuffle()
  data = data.slice(slice(index, steps * batch_size, count))
  if mirror is not None:
    data = data.random_map(_Mirror(mirroring.mirror_vertices(mirror)))
  data = data.repeat(epochs).batch(local, drop_remainder=True)
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


class _Mirror(grain.transforms.RandomMap):
  """Mirrors every other record, by the iterator's own randomness."""

  def __init__(self, twin: np.ndarray):
    self._twin = twin

  def random_map(self, element: Any, rng: np.random.Generator) -> Any:
    if rng.random() < 0.5:
      return element
    return mirroring.mirror_record(element, self._twin)
