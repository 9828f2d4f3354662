"""Trains a stage for many values of its config, and compares the ends.

    python -m experiments.sweep --config=demo:stage2 --out runs/sweep --init runs/a \
      --vary loss.variation=0.001:10 loss.symmetry=0.001:10 --random 20
    python -m experiments.sweep --config=demo:stage2 --out runs/sweep --init runs/a \
      --vary loss.variation=0.03,0.3,3 data.batch_size=2,4      # all pairs
    python -m experiments.sweep --out runs/sweep --summary

`a:b` is a range that is even in the logarithm, `a,b,c` are some values. `--random N`
draws N combinations (seed 0), otherwise every combination of the listed values is
tried. `--set steps=200` changes a value of all runs. The plan is kept in
`OUT/plan.json`; the same command goes on where it was stopped, `--processes 2` runs two
at once. `--slurm` writes `OUT/array.sbatch` instead, an array with a task for each run.

The table has the lowest `--metric` first, a value of the runs' `summary.json`. It is
written to `OUT/table.md` and `OUT/table.json`; `OUT/table.png` draws the metric over
each varied value. Runs that failed are listed with the last line that they wrote.
"""

import argparse
import itertools
import json
import math
import pathlib
import random
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent import futures
from typing import Any

from affjax import files
from experiments.benchmarks import measuring

METRIC = "eval_after.total"
PLAN, RUNS, LOG = "plan.json", "runs", "log.txt"

Values = tuple[str, ...]
Range = tuple[float, float]
Overrides = dict[str, str]


def varied(text: str) -> tuple[str, Values | Range]:
  """Reads `name=a,b,c` or `name=a:b`.

  Raises:
    argparse.ArgumentTypeError: The text is neither, or the range is not one of positive
      numbers that rise.
  """
  name, equals, values = text.partition("=")
  if not (name and equals and values):
    raise argparse.ArgumentTypeError(f"must be NAME=A,B,C or NAME=A:B, got {text!r}")
  if ":" not in values:
    return name, tuple(values.split(","))
  try:
    low, high = map(float, values.split(":"))
  except ValueError:
    low, high = 0.0, 0.0
  if not 0 < low < high < math.inf:
    raise argparse.ArgumentTypeError(
      f"the range of {name} must be A:B with 0 < A < B, got {values!r}"
    )
  return name, (low, high)


def combinations(
  choices: Mapping[str, Values | Range], count: int | None, seed: int
) -> list[Overrides]:
  """Returns the values of each run.

  Args:
    choices: Values or range of each varied key.
    count: Number of random combinations, all different; None = every combination.
    seed: Seed of the random numbers.

  Raises:
    ValueError: A range without a number of random combinations, or fewer combinations
      than are asked for.
  """
  ranges = [name for name, values in choices.items() if not _listed(values)]
  if count is None:
    if ranges:
      raise ValueError(f"--vary {ranges[0]} is a range: give --random N")
    every = itertools.product(*(choices.values()))
    return [dict(zip(choices, map(str, row), strict=True)) for row in every]
  most = math.prod(len(values) for values in choices.values()) if not ranges else count
  if count > most:
    raise ValueError(f"--random {count}: there are {most} combinations")
  draw, rows = random.Random(seed), dict[tuple[str, ...], None]()
  while len(rows) < count:
    rows[tuple(_drawn(draw, values) for values in choices.values())] = None
  return [dict(zip(choices, row, strict=True)) for row in rows]


def _listed(values: Values | Range) -> bool:
  return isinstance(values[0], str)


def _drawn(draw: random.Random, values: Values | Range) -> str:
  if _listed(values):
    return str(draw.choice(values))
  low, high = map(math.log, map(float, values))
  return f"{math.exp(draw.uniform(low, high)):.4g}"


def planned(options: argparse.Namespace) -> dict[str, Any]:
  """Returns the plan of the folder, which is made if there is none.

  Raises:
    ValueError: The folder holds another plan, or the plan cannot be made.
  """
  path = options.out / PLAN
  if options.config is None:
    if not path.exists():
      raise ValueError(f"--out {options.out} holds no plan: give --config and --vary")
    return json.loads(path.read_text())
  plan = {
    "config": options.config,
    "init_from": str(options.init.absolute()) if options.init else None,
    "set": dict(options.set),
    "runs": combinations(dict(options.vary), options.random, options.seed),
  }
  if path.exists() and json.loads(path.read_text()) != plan:
    raise ValueError(f"--out {options.out} holds another plan: choose another folder")
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_json(path, plan)
  return plan


def command(plan: Mapping[str, Any], root: pathlib.Path, number: int) -> list[str]:
  """Returns the command that trains a run, or goes on with it."""
  values = {**plan["set"], **plan["runs"][number]}
  if plan["init_from"]:
    values["init_from"] = plan["init_from"]
  return [
    *(sys.executable, "-m", "affjax.main", f"--config={plan['config']}"),
    f"--workdir={folder(root, number)}",
    *(f"--config.{name}={value}" for name, value in values.items()),
  ]


def folder(root: pathlib.Path, number: int) -> pathlib.Path:
  """Returns the workdir of a run."""
  return root / RUNS / f"{number:04d}"


def summary_of(root: pathlib.Path, number: int) -> dict[str, Any] | None:
  """Returns what a run says of its end; None while it has not come to it."""
  for path in sorted(folder(root, number).glob("*/summary.json")):
    found = json.loads(path.read_text())
    if found.get("finished"):
      return found
  return None


