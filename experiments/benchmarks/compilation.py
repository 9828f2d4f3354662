"""Measures what the programs of a training stage take to compile.

  python -m experiments.benchmarks.compilation                 # stage 3 at 128²
  python -m experiments.benchmarks.compilation --stages stage1 stage3 --size 512

For each stage, batch 1: the CPU seconds of painting the first photo (with
the compilation of the painter), of tracing the update of a step, and of its
compilation by XLA, and both for the evaluation of held-out samples; the CPU seconds of
a step; and the number of operations of the update before XLA optimizes it. Nothing
comes from a cache. CPU seconds are those of all threads. Two minutes a stage on one
core. Writes `results/bench_compilation_cpu.json`.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time
from typing import Any, NamedTuple

import jax

from affjax import build
from affjax.models import load_features
from affjax.train import sharding, states, steps
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "bench_compilation_cpu.json"
STAGES = ("stage1", "stage2", "stage3")


class Parts(NamedTuple):
  """What a step of a stage takes.

  Attributes:
    learner: The parts of a step.
    mesh: One device.
    state: The state before the first update, which the update is donated.
    features: The feature network.
    record: The batch on the device.
  """

  learner: steps.Learner
  mesh: Any
  state: states.TrainState
  features: Any
  record: dict[str, jax.Array]


def parts(stage: str, *, size: int, batch: int, dtype: str = "float32") -> Parts:
  """Makes fresh networks of a stage, and a batch of synthetic heads."""
  config = build.get_config(stage)
  config.dtype, config.model.size = dtype, size
  config.data.count = config.data.held_out = batch
  learner = build.learner(config, 1000)
  other = learner.discriminator
  with tempfile.TemporaryDirectory() as folder:
    _, record = build.sources(config, pathlib.Path(folder))
  state = states.create(
    learner.stage,
    build.reconstructor(config).init(0),
    learner.optimizer,
    discriminator=other and other.network.init(1),
    discriminator_optimizer=other and other.optimizer,
  )
  mesh = sharding.make_mesh(sharding.MeshShape(1, 1))
  return Parts(
    learner,
    mesh,
    sharding.put_state(state, mesh),
    sharding.put_state(load_features("embedded", dtype=dtype), mesh),
    sharding.put_batch(record, mesh),
  )


def measured(stage: str, size: int) -> dict[str, Any]:
  """Returns the CPU seconds of a stage's programs."""
  marks = [time.process_time()]

  def passed() -> float:
    marks.append(time.process_time())
    return round(marks[-1] - marks[-2], 2)

  learner, mesh, *arguments = parts(stage, size=size, batch=1)
  row: dict[str, Any] = {"stage": stage, "size": size, "parts_and_photo": passed()}
  lowered = steps.make_update(learner, mesh).lower(*arguments)
  row["operations"] = sum(" = " in line for line in lowered.as_text().splitlines())
  row["update_tracing"] = passed()
  update = lowered.compile()
  row["update_compilation"] = passed()
  evaluation = steps.make_evaluate(learner, mesh).lower(*arguments)
  row["evaluation_tracing"] = passed()
  evaluation.compile()
  row["evaluation_compilation"] = passed()
  state, *rest = arguments
  for _ in range(3):
    state, _ = jax.block_until_ready(update(state, *rest))
    row["step"] = passed()
  return row


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--stages", nargs="+", default=["stage3"], choices=STAGES)
  parser.add_argument("--size", type=int, default=128)
  given = parser.parse_args()
  result: dict[str, Any] = {
    "unit": "CPU seconds of all threads, but operations: a number",
    "batch": 1,
    "imports": round(time.process_time(), 2),
    "machine": measuring.machine("cpu", len(os.sched_getaffinity(0))),
    "rows": [],
  }
  for stage in given.stages:
    result["rows"].append(measured(stage, given.size))
    print(json.dumps(result["rows"][-1]), flush=True)
    measuring.write_json(RESULT, result)


if __name__ == "__main__":
  main()
