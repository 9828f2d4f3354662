"""Worker processes that end with their parent: a pool, and those that are replaced."""

import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from affjax import bugs

Task = TypeVar("Task")
Result = TypeVar("Result")

# These variables keep a worker to one core. With the flag it also sums in the same
# order whatever the number of workers, but it does not find the programs that processes
# without the flag have compiled.
_ONE_THREAD = {
  "NPROC": "1",
  "OMP_NUM_THREADS": "1",
  "OPENBLAS_NUM_THREADS": "1",
  "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
_XLA_FLAGS = "--xla_cpu_multi_thread_eigen=false"

# Largest result of a task of `Worker`, bytes.
_LARGEST_RESULT = 1 << 24
_END = object()
_DIED = "the worker process died, perhaps because memory ran out"

# Function by which a task tells something JSON-able while it is done.
Tell = Callable[[Any], None]

_worker: Callable[..., Any] | None = None


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
  with _one_thread_each(_XLA_FLAGS):
    pool = concurrent.futures.ProcessPoolExecutor(
      workers, mp_context=context, initializer=_begin, initargs=(make,)
    )
    try:
      yield from _results(pool, iter(tasks), 2 * workers)
    except concurrent.futures.BrokenExecutor as error:
      raise WorkerDied(
        "a worker process died, perhaps because memory ran out; finished work is "
        "kept: run the command again, with fewer --workers if this repeats"
      ) from error
    finally:
      pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each(flags: str = "") -> Iterator[None]:
  """Keeps each process that starts in the block to one core; adds flags of XLA."""
  before = {name: os.environ.get(name) for name in (*_ONE_THREAD, "XLA_FLAGS")}
  os.environ.update(_ONE_THREAD)
  if flags:
    os.environ["XLA_FLAGS"] = f"{before['XLA_FLAGS'] or ''} {flags}".strip()
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        os.environ.pop(name, None)
      else:
        os.environ[name] = value


def survived(
  make: Callable[[], Callable[[Any, Tell], Any]], tasks: Iterable[Any], *, workers: int
) -> Generator[tuple[Any, Any], None, None]:
  """Yields tasks with their results in the order in which they are done.

  A task that kills its process has the `WorkerDied` as its result, and the others go
  on in a new process.

  Args:
    make: Picklable function that makes the function of each process, as `Worker`
      takes it.
    tasks: JSON-able descriptions of tasks; only a few are taken ahead.
    workers: Number of processes.

  Raises:
    ValueError: `make` raised an exception, whose message this is.
  """
  if workers < 1:
    raise ValueError(f"workers must be at least 1, got {workers}")
  waiting, todo = queue.Queue[Any](), threading.Lock()
  rest, crew = iter(tasks), [Worker(make) for _ in range(workers)]

  def work(worker: Worker) -> None:
    try:
      while not worker.stopped:
        with todo:
          task = next(rest, _END)
        if task is _END:
          break
        try:
          result = worker.do(task, seconds=None)
        except WorkerDied as error:
          result = error
        waiting.put((task, result))
      waiting.put(_END)
    except Exception as error:
      waiting.put(error)

  with _one_thread_each():
    threads = [threading.Thread(target=work, args=(w,), daemon=True) for w in crew]
    try:
      for thread in threads:
        thread.start()
      left = workers
      while left:
        item = waiting.get()
        if item is _END:
          left -= 1
        elif isinstance(item, Exception):
          raise item
        else:
          yield item
    finally:
      for worker in crew:
        worker.stop()
      for thread in threads:
        thread.join()


class Worker:
  """A process that does one task after another, and is replaced when it has died.

  Tasks and results are JSON: a process that hostile input took over cannot hand code to
  this one.

  Args:
    make: Picklable function that makes the function that does a task; called once in
      each process. That function turns JSON into JSON and raises nothing; it can tell
      what it does by its second argument.
  """

  def __init__(self, make: Callable[[], Callable[[Any, Tell], Any]]) -> None:
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

  @property
  def stopped(self) -> bool:
    """Whether `stop` was called."""
    return self._stopped

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
    if self._stopped:
      self._end()
    # Without this copy, the pipe ends when the process does.
    other.close()
    if problem := self._received(None, _nobody):
      self._end()
      raise ValueError(problem)

  def do(self, task: Any, *, seconds: float | None, told: Tell | None = None) -> Any:
    """Returns the result of a task; starts a process where none runs.

    Args:
      task: JSON-able description of the task.
      seconds: Time after which the process is ended; None waits.
      told: Function that is called with what the task tells.

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
    return self._received(seconds, told or _nobody)

  def stop(self) -> None:
    """Ends the process; a task that it does raises `WorkerDied` in its thread."""
    self._stopped = True
    self._end()

  def _received(self, seconds: float | None, told: Tell) -> Any:
    assert self._pipe is not None
    end = None if seconds is None else time.monotonic() + seconds
    try:
      while self._pipe.poll(None if end is None else max(end - time.monotonic(), 0)):
        message = json.loads(self._pipe.recv_bytes(_LARGEST_RESULT))
        if "result" in message:
          return message["result"]
        told(message["told"])
      problem = f"it took longer than {seconds:.0f} s and was stopped"
    except (EOFError, LookupError, OSError, TypeError, ValueError):
      problem = _DIED
    self._end()
    raise WorkerDied(problem)

  def _end(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.join()


def _nobody(_: Any) -> None:
  """Hears nothing."""


def _serve(make: Callable[[], Callable[[Any, Tell], Any]], pipe: Connection) -> None:
  """Does the tasks that come through a pipe, in a worker process."""

  def send(kind: str, content: Any) -> None:
    pipe.send_bytes(json.dumps({kind: content}).encode())

  try:
    _begin(make)
  except Exception as error:
    bugs.show_traceback(error)
    send("result", bugs.reason(error))
    return
  assert _worker is not None
  send("result", None)
  while True:
    task = json.loads(pipe.recv_bytes())
    send("result", _worker(task, functools.partial(send, "told")))


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


def _begin(make: Callable[[], Callable[..., Any]]) -> None:
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
