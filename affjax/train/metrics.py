"""Metrics of a stage: on the terminal, in `metrics.jsonl` and for TensorBoard."""

import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from affjax import files
from affjax.train import processes, steps
from affjax.train.histograms import Histogram
from affjax.train.terminal import Terminal


class NonFiniteError(ArithmeticError):
  """A loss term or gradient became NaN or infinite; the message names it.

  Attributes:
    step: The step at which it did, or 0 where that is not known.
  """

  def __init__(self, message: str, step: int = 0):
    super().__init__(message)
    self.step = step


class Meter:
  """Collects the scalars of steps on the device and averages them on the host.

  Attributes:
    newest: Scalars of the newest step that is known to be computed.
  """

  def __init__(self):
    self._pending: list[tuple[int, Mapping[str, Any]]] = []
    self._host: list[dict[str, float]] = []
    self.newest: dict[str, float] = {}

  def add(self, step: int, scalars: Mapping[str, Any]):
    """Adds the scalars of a step without waiting for them."""
    self._pending.append((step, scalars))

  def check(self, *, behind: int = 0):
    """Waits until at most the newest `behind` steps are still being computed.

    Raises:
      NonFiniteError: A scalar is not finite; the message names the first one.
    """
    while len(self._pending) > behind:
      step, scalars = self._pending.pop(0)
      found = jax.device_get(dict(scalars))
      host = {name: float(value) for name, value in found.items()}
      bad = steps.first_bad(host)
      if bad is not None:
        message = f"{_described(bad)} became {host[bad]} at step {step}"
        raise NonFiniteError(message, step)
      self._host.append(host)
      self.newest = host

  def means(self) -> dict[str, float]:
    """Returns the means since the last call, the total first; checks like `check`."""
    self.check()
    host, self._host = self._host, []
    names = sorted(host[0], key=lambda name: name != steps.TOTAL) if host else []
    return {name: float(np.mean([h[name] for h in host])) for name in names}


class Writer:
  """Writes scalars, pictures and histograms of one stage, and on the terminal.

  Of several processes only the first one writes.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    terminal: Terminal,
    *,
    resumed_at: int,
    tensorboard: bool,
  ):
    """Opens the logs.

    Args:
      folder: Folder of the stage.
      terminal: Terminal of the stage, which is closed with the logs.
      resumed_at: Step of the checkpoint that training continues from. Lines of later
        steps, logged before a crash, are dropped.
      tensorboard: Whether to write event files.
    """
    self.terminal = terminal
    self._board = None
    self._lines = None
    if not processes.is_first():
      return
    path = folder / "metrics.jsonl"
    self._histograms = folder / "histograms.jsonl"
    for log in (path, self._histograms):
      _drop_after(log, resumed_at or -1)
    self._lines = path.open("a", encoding="utf-8")
    if tensorboard:
      import tensorboardX

      self._board = tensorboardX.SummaryWriter(
        str(folder / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None
      )

  def scalars(self, step: int, values: Mapping[str, float]):
    """Appends one line to the log and one point to each curve."""
    if self._lines is None:
      return
    self._lines.write(json.dumps({"step": step, **values}) + "\n")
    self._lines.flush()
    if self._board is not None:
      for name, value in values.items():
        self._board.add_scalar(name, value, step)

  def picture(self, step: int, sheet: np.ndarray):
    """Adds a picture, uint8 `[H, W, 3]`, to the event file."""
    if self._board is not None:
      self._board.add_image("sheet", sheet, step, dataformats="HWC")

  def histograms(self, step: int, found: Mapping[str, Histogram]):
    """Appends histograms to `histograms.jsonl` and to the event file."""
    if self._lines is None:
      return
    with self._histograms.open("a", encoding="utf-8") as lines:
      for name, histogram in found.items():
        lines.write(json.dumps({"step": step, "name": name, **histogram.json()}) + "\n")
    if self._board is not None:
      for name, histogram in found.items():
        self._board.add_histogram_raw(name, **histogram.raw(), global_step=step)

  def say(self, text: str):
    """Prints one line on the terminal."""
    self.terminal.say(text)

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    """Closes the files; on a full disk, the error that ended the block remains."""
    self.terminal.close()
    try:
      if self._lines is not None:
        self._lines.close()
      if self._board is not None:
        self._board.close()
    except OSError:
      if kind is None:
        raise


class Clock:
  """Measures the speed, not counting the first step, which compiles."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._start: float | None = None
    self._first = 0

  def tick(self, step: int):
    """Notes that a step has been computed."""
    if self._start is None:
      self._start, self._first = time.monotonic(), step

  def speed(self, step: int) -> float:
    """Returns the images per second since the first step; 0 while unknown."""
    if self._start is None or step <= self._first:
      return 0.0
    seconds = max(time.monotonic() - self._start, 1e-9)
    return (step - self._first) * self._batch_size / seconds


def progress_line(
  stage: str,
  step: int,
  total_steps: int,
  values: Mapping[str, float],
  speed: float,
  batch_size: int,
) -> str:
  """Returns one line with the step, the loss terms, the speed and the time left."""
  shown = " ".join(
    f"{name} {value:.4g}"
    for name, value in values.items()
    if not name.startswith(steps.GRADIENT)
  )
  width = len(str(total_steps))
  line = f"{stage} {step:{width}d}/{total_steps} | {shown}"
  if speed > 0:
    left = (total_steps - step) * batch_size / speed
    line += f" | {speed:.1f} images/s, {_duration(left)} left"
  return line


def _described(name: str) -> str:
  if name.startswith(steps.GRADIENT):
    return f"the gradient of the {name.removeprefix(steps.GRADIENT)} network"
  return f"loss term {name}"


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _drop_after(path: pathlib.Path, step: int) -> None:
  """Removes the lines of later steps, and a line that a crash cut short."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      if json.loads(line)["step"] <= step:
        kept.append(line + "\n")
    except (json.JSONDecodeError, KeyError, TypeError):
      continue
  files.write_file(path, "".join(kept))
