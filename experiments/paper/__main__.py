"""Tables 1 to 3 of the paper: trains what is missing, evaluates it, writes the tables.

    python -m experiments.paper --scale cpu --out runs/paper [--seeds 0,1,2] \
      [--variants paper,plain] [--minutes 100]
    python -m experiments.paper --scale cpu --out runs/paper --summary

A variant is trained in all three stages by the user's command and judged by `affjax
evaluate` on the benchmark set `embedded`, which `affjax benchmark embedded` paints. A
stage, a run and the sweep that were stopped go on where they were. Scales: `smoke`
(minutes), `cpu` (an hour a variant on one core, ten hours for all), `gpu`, `paper`. The
tables and `results/paper_SCALE.json` have what is done so far, with the paper's numbers
beside ours.

The set is synthetic: magnitudes cannot be compared with the paper's, which was trained
on CelebA-HQ and judged on faces of the BFM (table 1) and on photos that are not public
(tables 2 and 3); the order of rows and their ratios can. Rows of other systems are
empty: `affjax evaluate FOLDER --on embedded` judges their meshes. For Unsup3D, see
`experiments/unsup3d`.
"""

import argparse
import pathlib
import subprocess
import time
from collections.abc import Callable

from experiments.paper import plan, summary
from experiments.paper.plan import Run, Scale


def _names(text: str) -> list[str]:
  """Reads a list of variants."""
  found = text.split(",")
  if unknown := sorted(set(found) - set(plan.VARIANTS)):
    known = ",".join(plan.VARIANTS)
    raise argparse.ArgumentTypeError(
      f"must be some of {known}, got {','.join(unknown)}"
    )
  return found


def make(
  runs: list[Run],
  scale: Scale,
  root: pathlib.Path,
  *,
  minutes: float | None = None,
  call: Callable[[list[str]], int] = subprocess.call,
) -> list[str]:
  """Makes the runs without a result, and returns one line for each that failed.

  Args:
    runs: The runs.
    scale: Their size.
    root: Folder of the runs.
    minutes: Time after which no further command is begun; None = no end.
    call: Runs a command and returns its exit status.
  """
  began, problems = time.monotonic(), []
  for run in runs:
    if run.result(root).exists():
      continue
    for command in plan.commands(run, scale, root):
      if minutes is not None and time.monotonic() - began > 60 * minutes:
        print(f"time is up before {run.name}", flush=True)
        return problems
      print(f"{run.name}: {' '.join(command[2:])}", flush=True)
      # An evaluation in which some photos have no head ends with status 1.
      status = call(command)
      if status and not run.result(root).exists():
        problems.append(f"{run.name}: status {status} of {' '.join(command[2:])}")
        break
  return problems


def main() -> None:
  """Makes the runs, and writes the tables."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  numbers = lambda text: [int(number) for number in text.split(",")]
  parser.add_argument("--scale", choices=tuple(plan.SCALES), required=True)
  parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/paper"))
  parser.add_argument("--seeds", type=numbers, default=[0])
  parser.add_argument("--variants", type=_names, default=list(plan.VARIANTS))
  parser.add_argument("--minutes", type=float, help="no command is begun later")
  parser.add_argument("--summary", action="store_true", help="only write the tables")
  given = parser.parse_args()
  root = given.out / given.scale
  runs = plan.schedule(given.variants, given.seeds)
  problems = []
  if not given.summary:
    scale = plan.SCALES[given.scale]
    problems = make(runs, scale, root, minutes=given.minutes)
  try:
    print(summary.write(root, given.scale, runs))
  except ValueError as error:
    parser.error("; ".join([str(error), *problems]))
  if problems:
    parser.exit(1, "\n".join(problems) + "\n")


if __name__ == "__main__":
  main()
