"""The runs of the comparison, and their configs."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from affjax import build
from affjax.geometry import depth
from affjax.types import Camera

VARIANTS = ("original", "affine")


@dataclasses.dataclass(frozen=True)
class Settings:
  """What all runs share; the defaults are small.

  Attributes:
    steps: Updates of each run.
    count: Synthetic photos that are trained on.
    held_out: Synthetic photos that are evaluated.
    batch_size: Photos in a batch; 64 is published.
    size: Side of the photos, px; 64 is published.
    width: Channels of the first layers; 64 is published, others scale with it.
    learning_rate: Learning rate; 1e-4 is published.
  """

  steps: int = 2000
  count: int = 2000
  held_out: int = 64
  batch_size: int = 16
  size: int = 64
  width: int = 64
  learning_rate: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Run:
  """One run.

  Attributes:
    variant: One of `VARIANTS`.
    seed: Seed of the first weights and of the order of the photos.
  """

  variant: str
  seed: int

  @property
  def name(self) -> str:
    return f"{self.variant}-{self.seed}"

  def workdir(self, root: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of the run."""
    return root / self.name

  def result(self, root: pathlib.Path) -> pathlib.Path:
    """Returns the file that is written when the run has been evaluated."""
    return root / "runs" / f"{self.name}.json"


def schedule(variants: Sequence[str], seeds: Sequence[int]) -> list[Run]:
  """Returns the runs, both variants of a seed one after the other."""
  return [Run(variant, seed) for seed, variant in itertools.product(seeds, variants)]


def config(run: Run, settings: Settings, root: pathlib.Path) -> ConfigDict:
  """Returns the config of a run; all runs share the painted photos."""
  found = build.get_config(f"unsup3d:{run.variant}")
  changes: dict[str, Any] = {
    "seed": run.seed,
    "steps": settings.steps,
    "model.size": settings.size,
    "model.unsup3d.width": settings.width,
    "model.unsup3d.code": 4 * settings.width,
    "model.unsup3d.vector_width": settings.width // 2,
    "data.count": settings.count,
    "data.held_out": settings.held_out,
    "data.batch_size": settings.batch_size,
    "data.cache": str((root / "photos").absolute()),
    "mesh.data": 1,
    "optimizer.learning_rate": settings.learning_rate,
    "log.pictures_every": 500,
    "log.tensorboard": False,
    "checkpoint.every": 100,
  }
  camera = depth.camera(Camera(), settings.size)
  changes["model.camera.fov_deg"] = camera.fov_deg
  changes["model.camera.distance"] = camera.distance
  found.update_from_flattened_dict(changes)
  return found
