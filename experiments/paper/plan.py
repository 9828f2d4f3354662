"""The runs behind the tables: variants of the method, scales, and their commands."""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

STAGES = ("stage1", "stage2", "stage3")
SET = "embedded"


@dataclasses.dataclass(frozen=True)
class Scale:
  """How large the runs are.

  Attributes:
    size: Side of photos and maps, px.
    widths: Channels of the first layers: position, diffuse, light, pose, discriminator.
    steps: Updates of the three stages.
    batch: Photos of each update.
    photos: Number of synthetic training photos.
    judged: Number of photos of the benchmark set.
  """

  size: int
  widths: tuple[int, int, int, int, int]
  steps: tuple[int, int, int]
  batch: int
  photos: int
  judged: int


SCALES = {
  # Minutes: whether everything runs.
  "smoke": Scale(32, (4, 4, 4, 4, 4), (2, 2, 2), 2, 8, 4),
  # An hour a variant on one core.
  "cpu": Scale(128, (16, 16, 8, 8, 16), (800, 800, 200), 4, 2000, 60),
  # Hours a variant on one GPU.
  "gpu": Scale(256, (32, 32, 16, 16, 64), (20_000, 20_000, 10_000), 8, 20_000, 300),
  # Batches, epochs and sizes of the paper, with 30,000 synthetic photos.
  "paper": Scale(512, (32, 32, 16, 16, 64), (75_000, 75_000, 150_000), 8, 30_000, 1000),
}


@dataclasses.dataclass(frozen=True)
class Variant:
  """A row of the tables.

  Attributes:
    title: The row's name, the paper's where it has one.
    tables: Numbers of the tables that it is in.
    changes: Values of the config that differ.
  """

  title: str
  tables: tuple[int, ...]
  changes: Mapping[str, str]


def _architecture(name: str, title: str) -> Variant:
  return Variant(title, (1, 2), {"model.architecture": name})


def _without(term: str, title: str) -> Variant:
  return Variant(title, (3,), {"model.architecture": "paper", f"loss.{term}": "0"})


VARIANTS = {
  "paper": Variant("AffUNet", (1, 2, 3), {"model.architecture": "paper"}),
  "plain": _architecture("plain", "AffUNet without affine convolution"),
  "guided": _architecture("guided", "guided (ours)"),
  "plain_dilated": _architecture("plain_dilated", "fixed dilation"),
  "deformable": _architecture("deformable", "free offsets"),
  "plain_global": _architecture("plain_global", "connected bottleneck"),
  "no_perceptual": _without("perceptual", "without L_perc"),
  "no_symmetry": _without("symmetry", "without L_sym"),
  "no_deviation": _without("deviation", "without L_std"),
  "no_adversarial": _without("adversarial_generator", "without L_adv"),
}
# Rows that nothing is trained for, by the first argument of `affjax evaluate`.
READY = {"fit": "the fit", "networks": "the shipped networks"}


@dataclasses.dataclass(frozen=True)
class Run:
  """One variant with one seed; a name of `READY` has no seed.

  Attributes:
    variant: Name of the variant.
    seed: Seed of weights and batches.
  """

  variant: str
  seed: int = 0

  @property
  def name(self) -> str:
    """Name of its folders."""
    return self.variant if self.variant in READY else f"{self.variant}-{self.seed}"

  def result(self, root: pathlib.Path) -> pathlib.Path:
    """Returns the file with its evaluation."""
    return root / "evaluations" / self.name / "result.json"


def schedule(variants: Sequence[str], seeds: Sequence[int]) -> list[Run]:
  """Returns all runs, one seed after the other: what is done is a whole table."""
  ready = [Run(name) for name in READY]
  return [*ready, *(Run(name, seed) for seed in seeds for name in variants)]


def commands(run: Run, scale: Scale, root: pathlib.Path) -> list[list[str]]:
  """Returns the commands that train a run and evaluate it; each goes on if repeated."""
  what, training = run.variant, []
  if run.variant not in READY:
    workdir = root / "runs" / run.name
    what = str(workdir)
    training = [
      [
        *(sys.executable, "-m", "affjax.main", f"--config={stage}"),
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in values.items()),
      ]
      for stage, values in zip(STAGES, _values(run, scale, root), strict=True)
    ]
  out = run.result(root).parent
  judging = [sys.executable, "-m", "affjax.commands", "evaluate", what, "--on", SET]
  return [*training, [*judging, "--limit", str(scale.judged), "-o", str(out)]]


def _values(run: Run, scale: Scale, root: pathlib.Path) -> list[dict[str, str]]:
  """Returns the values of the config of each stage."""
  parts = ("position", "diffuse", "light", "pose", "discriminator")
  shared = {
    "seed": run.seed,
    "model.size": scale.size,
    **{f"model.{p}.width": w for p, w in zip(parts, scale.widths, strict=True)},
    "data.batch_size": scale.batch,
    "data.count": scale.photos,
    "data.cache": root / "photos",
    "log.pictures_every": 0,
    **VARIANTS[run.variant].changes,
  }
  text = {key: str(value) for key, value in shared.items()}
  return [{**text, "steps": str(steps)} for steps in scale.steps]
