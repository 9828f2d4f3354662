"""Shuffled training batches of a random-access source; needs `affjax[train]`."""

from collections.abc import Iterator

import jax

from affjax.data._augmentation import Ranges
from affjax.data._record_source import Record, RecordSource
from affjax.types import Template


def training_batches(
  source: RecordSource,
  *,
  batch_size: int,
  seed: int,
  epochs: int | None = None,
  mirror: Template | None = None,
  augment: Ranges | None = None,
  guides: bool = False,
  threads: int = 2,
  process_index: int | None = None,
  process_count: int | None = None,
) -> Iterator[Record]:
  """Returns a Grain iterator over stacked records, in a new order each epoch.

  It uses threads: worker processes would cost seconds to start and leak when killed.
  `grain.checkpoint.CheckpointSave(iterator)` saves its state. Randomness of a record
  depends on the seed and on its place among the samples of all processes, so that any
  number of processes sees the same batches.

  Args:
    source: Source of the records. The parts of a `MixedSource` are shuffled one by one
      and keep their shares.
    batch_size: Number of records in a batch, of all processes together.
    seed: Seed of order, mirroring and augmentation.
    epochs: Number of epochs; None repeats without end.
    mirror: Template of the records' vertices; if given, half of the records, chosen at
      random, are mirrored.
    augment: Ranges of the augmentation; None changes nothing.
    guides: Whether records get the random numbers that make a guide of a head.
    threads: Number of threads that make records ahead.
    process_index: Index of this process; None takes JAX's.
    process_count: Number of processes, each of which gets a part of every batch; None
      takes JAX's.

  Raises:
    ValueError: The batch is larger than the source, or does not divide by the number
      of processes.
    ImportError: Grain is not installed.
  """
  from affjax.data import _grain

  index = jax.process_index() if process_index is None else process_index
  count = jax.process_count() if process_count is None else process_count
  if batch_size % count:
    raise ValueError(
      f"batch_size must divide by the {count} processes, got {batch_size}"
    )
  steps = steps_per_epoch(len(source), batch_size)
  data = _grain.shuffled(source, seed, steps * batch_size)
  if mirror is not None:
    data = data.random_map(_grain.Mirror(mirror))
  if augment is not None and augment.active:
    data = data.random_map(_grain.Augment(augment))
  if guides:
    data = data.random_map(_grain.GuideNoise())
  return _grain.batched(
    data,
    batch_size=batch_size // count,
    index=index,
    count=count,
    epochs=epochs,
    threads=threads,
  )


def steps_per_epoch(count: int, batch_size: int) -> int:
  """Returns the number of whole batches in `count` records.

  Raises:
    ValueError: There is not one whole batch.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be positive, got {batch_size}")
  if count < batch_size:
    raise ValueError(
      f"batch_size must be at most the {count} samples, got {batch_size}"
    )
  return count // batch_size
