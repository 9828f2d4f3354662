"""Compares Unsup3D with its variant of two affine convolutions (AffUNet, figure 8).

    python -m experiments.unsup3d --out runs/unsup3d [--seeds 0,1,2] [--steps 2000] \
      [--minutes 60]
    python -m experiments.unsup3d --out runs/unsup3d --summary \
      [--json experiments/results/unsup3d.json]

Both variants of a seed see the same synthetic photos in the same order and start with
the same weights. Only photos are trained on. Held-out photos are evaluated by SIDE and
MAD in Unsup3D's own protocol (`affjax.eval.depth_errors`), over the pixels that show
the head's skin, beside a constant depth, which scores well by SIDE.

A run is one workdir, OUT/VARIANT-SEED, and one file in OUT/runs when it is evaluated;
the same command continues where it was stopped. `--minutes` begins no run after that
time. The defaults are a tenth of the published training or less: tables of such runs
say what they were made with. Hardware: any; two CPU cores take hours for the defaults.
"""

import argparse
import dataclasses
import os
import pathlib
import time

import jax

from affjax import build, files
from affjax.train import loop
from experiments.benchmarks import measuring
from experiments.unsup3d import evaluation, plan, summary
from experiments.unsup3d.plan import Run, Settings


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, default="runs/unsup3d")
  parser.add_argument("--variants", nargs="+", choices=plan.VARIANTS)
  numbers = lambda text: [int(number) for number in text.split(",")]
  parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
  parser.add_argument("--minutes", type=float, help="begin no run after this time")
  parser.add_argument("--summary", action="store_true", help="only make the table")
  parser.add_argument("--json", type=pathlib.Path, help="default: OUT/summary.json")
  for field in dataclasses.fields(Settings):
    name = f"--{field.name.replace('_', '-')}"
    parser.add_argument(name, type=type(field.default), default=field.default)
  return parser


def make(run: Run, settings: Settings, root: pathlib.Path) -> bool:
  """Trains and evaluates a run; returns whether it is complete."""
  config = plan.config(run, settings, root)
  outcome = loop.run(build.task(config, run.workdir(root)))
  if not outcome.finished:
    return False
  _, record = build.sources(config, run.workdir(root))
  found = evaluation.evaluate(run.workdir(root), record)
  files.write_json(
    run.result(root),
    {
      **dataclasses.asdict(run),
      "settings": dataclasses.asdict(settings),
      "machine": measuring.machine(jax.default_backend(), os.cpu_count() or 1),
      "seconds": outcome.summary["seconds"],
      **found,
    },
  )
  return True


def main() -> None:
  """Makes the runs that are missing, and the table of all."""
  parser = _parser()
  options = parser.parse_args()
  names = [field.name for field in dataclasses.fields(Settings)]
  settings = Settings(**{name: getattr(options, name) for name in names})
  begun = time.monotonic()
  try:
    runs = plan.schedule(options.variants or plan.VARIANTS, options.seeds)
    for run in [] if options.summary else runs:
      if options.minutes and time.monotonic() - begun > 60 * options.minutes:
        print("the other runs are left for another time", flush=True)
        break
      (options.out / "runs").mkdir(parents=True, exist_ok=True)
      if not run.result(options.out).exists() and not make(run, settings, options.out):
        return
    summary.write(options.out, options.json or options.out / "summary.json")
  except ValueError as error:
    parser.error(str(error))


if __name__ == "__main__":
  main()
