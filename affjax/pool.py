"""Worker processes that end with their parent: a pool, and one that is replaced."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from affjax import bugs

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

# Largest result of a task of `Worker`, bytes.
_LARGEST_RESULT = 1 << 24
_DIED = "the worker process died, perhaps because memory ran out"

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


class Worker:
  """A process that does one task after another, and is replaced when it has died.

  Tasks and results are JSON: a process that hostile input took over cannot hand code to
  this one.

  Args:
    make: Picklable function that makes the function that does a task; called once in
      each process. That function turns JSON into JSON and raises nothing.
  """

  def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
    self._make = make
    self._process: BaseProcess | None = None
    self._pipe: Connection | None = None
    self._stopped = False

  @property
  def process_id(self) -> int | None:
    """The id of the process, if one runs."""
    return self._process.pid if self._process else None

  @property
  def is_alive(self) -> bool:
    """Whether a process runs."""
    return self._process is not None and self._process.is_alive()

  def start(self) -> None:
    """Starts a process unless one runs, and waits until it takes tasks.

    Raises:
      ValueError: `make` raised an exception, whose message this is.
      WorkerDied: The process died, or `stop` was called.
    """
    if self.is_alive:
      return
    if self._stopped:
      raise WorkerDied("the worker process was stopped")
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    self._pipe = cast(Connection, pipe)  # on Windows it is another class
    self._process = context.Process(
      target=_serve, args=(self._make, other), daemon=True
    )
    self._process.start()
    # Without this copy, the pipe ends when the process does.
    other.close()
    if problem := self._received(None):
      self._end()
      raise ValueError(problem)

  def do(self, task: Any, *, seconds: float) -> Any:
    """Returns the result of a task; starts a process where none runs.

    Args:
      task: JSON-able description of the task.
      seconds: Time after which the process is ended.

    Raises:
      WorkerDied: The process died or took too long. The next call starts another.
    """
    self.start()
    assert self._pipe is not None
    try:
      self._pipe.send_bytes(json.dumps(task).encode())
    except OSError:
      self._end()
      raise WorkerDied(_DIED) from None
    return self._received(seconds)

  def stop(self) -> None:
    """Ends the process; a task that it does raises `WorkerDied` in its thread."""
    self._stopped = True
    self._end()

  def _received(self, seconds: float | None) -> Any:
    assert self._pipe is not None
    try:
      if self._pipe.poll(seconds):
        return json.loads(self._pipe.recv_bytes(_LARGEST_RESULT))
      problem = f"it took longer than {seconds:.0f} s and was stopped"
    except (EOFError, OSError, ValueError):
      problem = _DIED
    self._end()
    raise WorkerDied(problem)

  def _end(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.join()


def _serve(make: Callable[[], Callable[[Any], Any]], pipe: Connection) -> None:
  """Does the tasks that come through a pipe, in a worker process."""
  try:
    _begin(make)
  except Exception as error:
    bugs.show_traceback(error)
    pipe.send_bytes(json.dumps(bugs.reason(error)).encode())
    return
  pipe.send_bytes(b"null")
  while True:
    pipe.send_bytes(json.dumps(_do(json.loads(pipe.recv_bytes()))).encode())


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
