"""The checkpoints that are made, and those that are kept."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Checkpointing:
  """Options of the checkpoints.

  Attributes:
    every: Steps between two checkpoints; the last step is always saved.
    keep: Number of the newest checkpoints that are kept; with 2, a damaged one costs
      the steps since the one before.
    keep_best: Number of checkpoints with the lowest `metric` that are kept beside them;
      0 = none, and no evaluation at each checkpoint.
    metric: Loss of the held-out samples by which checkpoints are compared, a term of
      the stage or "total".
  """

  every: int = 1000
  keep: int = 2
  keep_best: int = 1
  metric: str = "total"

  def __post_init__(self):
    for name, least in (("every", 1), ("keep", 1), ("keep_best", 0)):
      if getattr(self, name) < least:
        raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


class Kept:
  """Orbax's preservation policy: the newest checkpoints, and the best ones."""

  def __init__(self, options: Checkpointing, metrics: Callable[[], dict[int, float]]):
    self._options, self._metrics = options, metrics

  def should_preserve(
    self, checkpoints: Sequence[Any], *, context: Any
  ) -> Sequence[bool]:
    """Returns whether each checkpoint is kept."""
    del context
    steps, metrics = sorted(c.step for c in checkpoints), self._metrics()
    known = sorted(set(steps) & set(metrics), key=lambda step: (metrics[step], step))
    kept = {*steps[-self._options.keep :], *known[: self._options.keep_best]}
    return [checkpoint.step in kept for checkpoint in checkpoints]
