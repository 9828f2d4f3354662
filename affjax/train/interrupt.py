"""SIGTERM and Ctrl-C as requests to stop after the current step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
  """A flag that is true once the process has been asked to stop.

  Attributes:
    signal: Number of the signal that asked, or `None`.
  """

  def __init__(self):
    self.signal: int | None = None

  def __bool__(self) -> bool:
    return self.signal is not None


@contextmanager
def watched() -> Iterator[Interrupt]:
  """Turns the first SIGTERM or SIGINT into a flag; a second one ends the process.

  Handlers can be set only in the main thread; in another one the flag stays down.
  """
  asked = Interrupt()
  before = {}

  def handler(number: int, frame: FrameType | None):
    del frame
    asked.signal = number
    for name in _SIGNALS:
      signal.signal(name, signal.SIG_DFL)

  try:
    for name in _SIGNALS:
      before[name] = signal.signal(name, handler)
  except ValueError:
    pass
  try:
    yield asked
  finally:
    for name, old in before.items():
      signal.signal(name, old)
