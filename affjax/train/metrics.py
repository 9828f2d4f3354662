"""Scalars on the terminal, in `metrics.jsonl` and for TensorBoard."""

import json
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from affjax.train import step as step_lib


class NonFiniteError(ArithmeticError):
  """A loss term or gradient became NaN or infinite; names it and the step."""


class Meter:
  """Collects the scalars of steps on the device and averages them on the host."""

  def __init__(self):
    self._pending: list[tuple[int, Mapping[str, Any]]] = []
    self._host: list[dict[str, float]] = []

  def add(self, step: int, scalars: Mapping[str, Any]):
    """Notes the scalars of a step without waiting for them."""
    self._pending.append((step, scalars))

  def wait(self, behind: int):
    """Waits until at most the newest `behind` steps are still being computed."""
    if len(self._pending) > behind:
      _, scalars = self._pending[-1 - behind]
      scalars[step_lib.TOTAL].block_until_ready()

  def check(self):
    """Waits for all steps so far.

    Raises:
      NonFiniteError: a scalar of a step was not finite; the first such is named.
    """
    pending, self._pending = self._pending, []
    for step, scalars in pending:
      host = {name: float(value) for name, value in scalars.items()}
      bad = step_lib.first_bad(host)
      if bad is not None:
        raise NonFiniteError(f"{_described(bad)} became {host[bad]} at step {step}")
      self._host.append(host)

  def means(self) -> dict[str, float]:
    """Means since the last call, the total first; checks as `check` does."""
    self.check()
    host, self._host = self._host, []
    names = sorted(host[0], key=lambda name: name != step_lib.TOTAL) if host else []
    return {name: float(np.mean([h[name] for h in host])) for name in names}


class Writer:
  """Writes scalars and pictures of one stage into its folder, and on the terminal."""

  def __init__(self, folder: pathlib.Path, *, resumed_at: int, tensorboard: bool):
    """Opens the folder's logs.

    Args:
      folder: of the stage.
      resumed_at: step of the checkpoint that training goes on from; what was logged
        after it, before a crash, is dropped.
      tensorboard: whether to write event files.
    """
    self._path = folder / "metrics.jsonl"
    _drop_after(self._path, resumed_at or -1)
    self._lines = self._path.open("a", encoding="utf-8")
    self._board = None
    if tensorboard:
      import tensorboardX

      self._board = tensorboardX.SummaryWriter(
        str(folder / "tensorboard"), purge_step=resumed_at + 1 if resumed_at else None
      )

  def scalars(self, step: int, values: Mapping[str, float]):
    """Appends one line, and one point for each curve."""
    self._lines.write(json.dumps({"step": step, **values}) + "\n")
    self._lines.flush()
    if self._board is not None:
      for name, value in values.items():
        self._board.add_scalar(name, value, step)

  def picture(self, step: int, sheet: np.ndarray):
    """Adds a picture uint8 `[H, W, 3]` to the event file."""
    if self._board is not None:
      self._board.add_image("sheet", sheet, step, dataformats="HWC")

  def say(self, text: str):
    """One line for the person in front of the terminal."""
    print(text, flush=True)

  def __enter__(self) -> "Writer":
    return self

  def __exit__(self, *_):
    self._lines.close()
    if self._board is not None:
      self._board.close()


class Clock:
  """Speed and time left, not counting the first step, which compiles."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size
    self._start: float | None = None
    self._first = 0

  def tick(self, step: int):
    """Call when a step has been computed."""
    if self._start is None:
      self._start, self._first = time.monotonic(), step

  def speed(self, step: int) -> float:
    """Images a second since the first step; 0 while unknown."""
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
  """One line: where, the loss terms, images a second, time left."""
  shown = " ".join(
    f"{name} {value:.4g}"
    for name, value in values.items()
    if not name.startswith(step_lib.GRADIENT)
  )
  width = len(str(total_steps))
  line = f"{stage} {step:{width}d}/{total_steps} | {shown}"
  if speed > 0:
    left = (total_steps - step) * batch_size / speed
    line += f" | {speed:.1f} images/s, {_duration(left)} left"
  return line


def write_json(path: pathlib.Path, content: Any):
  """Writes a JSON file beside and renames it."""
  beside = path.with_name(path.name + ".partial")
  beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
  os.replace(beside, path)


def _described(name: str) -> str:
  if name.startswith(step_lib.GRADIENT):
    return f"the gradient of the {name.removeprefix(step_lib.GRADIENT)} network"
  return f"loss term {name}"


def _duration(seconds: float) -> str:
  minutes, seconds = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _drop_after(path: pathlib.Path, step: int):
  """Removes lines of later steps, and one that a crash cut short."""
  if not path.exists():
    return
  kept = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      if json.loads(line)["step"] <= step:
        kept.append(line + "\n")
    except (json.JSONDecodeError, KeyError, TypeError):
      continue
  beside = path.with_name(path.name + ".partial")
  beside.write_text("".join(kept), encoding="utf-8")
  os.replace(beside, path)
