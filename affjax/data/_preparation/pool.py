"""Units of work over processes, each of one thread, that end with their parent."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

# What keeps a worker to one core. The number of workers changes no result: each sums
# in the same order as if it were alone.
_ONE_THREAD = {
  "NPROC": "1",
  "OMP_NUM_THREADS": "1",
  "OPENBLAS_NUM_THREADS": "1",
  "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
_XLA_FLAGS = "--xla_cpu_multi_thread_eigen=false"

_worker: Callable[[Any], Any] | None = None


class WorkerDied(ValueError):
  """A worker process is gone: out of memory, or killed."""


def run(
  make: Callable[[], Callable[[T], Any]], tasks: Iterable[T], *, workers: int
) -> Iterator[Any]:
  """Results of tasks, as they are done, in any order.

  Args:
    make: makes the function that does a task; called once in each worker process.
    tasks: few are taken ahead.
    workers: how many processes.

  Raises:
    WorkerDied: a process died.
    Exception: whatever a task raised; no further ones are begun.
  """
  if workers < 1:
    raise ValueError(f"workers must be at least 1, got {workers}")
  context = multiprocessing.get_context("spawn")
  before = {name: os.environ.get(name) for name in (*_ONE_THREAD, "XLA_FLAGS")}
  os.environ.update(_ONE_THREAD)
  os.environ["XLA_FLAGS"] = f"{before['XLA_FLAGS'] or ''} {_XLA_FLAGS}".strip()
  pool = concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=context, initializer=_begin, initargs=(make,)
  )
  try:
    yield from _results(pool, iter(tasks), 2 * workers)
  except concurrent.futures.BrokenExecutor as error:
    raise WorkerDied(
      "a worker process died, perhaps for want of memory; what is done stays, run the "
      "command again, with fewer --workers if it happens again"
    ) from error
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
    for name, value in before.items():
      if value is None:
        os.environ.pop(name, None)
      else:
        os.environ[name] = value


def _results(
  pool: concurrent.futures.Executor, tasks: Iterator[T], ahead: int
) -> Iterator[Any]:
  """Keeps `ahead` tasks under way."""
  under_way: set[concurrent.futures.Future] = set()
  while True:
    while len(under_way) < ahead:
      try:
        under_way.add(pool.submit(_do, next(tasks)))
      except StopIteration:
        break
    if not under_way:
      return
    done, under_way = concurrent.futures.wait(
      under_way, return_when=concurrent.futures.FIRST_COMPLETED
    )
    for future in done:
      yield future.result()


def _begin(make: Callable[[], Callable[[Any], Any]]) -> None:
  """Runs in a new worker."""
  global _worker
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _worker = make()


def _end_with_parent() -> None:
  """A parent that was killed cannot say so; its pipe's end can."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def _do(task: Any) -> Any:
  assert _worker is not None
  return _worker(task)
