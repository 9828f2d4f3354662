"""A pool of single-threaded processes that end with their parent."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

# These variables keep a worker to one core, so that it sums in the same order whatever
# the number of workers: that number changes no result.
_ONE_THREAD = {
  "NPROC": "1",
  "OMP_NUM_THREADS": "1",
  "OPENBLAS_NUM_THREADS": "1",
  "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
_XLA_FLAGS = "--xla_cpu_multi_thread_eigen=false"

_worker: Callable[[Any], Any] | None = None


class WorkerDied(ValueError):
  """A worker process ended early: out of memory, or killed."""


def run(
  make: Callable[[], Callable[[Task], Result]], tasks: Iterable[Task], *, workers: int
) -> Iterator[Result]:
  """Yields the results of tasks in the order in which they are done.

  Args:
    make: Picklable function that makes the function that does a task; called once in
      each worker process.
    tasks: Tasks; only a few are taken ahead.
    workers: Number of processes.

  Raises:
    WorkerDied: A process died.
    Exception: A task raised it; no further tasks are started.
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
      "a worker process died, perhaps because memory ran out; finished work is kept: "
      "run the command again, with fewer --workers if this repeats"
    ) from error
  finally:
    pool.shutdown(wait=True, cancel_futures=True)
    for name, value in before.items():
      if value is None:
        os.environ.pop(name, None)
      else:
        os.environ[name] = value


def _results(
  pool: concurrent.futures.Executor, tasks: Iterator[Any], ahead: int
) -> Iterator[Any]:
  """Yields results and keeps `ahead` tasks running or queued."""
  under_way: set[concurrent.futures.Future[Any]] = set()
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
  """Initializes a new worker process."""
  global _worker
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _worker = make()


def _end_with_parent() -> None:
  """Ends this process when its parent ends, even if the parent was killed."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def _do(task: Any) -> Any:
  assert _worker is not None
  return _worker(task)
