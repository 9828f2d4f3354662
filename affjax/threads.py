"""A map over threads, for work in Pillow and XLA, which release Python's lock.

The threads live as long as the call, so that a program may fork between two calls.
"""

import os
from collections.abc import Callable, Iterable
from concurrent import futures
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def mapped(function: Callable[[A], B], items: Iterable[A]) -> list[B]:
  """Returns a function of each item, in order, computed on one thread per core."""
  items = list(items)
  if len(items) < 2:
    return [function(item) for item in items]
  with futures.ThreadPoolExecutor(min(_cores(), len(items))) as pool:
    return list(pool.map(function, items))


def _cores() -> int:
  """Returns the number of cores to use: NPROC, which XLA obeys too, or all allowed."""
  if (given := os.environ.get("NPROC", "")).isdigit():
    return max(1, int(given))
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
