"""A program that prepares noise, for `test_preparation_kill` to kill."""

import pathlib
import resource
import sys
import time

import numpy as np

from affjax import pool
from affjax.data import _record, _shards
from affjax.data._preparation import assembly, workspace
from affjax.data._preparation.outcomes import Kept, Skipped, UnitOutcome
from affjax.data._preparation.workspace import Workspace
from affjax.heads import open_head
from affjax.types import Camera
from tests.data import prepared_faces

UNITS, EACH = 24, 5
PLAN = {"units": UNITS}


class Worker:
  """Makes records of noise slowly: `lag` seconds per unit."""

  def __init__(self, work: pathlib.Path, lag: float):
    self.work, self.lag = work, lag

  def __call__(self):
    return self.do

  def do(self, unit: int) -> int:
    time.sleep(self.lag)
    Workspace(self.work).store(unit, outcome(unit))
    return unit


def outcome(unit: int) -> UnitOutcome:
  """Returns the outcome of a unit, always the same."""
  split = "train" if unit % 4 else "test"
  kept = []
  for k in range(EACH):
    fields = prepared_faces.record(100 * unit + k, vertices=np.zeros((7, 3)))
    fields["has_pose"] = np.float32(0)
    name = f"{unit:02d}-{k}.jpg"
    source = f"{name}#face 1"
    content = _record.encode({**fields, "source": source})
    kept.append(Kept(source, name, split, 0.5 + 0.01 * k, 2.0, name, content))
  skipped = [Skipped(f"{unit:02d}-x.jpg", "no face", "none")]
  return UnitOutcome(EACH + 1, kept, skipped)


def main(out: pathlib.Path, lag: float, workers: int) -> None:
  """Prepares a data set as `affjax prepare` does."""
  destination = _shards.data_folder(out, "faces")
  with workspace.opened(destination.parent / ".preparing", PLAN) as work:
    print("started", flush=True)
    missing = [unit for unit in range(UNITS) if work.found(unit) is None]
    for unit in pool.run(Worker(work.path, lag), missing, workers=workers):
      print("done", unit, flush=True)
    assembly.assemble(
      work,
      UNITS,
      destination,
      facts=prepared_faces.facts(),
      plan=PLAN,
      extra=[],
      template=open_head("embedded").template,
      camera=Camera(),
      write=lambda *a: assembly.write_shards(*a, shard_bytes=20_000),
    )
    work.remove()
  print("finished", flush=True)


if __name__ == "__main__":
  if len(sys.argv) > 4:  # simulates a full disk: no file grows beyond this
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
  main(pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
