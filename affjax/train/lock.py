"""A workdir is used by one training process at a time."""

import datetime
import logging
import os
import pathlib
import platform
from typing import IO

try:
  import fcntl
except ImportError:  # Windows
  fcntl = None

_NAME = ".lock"
_LOG = logging.getLogger(__name__)


class LockedError(ValueError):
  """Another process trains in the workdir; one line, for the user."""


class Lock:
  """Sole use of a workdir, until it is released or the process ends in any way."""

  def __init__(self, workdir: pathlib.Path):
    """Locks a workdir, which must exist.

    Where the system or the file system has no locks, this only prints a warning.

    Raises:
      LockedError: Another process holds the lock.
    """
    self._file: IO[str] | None = (workdir / _NAME).open("a+", encoding="utf-8")
    try:
      _lock(self._file)
    except BlockingIOError:
      self._file.seek(0)
      holder = self._file.read(200).strip() or "another process"
      self.release()
      raise LockedError(
        f"workdir {str(workdir)!r} is in use by {holder}; wait until it ends, stop it, "
        "or choose another --workdir"
      ) from None
    except OSError as error:
      _LOG.warning("cannot lock %s (%s): start no second run there", workdir, error)
    self._file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    self._file.write(f"process {os.getpid()} on {platform.node()} since {now}\n")
    self._file.flush()

  def release(self) -> None:
    """Gives the workdir free; the second time it does nothing."""
    if self._file is not None:
      self._file.close()
      self._file = None


def _lock(file: IO[str]) -> None:
  if fcntl is None:
    raise OSError("no locks on this system")
  fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
