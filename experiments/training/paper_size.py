"""Trains the paper's networks at 512², kills them, goes on, and reconstructs with them.

  python -m experiments.training.paper_size --out out/paper_size

Runs the user's commands `python -m affjax.main --config=configs/stage1.py`, then 2 and
3, on synthetic heads, one photo a batch, some steps each. Stage 3 is killed by SIGKILL
in the middle and continued by the same command. Then `affjax reconstruct` makes a head
of the portrait that comes with affjax from the weights of the run. Compiled programs
come from the user's cache, as in any run.

The networks have seen a dozen photos, so that the head says nothing of their quality:
this shows that the commands work together at this size, and what they cost. Takes about
half an hour on one core and 6 GB of memory. Writes `results/paper_size.json`: seconds
and CPU seconds of the start and of a later step, peak memory, the step at which stage 3
went on, the steps of its log, and the files of the reconstruction.
"""

import argparse
import itertools
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
from typing import Any

from affjax import assets
from experiments.benchmarks import measuring
from experiments.benchmarks.training import cpu_seconds, peak_gb

RESULT = pathlib.Path(__file__).parents[1] / "results" / "paper_size.json"
PORTRAIT = pathlib.Path(assets.__file__).parent / "astronaut.jpg"
STAGES = ("stage1", "stage2", "stage3")

Row = dict[str, Any]


def command(stage: str, workdir: pathlib.Path, steps: int, every: int) -> list[str]:
  """Returns the user's command, cut short."""
  changes = {
    "data.batch_size": 1,
    "data.count": 16,
    "data.held_out": 1,
    "data.cache": "workdir",
    "steps": steps,
    "log.every": 1,
    "checkpoint.every": every,
  }
  head = [sys.executable, "-m", "affjax.main", f"--config=configs/{stage}.py"]
  overrides = [f"--config.{key}={value}" for key, value in changes.items()]
  return [*head, f"--workdir={workdir}", *overrides]


def trained(words: list[str], stage: str, *, killed_after: int = 0) -> Row:
  """Runs a stage; returns its times, seconds, its memory, and where it came from.

  Args:
    words: The command.
    stage: Name of the stage.
    killed_after: The step after which the process is killed; 0 = it ends by itself.
  """
  print(" ".join(words[1:]), flush=True)
  began = time.monotonic()
  child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
  assert child.stdout is not None
  marks: list[tuple[float, float]] = []
  origin, step, memory, killed = "", 0, 0.0, False
  for line in child.stdout:
    print(line, end="", flush=True)
    if found := re.match(rf"{stage}: starts from (.*)", line):
      origin = found[1]
    if found := re.match(rf"{stage} +(\d+)/\d+ ", line):
      step, memory = int(found[1]), peak_gb(child.pid)
      marks.append((time.monotonic() - began, cpu_seconds(child.pid)))
      if step == killed_after:
        child.kill()
        killed = True
        break
  status = child.wait()
  if status and not killed:
    raise RuntimeError(f"{' '.join(words)} ended with status {status}")
  later = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]
  return {
    "stage": stage,
    "starts_from": re.sub(r"\S*/", "", origin),
    "killed": killed,
    "last_step": step,
    "steps": len(marks),
    "first_step_seconds": marks[0][0],
    "first_step_cpu_seconds": marks[0][1],
    "step_seconds": statistics.median(wall for wall, _ in later),
    "step_cpu_seconds": statistics.median(cpu for _, cpu in later),
    "peak_gb": memory,
  }


def logged_steps(workdir: pathlib.Path, stage: str) -> list[int]:
  """Returns the steps whose losses the log of a stage has, in its order."""
  lines = (workdir / stage / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  return [line["step"] for line in found if "total" in line]


def reconstructed(workdir: pathlib.Path, out: pathlib.Path) -> Row:
  """Runs `affjax reconstruct` on the portrait; returns its time and its files."""
  head = [sys.executable, "-m", "affjax.commands", "reconstruct", str(PORTRAIT)]
  words = [*head, "-o", str(out), "--weights", str(workdir)]
  print(" ".join(words[1:]), flush=True)
  began = time.monotonic()
  status = subprocess.run(words, check=False).returncode
  face = out / PORTRAIT.stem / "face1"
  return {
    "seconds": time.monotonic() - began,
    "exit_status": status,
    "files": {p.name: p.stat().st_size for p in sorted(face.iterdir()) if p.is_file()},
  }


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, default="out/paper_size")
  parser.add_argument("--steps", type=int, default=12, help="of each stage")
  given = parser.parse_args()
  workdir, half = given.out / "run", given.steps // 2
  if workdir.exists():
    parser.error(f"{workdir} is there already: remove it, or choose another --out")
  result: dict[str, Any] = {
    "size": 512,
    "batch": 1,
    "machine": measuring.machine("cpu", len(os.sched_getaffinity(0))),
    "runs": [],
  }
  for stage in STAGES:
    words = command(stage, workdir, given.steps, every=max(1, half - 2))
    if stage == STAGES[-1]:
      # A step of it comes after a checkpoint and is lost.
      result["runs"].append(trained(words, stage, killed_after=half))
    result["runs"].append(trained(words, stage))
    measuring.write_json(RESULT, result)
  result["logged_steps"] = {stage: logged_steps(workdir, stage) for stage in STAGES}
  result["reconstruct"] = reconstructed(workdir, given.out / "heads")
  measuring.write_json(RESULT, result)
  print(json.dumps(result, indent=1))


if __name__ == "__main__":
  main()
