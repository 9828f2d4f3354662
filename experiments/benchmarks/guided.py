"""Times a forward pass of the guided networks against the paper's.

  python -m experiments.benchmarks.guided [--sizes 128 256] [--rounds 15] [--threads 1]

All four networks at their default widths, batch 1, float32, compiled; without and with
the rendering of the result. The guided ones get a guide and a map of skin. Prints a
table, writes `results/bench_guided_cpu.json`. How it is timed: `measuring.py`; the
clock counts this process's own time, because the core is shared. Three minutes on one
core.
"""

import argparse
import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np

from affjax import build
from affjax.heads import open_head
from affjax.types import Guide
from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Variant

RESULT = pathlib.Path(__file__).parents[1] / "results" / "bench_guided_cpu.json"
NAMES = ("paper", "guided")
TARGET = 1.15


def variant(name: str, size: int, *, render: bool) -> Variant:
  """Returns a compiled forward pass of the four networks."""
  config = build.default_config()
  config.model.architecture, config.model.size = name, size
  networks = build.reconstructor(config)
  rng = np.random.default_rng(0)
  # Stirred, so that affine layers warp and nothing multiplies with zeros.
  stir = lambda v: v + 0.02 * rng.standard_normal(v.shape, np.float32)
  params = jax.tree.map(stir, networks.init(0))
  images = rng.random((1, size, size, 3), np.float32)
  options: dict[str, Any] = {"render": render}
  given = {"guide": _guide(size)} if name == "guided" else {}
  run = jax.jit(lambda p, x, g: vars(networks(p, x, **g, **options)))
  compiled = run.lower(params, images, given).compile()
  return Variant(lambda: jax.block_until_ready(compiled(params, images, given)))


def _guide(size: int) -> Guide:
  vertices = open_head("embedded").template.vertices[None]
  pose = np.array([[0.1, 0.5, 0, 0, 0, 0]], np.float32)
  skin = np.ones((1, size, size, 1), np.float32)
  return Guide(vertices, pose, np.ones(1, np.float32), skin)


def main() -> None:
  """Times, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
  parser.add_argument("--rounds", type=int, default=15)
  parser.add_argument("--threads", type=int, default=1, help="CPU cores used")
  options = parser.parse_args()
  measuring.start("cpu", options.threads)
  rows, results = [], []
  for size in options.sizes:
    for render in (False, True):
      times = measuring.interleaved(
        {name: variant(name, size, render=render) for name in NAMES},
        rounds=options.rounds,
        calls=1,
        most_s=60,
        clock=time.process_time,
      )
      ratio = times["guided"].median / times["paper"].median
      what = f"{size}², {'with' if render else 'without'} rendering"
      rows.append([what, *(f"{1e3 * times[n].median:.0f} ms" for n in NAMES)])
      rows[-1].append(f"{ratio:.3f}")
      found = {name: dataclasses.asdict(t) for name, t in times.items()}
      results.append({"size": size, "render": render, "ratio": ratio, "times_s": found})
      print(rows[-1], flush=True)
  print(measuring.markdown(["forward pass", *NAMES, "guided / paper"], rows))
  result = {
    "machine": measuring.machine("cpu", options.threads),
    "method": "interleaved medians of process time; one warm-up call a turn",
    "target": {"ratio": TARGET, "met": all(r["ratio"] <= TARGET for r in results)},
    "results": results,
  }
  measuring.write_json(RESULT, result)


if __name__ == "__main__":
  main()
