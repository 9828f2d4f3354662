"""Kills a short run at random moments and compares its end with an uninterrupted run.

  python -m experiments.training.kills                          # 100 kills
  python -m experiments.training.kills --networks affunet --kills 10 --steps 20

The run is one stage with a checkpoint every three steps. SIGKILL comes at a random
moment, and the same command starts it again: one start of four is killed before its
first step, at a moment drawn evenly from the seconds that these take; the others after
a time that is exponentially distributed from their first step on, so that each moment
of the run is as likely as any other. A run that reaches its end is compared to the bit
with the uninterrupted one: weights, optimizer, and which steps the log has. Then the
next run begins, until all kills are made.
"tiny" is the learner of the tests (a head of 25 vertices, linear networks), "affunet"
is `affjax.main` with all real parts at 32 px. Writes `results/kills.json`, with the
number of kills that hit the start, a checkpoint in the making, or a moment between two
checkpoints, and the number in each tenth of the steps.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

from affjax import compilation
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "kills.json"
STAGE = "stage1"
EVERY = 3
# Share of the starts that are killed before their first step, and expected number of
# kills during an uninterrupted run.
EARLY, LATER = 0.25, 6


def tiny_run(steps: int) -> Callable[[pathlib.Path], object]:
  """Returns a function that trains the learner of the tests in a workdir."""
  from affjax.train import loop
  from tests.train import tiny_training

  return lambda root: loop.run(
    tiny_training.make_task(
      root, total_steps=steps, checkpoint_every=EVERY, log_every=1
    )
  )


def affunet_run(steps: int, photos: pathlib.Path) -> Callable[[pathlib.Path], object]:
  """Returns a function that runs `affjax.main` with small networks in a workdir."""
  from affjax import main
  from tests import tiny_config

  options = {
    "steps": steps,
    "checkpoint__every": EVERY,
    "log__every": 1,
    "data__path": photos,
  }
  return lambda root: main.main(
    ["main", f"--config={STAGE}", f"--workdir={root}", *tiny_config.flags(**options)]
  )


def started(run: Callable[[pathlib.Path], object], root: pathlib.Path) -> int:
  """Starts a run in a child process and returns its id.

  The child is a fork: the imports, which take longer than the run, are made only once.
  Compiled programs come from the user's cache, as in any run of `affjax.main`.
  """
  child = os.fork()
  if child:
    return child
  with (root.parent / "log.txt").open("a") as log:
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    try:
      compilation.enable()
      run(root)
    except BaseException as error:
      print(f"run failed: {error}", file=sys.stderr, flush=True)
      os._exit(1)
  os._exit(0)


def ended(child: int, seconds: float, after: Callable[[], bool] = lambda: True) -> bool:
  """Waits for the end of a child; kills it after some time. Returns whether it ended.

  Args:
    child: Id of the process.
    seconds: Time until it is killed.
    after: Function that says whether this time has begun.

  Raises:
    RuntimeError: The child failed by itself.
  """
  until = None
  while until is None or time.monotonic() < until:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
      if status:
        raise RuntimeError(f"a run failed with status {status}; see log.txt")
      return True
    if until is None and after():
      until = time.monotonic() + seconds
    time.sleep(0.002)
  os.kill(child, signal.SIGKILL)
  os.waitpid(child, 0)
  return False


def last_step(log: pathlib.Path) -> int:
  """Returns the last step that a run has printed, or 0."""
  found = re.findall(rf"{STAGE} +(\d+)/\d+ ", log.read_text())
  return int(found[-1]) if found else 0


def moment(root: pathlib.Path, log: pathlib.Path) -> str:
  """Describes the moment of a kill from what it left and what the run had printed."""
  if not last_step(log):
    return "before the first step"
  folder = root / STAGE / "checkpoints"
  if any("tmp" in path.name for path in folder.glob("*")):
    return "while a checkpoint was written"
  return "between checkpoints"


def final_digest(root: pathlib.Path, steps: int) -> str:
  """Returns a hash of all arrays of the last checkpoint and of the steps in the log."""

  def digest(_: pathlib.Path) -> None:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    found = hashlib.sha256()
    for item in ("params", "training"):
      path = (root / STAGE / "checkpoints" / str(steps) / item).absolute()
      tree = ocp.StandardCheckpointer().restore(path)
      for name, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        found.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    for line in (root / STAGE / "metrics.jsonl").read_text().splitlines():
      found.update(str(json.loads(line)["step"]).encode())
    (root / "digest").write_text(found.hexdigest())

  assert ended(started(digest, root), 600)
  return (root / "digest").read_text()


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--networks", choices=("tiny", "affunet"), default="tiny")
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--steps", type=int, default=60)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--no-result", action="store_true", help="write no file")
  given = parser.parse_args()
  chance = random.Random(given.seed)
  began = time.monotonic()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    if given.networks == "tiny":
      run = tiny_run(given.steps)
    else:
      from tests import tiny_config

      run = affunet_run(given.steps, tiny_config.write_photos(folder / "photos"))
    # The first run compiles for all others.
    assert ended(started(run, folder / "first"), 3600)
    log, marks = folder / "log.txt", [time.monotonic()]
    begun = lambda: last_step(log) > 0
    log.write_text("")
    first = lambda: begun() and marks.append(time.monotonic()) is None
    assert ended(started(run, folder / "whole"), 3600, first)
    start, first_step, end = (*marks, time.monotonic())
    expected = final_digest(folder / "whole", given.steps)
    moments: Counter[str] = Counter()
    tenths = [0] * 10
    identical, runs, root = 0, 0, folder / "run0"
    while moments.total() < given.kills or root.exists():
      log.write_text("")
      child = started(run, root)
      if moments.total() >= given.kills:
        assert ended(child, 3600)
      elif not (
        ended(child, chance.uniform(0, first_step - start))
        if chance.random() < EARLY
        else ended(child, chance.expovariate(LATER / (end - first_step)), begun)
      ):
        moments[moment(root, log)] += 1
        if begun():
          tenths[(last_step(log) - 1) * 10 // given.steps] += 1
        continue
      runs += 1
      identical += final_digest(root, given.steps) == expected
      root = folder / f"run{runs}"
      # A result that is written after each run survives when this program is stopped.
      result = {
        "networks": given.networks,
        "steps": given.steps,
        "checkpoint_every": EVERY,
        "seed": given.seed,
        "kills": moments.total(),
        "moments": dict(moments),
        "kills_in_each_tenth_of_the_steps": tenths,
        "runs": runs,
        "identical_runs": identical,
        "damaged_checkpoints": len(list(folder.glob(f"run*/{STAGE}/damaged/*"))),
        "uninterrupted_seconds": round(end - start, 1),
        "seconds_before_the_first_step": round(first_step - start, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": measuring.machine("cpu", len(os.sched_getaffinity(0))),
      }
      print(json.dumps(result), flush=True)
      if not given.no_result:
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        measuring.write_json(RESULT, {**stored, given.networks: result})
  sys.exit(identical < runs)


if __name__ == "__main__":
  main()