def run(plan: Mapping[str, Any], root: pathlib.Path, number: int) -> None:
  """Makes a run, unless it is done; what it prints is appended to its `log.txt`."""
  if summary_of(root, number) is not None:
    return
  workdir = folder(root, number)
  workdir.mkdir(parents=True, exist_ok=True)
  with (workdir / LOG).open("a") as log:
    status = subprocess.run(
      command(plan, root, number), stdout=log, stderr=subprocess.STDOUT
    ).returncode
  end = "done" if status == 0 else f"failed: {_last_line(workdir)}"
  print(f"{number + 1}/{len(plan['runs'])} {plan['runs'][number]}: {end}", flush=True)


def _last_line(workdir: pathlib.Path) -> str:
  path = workdir / LOG
  lines = path.read_text(errors="replace").split("\n") if path.exists() else []
  return next((line.strip() for line in reversed(lines) if line.strip()), "")


def write_array(plan: Mapping[str, Any], root: pathlib.Path) -> pathlib.Path:
  """Writes the SLURM array of a plan: a task for each run."""
  path = root / "array.sbatch"
  words = [sys.executable, "-m", "experiments.sweep", "--out", str(root.absolute())]
  lines = [
    "#!/bin/bash",
    "#SBATCH --job-name=affjax-sweep",
    f"#SBATCH --array=0-{len(plan['runs']) - 1}",
    "#SBATCH --requeue",
    f"cd {shlex.quote(str(pathlib.Path.cwd()))}",
    f"exec {shlex.join(words)} --only $SLURM_ARRAY_TASK_ID",
  ]
  with files.written_file(path) as partial:
    partial.write_text("\n".join(lines) + "\n")
  return path


def rows(
  plan: Mapping[str, Any], root: pathlib.Path, metric: str
) -> list[dict[str, Any]]:
  """Returns a row for each run that was begun, the best first, failed ones last.

  Raises:
    ValueError: A run's summary lacks the metric.
  """
  found = []
  for number, values in enumerate(plan["runs"]):
    row = {"run": number, "values": values}
    if (summary := summary_of(root, number)) is not None:
      found.append({**row, "metric": _value(summary, metric)})
    elif folder(root, number).exists():
      found.append({**row, "metric": None, "why": _last_line(folder(root, number))})
  return sorted(found, key=lambda row: (row["metric"] is None, row["metric"] or 0))


def _value(summary: Mapping[str, Any], metric: str) -> float:
  value: Any = summary
  for name in metric.split("."):
    if not isinstance(value, Mapping) or name not in value:
      have = ", ".join(value) if isinstance(value, Mapping) else "a number"
      raise ValueError(f"--metric {metric}: there is no {name!r} among {have}")
    value = value[name]
  return float(value)


def write_table(plan: Mapping[str, Any], root: pathlib.Path, metric: str) -> str:
  """Writes table and picture of what is there, and returns the table."""
  found = rows(plan, root, metric)
  if not found:
    raise ValueError(f"--out {root} holds no runs yet")
  names = list(plan["runs"][0])
  cells = [
    [
      str(row["run"]),
      *(row["values"][name] for name in names),
      f"failed: {row['why']}" if row["metric"] is None else f"{row['metric']:.5g}",
    ]
    for row in found
  ]
  table = measuring.markdown(["run", *names, metric], cells)
  with files.written_file(root / "table.md") as partial:
    partial.write_text(table + "\n")
  measuring.write_json(root / "table.json", {"metric": metric, "rows": found})
  try:
    _draw([row for row in found if row["metric"] is not None], names, metric, root)
  except ImportError as error:
    print(f"no picture was drawn: {error}")
  return table


def _draw(
  found: Sequence[Mapping[str, Any]],
  names: Sequence[str],
  metric: str,
  root: pathlib.Path,
) -> None:
  """Draws the metric over each varied value."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(
    1, len(names), figsize=(4 * len(names), 3.5), layout="constrained", squeeze=False
  )
  for axis, name in zip(axes[0], names, strict=True):
    values = [row["values"][name] for row in found]
    numbers = [_number(value) for value in values]
    places = values if None in numbers else numbers
    axis.plot(places, [row["metric"] for row in found], "o")
    if None not in numbers and min(numbers) > 0:
      axis.set_xscale("log")
    axis.set(xlabel=name, ylabel=metric)
    axis.grid(alpha=0.3)
  with files.written_file(root / "table.png") as partial:
    figure.savefig(partial, format="png", dpi=110)
  pyplot.close(figure)


def _number(text: str) -> float | None:
  try:
    return float(text)
  except ValueError:
    return None


def _pair(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not (name and equals):
    raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
  return name, value


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--config", help="such as demo:stage2")
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--init", type=pathlib.Path, help="workdir that runs start from")
  parser.add_argument("--vary", type=varied, nargs="+", default=[])
  parser.add_argument("--set", type=_pair, nargs="+", default=[])
  parser.add_argument("--random", type=int)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--metric", default=METRIC)
  parser.add_argument("--processes", type=int, default=1)
  ways = parser.add_mutually_exclusive_group()
  ways.add_argument("--slurm", action="store_true", help="write an array, run nothing")
  ways.add_argument("--only", type=int, help="make one run")
  ways.add_argument("--summary", action="store_true", help="only write the table")
  return parser


def main() -> None:
  """Makes the runs of a plan, and the table."""
  parser = _parser()
  options = parser.parse_args()
  if (options.config is None) != (not options.vary):
    parser.error("--config and --vary belong together")
  try:
    plan = planned(options)
    if options.slurm:
      print(f"sbatch {write_array(plan, options.out)}")
      return
    if options.only is not None:
      run(plan, options.out, options.only)
      return
    if not options.summary:
      with futures.ThreadPoolExecutor(options.processes) as pool:
        every = range(len(plan["runs"]))
        list(pool.map(lambda number: run(plan, options.out, number), every))
    print(write_table(plan, options.out, options.metric))
  except ValueError as error:
    parser.error(str(error))


if __name__ == "__main__":
  main()
