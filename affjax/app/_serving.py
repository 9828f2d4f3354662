"""The server of the app."""

import contextlib
import functools
import os
import pathlib
import signal
import socket
import tempfile
import types
from collections.abc import Callable, Iterator

from affjax import pool
from affjax.app._limits import Limits
from affjax.export import prepared_folder
from affjax.photos import OutputOptions, PhotoReconstructor

# Only this machine can reach it.
HOST = "127.0.0.1"


def serve(
  make: Callable[[], PhotoReconstructor],
  *,
  about: str,
  port: int = 8765,
  out: pathlib.Path | None = None,
  limits: Limits = Limits(),  # noqa: B008
  options: OutputOptions = OutputOptions(),  # noqa: B008
  started: Callable[[str], None] = lambda address: None,
) -> None:
  """Serves the app on this machine until it is interrupted (Ctrl-C, SIGTERM).

  Args:
    make: Picklable function that makes the reconstructor, in the worker process.
    about: Phrase that names the method on the page.
    port: The port; 0 takes a free one.
    out: Folder for the results. Without one they are removed at the end.
    limits: Limits on what is taken and kept.
    options: Options of writing heads.
    started: Function that is called with the address when the app answers.

  Raises:
    ImportError: Starlette or uvicorn is not installed.
    ValueError: The reconstructor cannot be made, the port is taken, or the folder
      cannot be used.
  """
  try:
    from affjax.app import _site, _task
  except ModuleNotFoundError as error:
    raise ImportError(
      "affjax app needs Starlette and uvicorn: install them by pip install "
      "'affjax[app]'"
    ) from error
  worker = pool.Worker(functools.partial(_task.make_task, make, options))
  with contextlib.closing(listening(port)) as place, _results(out) as folder:
    port = place.getsockname()[1]
    address = f"http://{HOST}:{port}/"
    app = _site.site(
      *(worker, folder, limits),
      port=port,
      about=about,
      started=lambda: started(address),
    )
    try:
      with _ended_by_sigterm():
        worker.start()
        _site.server(app).run(sockets=[place])
    except KeyboardInterrupt:
      pass
    finally:
      worker.stop()


def listening(port: int) -> socket.socket:
  """Returns a socket that listens on this machine only."""
  if port and not 1024 <= port <= 65535:
    raise ValueError(f"port must be 0 or from 1024 to 65535, got {port}")
  try:
    return socket.create_server((HOST, port))
  except OSError as error:
    reason = os.strerror(error.errno or 0)
    raise ValueError(
      f"port {port} cannot be used: {reason}; choose another by --port, or --port 0 "
      "for a free one"
    ) from None


@contextlib.contextmanager
def _results(out: pathlib.Path | None) -> Iterator[pathlib.Path]:
  """Yields the folder for the results."""
  if out is None:
    with tempfile.TemporaryDirectory(
      prefix="affjax-app-", ignore_cleanup_errors=True
    ) as folder:
      yield pathlib.Path(folder)
  else:
    with prepared_folder(out, overwrite=True):
      yield out


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
  """Lets SIGTERM end the block as Ctrl-C does."""

  def interrupt(_: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt

  before = signal.signal(signal.SIGTERM, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)
