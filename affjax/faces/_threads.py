"""Work on many small things at once: Pillow and XLA leave Python's lock while they do.

The threads live as long as the call, so that a program may fork between two.
"""

import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def mapped(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
  """A function of each item, in order; as many threads as there are cores for us."""
  items = list(items)
  if len(items) < 2:
    return [function(item) for item in items]
  with futures.ThreadPoolExecutor(min(_cores(), len(items))) as pool:
    return list(pool.map(function, items))


def _cores() -> int:
  """Those that we may use; NPROC, which XLA heeds too, says it for a worker process."""
  if (given := os.environ.get("NPROC", "")).isdigit():
    return max(1, int(given))
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
