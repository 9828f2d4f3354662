"""The terminal of a stage: lines, and a progress bar below them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from rich import console, progress, table

from affjax.train import processes

# Lines are printed as they are.
_PLAIN: Any = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}


@dataclasses.dataclass(frozen=True)
class Length:
  """The length of a stage.

  Attributes:
    stage: Its name.
    steps: Number of updates.
    epoch: Number of updates of an epoch.
  """

  stage: str
  steps: int
  epoch: int


class Terminal:
  """Prints lines, with a bar below them where stdout is a terminal.

  The bar has the stage, the epoch, the step, the losses, the images a second and the
  time left. Of several processes only the first one prints.
  """

  def __init__(self, length: Length, *, out: console.Console | None = None):
    """Describes the bar; it appears with the first call of `show`.

    Args:
      length: The length of the stage.
      out: Where to print; None = stdout.
    """
    self._length = length
    self._out = out or console.Console(**_PLAIN)
    self._quiet = not processes.is_first()
    text = lambda name: progress.TextColumn(f"{{task.{name}}}", markup=False)
    # Where there is little room, the last losses are cut off.
    losses = progress.TextColumn(
      "{task.fields[losses]}",
      markup=False,
      table_column=table.Column(ratio=1, no_wrap=True, overflow="ellipsis"),
    )
    self._bar = progress.Progress(
      text("description"),
      progress.BarColumn(bar_width=10),
      progress.MofNCompleteColumn(),
      text("fields[speed]"),
      progress.TimeRemainingColumn(compact=True),
      losses,
      console=self._out,
      transient=True,
      expand=True,
      disable=self._quiet or not self._out.is_terminal,
    )
    self._task: progress.TaskID | None = None

  def say(self, text: str) -> None:
    """Prints one line."""
    if not self._quiet:
      self._out.print(text)

  def show(self, step: int, losses: Mapping[str, float], speed: float) -> None:
    """Moves the bar.

    Args:
      step: Number of updates made.
      losses: Loss terms by name, those to show first.
      speed: Images a second; 0 while unknown.
    """
    length = self._length
    values: Any = {
      "description": f"{length.stage} {self._epochs(step)}",
      "losses": " ".join(f"{name} {value:.3g}" for name, value in losses.items()),
      "speed": f"{speed:.1f} images/s" if speed else "",
    }
    if self._task is None:
      self._bar.start()
      self._task = self._bar.add_task(total=length.steps, completed=step, **values)
    else:
      self._bar.update(self._task, completed=step, **values)

  def close(self) -> None:
    """Takes the bar away."""
    self._bar.stop()

  def _epochs(self, step: int) -> str:
    """Returns the number of the epoch of a step, and of all epochs."""
    length = self._length
    count = math.ceil(length.steps / length.epoch)
    return f"epoch {max(1, math.ceil(step / length.epoch))}/{count}"
