"""What is compared: the runs of a sweep, in the order in which they are made."""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

TASKS = ("position", "colors", "stage2")
BASELINES = {
  "position": ("mean head", "guide"),
  "colors": ("constant color",),
  "stage2": ("constant color",),
}


@dataclasses.dataclass(frozen=True)
class Settings:
  """What all runs of a comparison share.

  Attributes:
    size: Side of photos and maps, px.
    width: Channels of layer 1.
    steps: Updates of each run.
    batch: Photos of each update.
    learning_rate: Peak of the learning rate; a cosine leads to zero.
    warmup: Updates of the linear rise before.
    photos: Number of training photos.
    held_out: Number of photos on which errors are measured.
    points: Points of a learning curve, beside the one before training.
    field: "paper" = layers 5 to 11 are as small as keeps the paper's ratio of receptive
      field to photo; "whole" = 3 x 3 as in the package.
  """

  size: int = 128
  width: int = 16
  steps: int = 400
  batch: int = 8
  learning_rate: float = 2e-3
  warmup: int = 20
  photos: int = 600
  held_out: int = 64
  points: int = 10
  field: str = "paper"

  def __post_init__(self):
    if self.held_out % self.batch:
      raise ValueError(
        f"held_out must be a multiple of batch, got {self.held_out} and {self.batch}"
      )
    if not 0 <= self.warmup < self.steps:
      raise ValueError(
        f"warmup must be less than steps, got {self.warmup} and {self.steps}"
      )


@dataclasses.dataclass(frozen=True)
class Run:
  """One training run."""

  task: str
  architecture: str
  seed: int

  def path(self, root: pathlib.Path) -> pathlib.Path:
    """Returns the file that holds the result."""
    return root / "runs" / f"{self.task}-{self.architecture}-{self.seed}.json"


def schedule(
  tasks: Sequence[str], architectures: Sequence[str], seeds: Sequence[int]
) -> list[Run]:
  """Returns all runs, one seed after the other: what is done is a whole table."""
  every = itertools.product(seeds, tasks, architectures)
  return [Run(task, architecture, seed) for seed, task, architecture in every]


def left(runs: Sequence[Run], root: pathlib.Path, settings: Settings) -> list[Run]:
  """Returns the runs that have no result yet.

  Raises:
    ValueError: The folder holds a result of other settings.
  """
  for path, result in results(root):
    other = [
      f"{name} = {result['settings'].get(name)}"
      for name, value in dataclasses.asdict(settings).items()
      if result["settings"].get(name) != value
    ]
    if other:
      raise ValueError(
        f"{path.name} was made with {', '.join(other)}: choose another --out"
      )
  return [run for run in runs if not run.path(root).exists()]


def results(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, dict[str, Any]]]:
  """Yields the results in a folder; files that are being written have other names."""
  for path in sorted((root / "runs").glob("[!.]*.json")):
    yield path, json.loads(path.read_text())
