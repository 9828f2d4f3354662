"""Compares all architectures: equal photos, steps and learning rates.

    python -m experiments.alignment --out runs/alignment [--seeds 0,1,2] [--size 128] \
      [--architectures paper,guided] [--tasks position,colors,stage2] [--steps 400] \
      [--minutes 35]
    python -m experiments.alignment --out runs/alignment --summary [--name alignment]

Each run is one file in `OUT/runs`, written when it is done: a sweep that was stopped
goes on with the next. `--summary` makes a table, `results/NAME.json` and
`docs/images/NAME.png` of what is there.

- `position`: where the photo shows each texel, and how deep: a position map of the head
  in its pose, scaled about the camera to the camera's distance. `guided` corrects the
  head and the pose of its guide.
- `colors`: the color that each texel has in the photo; where the photo does not show
  it, its color in the scene's light.
- `stage2`: diffuse map and light from the photo alone, by the losses of stage 2 but the
  perceptual one; the pose is given, the shape is the mean head, for `guided` that of
  its guide.

Photos are synthetic, without mirroring. Guides of `guided` are degraded as in training:
a tenth has none, a twentieth a wrong one, for held-out photos, too. Layers 5 to 11 are
as small as keeps the paper's ratio of receptive field to photo (`networks.py`).
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable

from affjax import files
from affjax.models import ARCHITECTURES
from experiments.alignment import plan, summary
from experiments.alignment.plan import Settings
from experiments.benchmarks import measuring


def _some_of(names: tuple[str, ...]) -> Callable[[str], list[str]]:
  """Returns the reader of a list of names with commas between."""

  def read(text: str) -> list[str]:
    found = text.split(",")
    if unknown := sorted(set(found) - set(names)):
      raise argparse.ArgumentTypeError(
        f"must be some of {','.join(names)}, got {','.join(unknown)}"
      )
    return found

  return read


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  names, every = tuple(ARCHITECTURES), plan.TASKS
  parser.add_argument("--out", type=pathlib.Path, default="runs/alignment")
  parser.add_argument("--architectures", type=_some_of(names), default=list(names))
  parser.add_argument("--tasks", type=_some_of(every), default=list(every))
  numbers = lambda text: [int(number) for number in text.split(",")]
  parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
  parser.add_argument(
    "--minutes", type=float, help="no run is begun that would end later, by the last"
  )
  parser.add_argument("--summary", action="store_true")
  parser.add_argument("--name", default="alignment", help="name of the summary's files")
  choices = {"size": (64, 128, 256, 512), "field": ("paper", "whole")}
  for field in dataclasses.fields(Settings):
    parser.add_argument(
      f"--{field.name.replace('_', '-')}",
      type=type(field.default),
      default=field.default,
      choices=choices.get(field.name),
    )
  return parser


def sweep(options: argparse.Namespace, settings: Settings) -> None:
  """Makes the runs that are missing."""
  # JAX must not have started before the process is confined to its core.
  measuring.start("cpu", 1)
  from experiments.alignment import photos, train

  begun, longest = time.perf_counter(), 0.0
  passed = lambda: time.perf_counter() - begun
  (options.out / "runs").mkdir(parents=True, exist_ok=True)
  runs = plan.schedule(options.tasks, options.architectures, options.seeds)
  missing = plan.left(runs, options.out, settings)
  data = photos.load(settings, options.out)
  print(f"{len(data.train['pose'])} photos after {passed():.0f} s", flush=True)
  for task in options.tasks:
    first = plan.Run(task, plan.BASELINES[task][0], 0)
    if not first.path(options.out).exists():
      train.write_baselines(task, settings, data, options.out)
  for number, run in enumerate(missing, start=1):
    start = passed()
    if options.minutes and start + longest > 60 * options.minutes:
      print(f"{len(missing) - number + 1} runs are left for another time")
      break
    result = train.train(run, settings, data)
    files.write_json(run.path(options.out), result)
    longest = max(longest, passed() - start)
    numbers = ", ".join(f"{k} {v:.2f}" for k, v in result["errors"].items())
    step = 1000 * result["seconds_a_step"]["cpu"]
    print(
      f"{number}/{len(missing)} {run.task} {run.architecture} {run.seed}: {numbers}; "
      f"{step:.0f} ms a step, {passed() - start:.0f} s",
      flush=True,
    )


def main() -> None:
  """Makes the runs, or sums them up."""
  parser = _parser()
  options = parser.parse_args()
  try:
    if options.summary:
      summary.write(options.out, options.name)
      return
    names = [field.name for field in dataclasses.fields(Settings)]
    sweep(options, Settings(**{name: getattr(options, name) for name in names}))
  except ValueError as error:
    parser.error(str(error))


if __name__ == "__main__":
  main()
