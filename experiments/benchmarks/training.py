"""Measures the user's command, stage by stage, by size and batch.

  python -m experiments.benchmarks.training             # hours; goes on where it was
  python -m experiments.benchmarks.training --sizes 128 --batches 1 2

Runs `python -m affjax.main --config=stage1`, then 2 and 3, in one workdir for each size
and batch, a few steps each, on synthetic heads. A row has the seconds to the end of the
first step (start, data, compilation and the step), the seconds and the CPU seconds of a
later step (the mean of those after the first), and the most memory that the process
held, and the number of cores. On a shared machine the CPU seconds say more than the
clock. The C++ kernels are
built before; compiled programs come from no cache, as in a first start ever.

A stage whose process would hold more than `--most` GB is not run: its row gives the
memory that follows from the two largest batches before it. Rows are written to
`results/bench_training_cpu.json` as they are made, and are not made again.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from affjax.native import library
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "bench_training_cpu.json"
STAGES = ("stage1", "stage2", "stage3")

Row = dict[str, Any]


def command(stage: str, size: int, batch: int, steps: int, workdir: pathlib.Path):
  """Returns the user's command, cut short."""
  changes = {
    "model.size": size,
    "data.batch_size": batch,
    "data.count": max(8, 2 * batch),
    "data.held_out": 1,
    "data.cache": "workdir",
    "steps": steps,
    "log.every": 1,
    "log.tensorboard": False,
  }
  head = [sys.executable, "-m", "affjax.main", f"--config={stage}"]
  overrides = [f"--config.{key}={value}" for key, value in changes.items()]
  return [*head, f"--workdir={workdir}", *overrides]


def measured(words: list[str], stage: str, environment: dict[str, str]) -> Row:
  """Runs a stage and returns its times, seconds, and its memory, GB."""
  began = time.monotonic()
  child = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
  assert child.stdout is not None
  ends, used, memory = [], [], 0.0
  for line in child.stdout:
    # A line of progress appears when its step is complete.
    if line.startswith(f"{stage} ") and "/" in line.split("|")[0]:
      ends.append(time.monotonic() - began)
      used.append(cpu_seconds(child.pid))
      memory = peak_gb(child.pid)
  if status := child.wait():
    raise RuntimeError(f"{' '.join(words)} ended with status {status}")
  later = len(ends) - 1
  return {
    "first_step_seconds": ends[0],
    "first_step_cpu_seconds": used[0],
    "step_seconds": (ends[-1] - ends[0]) / later,
    "step_cpu_seconds": (used[-1] - used[0]) / later,
    "steps": later,
    "peak_gb": memory,
  }


def cpu_seconds(pid: int) -> float:
  """Returns the CPU seconds of a living process and its threads."""
  fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_gb(pid: int) -> float:
  """Returns the most memory that a living process has held so far, GB."""
  lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  return next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")) * 1024 / 1e9


def foreseen_gb(rows: list[Row], stage: str, size: int, batch: int) -> float:
  """Returns the memory that follows from the two largest batches before, or 0."""
  before = sorted(
    (row["batch"], row["peak_gb"])
    for row in rows
    if row["stage"] == stage and row["size"] == size and row["batch"] < batch
  )
  if len(before) < 2:
    return 0.0
  (less, low), (more, high) = before[-2:]
  return high + (high - low) / (more - less) * (batch - more)


def rows_of(size: int, batch: int, rows: list[Row], given: argparse.Namespace):
  """Yields the rows of the three stages."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for stage in STAGES:
      cores = len(os.sched_getaffinity(0))
      row = {"stage": stage, "size": size, "batch": batch, "cores": cores}
      expected = foreseen_gb(rows, stage, size, batch)
      if expected > given.most:
        yield {**row, "peak_gb": expected, "run": False}
        return
      environment = {
        **{key: text for key, text in os.environ.items() if not key.startswith("JAX_")},
        "AFFJAX_COMPILATION_CACHE": "0",
        "JAX_PLATFORMS": "cpu",
      }
      words = command(stage, size, batch, given.steps, folder / "run")
      yield {**row, **measured(words, stage, environment), "run": True}


def table(rows: list[Row]) -> str:
  """Returns the rows as Markdown."""
  header = ["stage, size, batch", "cores", "first step, s of CPU"]
  cells = []
  for row in rows:
    name = f"{row['stage'][-1]}, {row['size']}², {row['batch']}"
    keys = ("first_step_cpu_seconds", "step_cpu_seconds", "step_seconds")
    times = [f"{row[key]:.3g}" if row["run"] else "not run" for key in keys]
    sign = "" if row["run"] else "≈ "
    cells.append([name, str(row["cores"]), *times, f"{sign}{row['peak_gb']:.1f}"])
  header += ["step, s of CPU", "step, s", "memory, GB"]
  return measuring.markdown(header, cells)


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
  parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
  parser.add_argument("--steps", type=int, default=4, help="of each stage, at least 2")
  parser.add_argument("--most", type=float, default=16.0, help="memory, GB")
  given = parser.parse_args()
  result = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
  rows = result["rows"]
  result["machine"] = measuring.machine("cpu", len(os.sched_getaffinity(0)))
  for name in library.names():
    library.status(name, "cpu")
  done = {(row["size"], row["batch"]) for row in rows}
  for size in given.sizes:
    for batch in sorted(given.batches):
      if (size, batch) in done:
        continue
      made = []
      for row in rows_of(size, batch, rows, given):
        made.append(row)
        print(json.dumps(row), flush=True)
      rows += made
      measuring.write_json(RESULT, result)
  print(table(rows))


if __name__ == "__main__":
  main()
