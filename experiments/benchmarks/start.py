"""Measures how long `affjax fit` takes to its first head: ever, later, and a head more.

  python -m experiments.benchmarks.start            # some minutes
  python -m experiments.benchmarks.start --quick    # one later start, writes nothing

Each start is a process of its own, as a user starts it, with the embedded portrait:
"first_ever" has an empty cache and compiles the kernels in C++ as well, "first" finds
the kernels, "later_1" and so on find everything; "many" is a later start with five
photos. Times count from the start of the process: to the
line that reports the first photo, and to the end. A photo more is measured by copies of
the portrait in the same process. CPU seconds are those of the process and its
compilers; on a shared machine they say more than the clock. Writes
`results/bench_start_cpu.json`.
"""

import argparse
import itertools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from affjax.assets import store
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "bench_start_cpu.json"
COPIES = 5


def fit(photos: list[pathlib.Path], cache: pathlib.Path, out: pathlib.Path) -> Any:
  """Runs the command and returns its times."""
  environment = {
    **{key: value for key, value in os.environ.items() if not key.startswith("JAX_")},
    "AFFJAX_CACHE_DIR": str(cache),
    "JAX_PLATFORMS": "cpu",
  }
  command = [sys.executable, "-m", "affjax.commands", "fit", *map(str, photos)]
  before, began = _cpu(), time.monotonic()
  child = subprocess.Popen(
    [*command, "-o", str(out), "--overwrite"],
    env=environment,
    stderr=subprocess.PIPE,
    stdout=subprocess.DEVNULL,
    text=True,
  )
  assert child.stderr is not None
  reports = [time.monotonic() - began for line in child.stderr if ": 1 face" in line]
  assert child.wait() == 0
  assert len(reports) == len(photos)
  return {
    "first_head_seconds": reports[0],
    "end_seconds": time.monotonic() - began,
    "cpu_seconds": _cpu() - before,
    "seconds_a_head_more": statistics.median(
      b - a for a, b in itertools.pairwise(reports)
    )
    if len(reports) > 1
    else None,
  }


def _cpu() -> float:
  """Returns the CPU seconds of all children so far."""
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return used.ru_utime + used.ru_stime


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--quick", action="store_true", help="one start, writes nothing")
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    photos = [folder / f"{k}.jpg" for k in range(COPIES)]
    for photo in photos:
      photo.write_bytes(store.read_asset("astronaut.jpg"))
    one, cache, out = photos[:1], folder / "cache", folder / "out"
    result: dict[str, Any] = {
      "machine": measuring.machine("cpu", len(os.sched_getaffinity(0)))
    }

    def measure(case: str, photos: list[pathlib.Path]) -> None:
      result[case] = fit(photos, cache, out)
      print(case, json.dumps(result[case]), flush=True)
      if not given.quick:
        measuring.write_json(RESULT, result)

    measure("first_ever", one)
    for k in range(1 if given.quick else given.rounds):
      measure(f"later_{k + 1}", one)
    measure("many", photos)
    if not given.quick:
      for program in (cache / "compiled").rglob("*"):
        if program.is_file():
          program.unlink()
      measure("first", one)


if __name__ == "__main__":
  main()
