r"""Shows that guided networks learn: a few hundred steps of stages 1 and 2 at 64².

    python -m experiments.training.guided_steps --names guided --steps 150
    python -m experiments.training.guided_steps --names guided --steps 300 --warmup 50 \
      --stages stage1 --result guided_steps_stage1 --out runs/guided_steps_stage1

Trains on 400 synthetic heads, position and diffuse network of width 8, batch 8, Adam
2e-3 with a cosine, seed 0, and writes the losses on 32 held-out heads before and after
each stage into `results/guided_steps.json`, beside the position loss of the mean head
and of the guides. The second command trains stage 1 alone, for longer. Guided networks
start as the guide and the photo without correction, so that their losses before a stage
are those of both. One seed: a demonstration, not a comparison. Four minutes of one core
each.
"""

import argparse
import pathlib
from typing import Any

import jax.numpy as jnp
import numpy as np

from affjax import build
from affjax.data import degradation, to_batch
from affjax.geometry import uv
from affjax.heads import open_head
from affjax.losses import position_l1
from affjax.train import loop
from experiments.benchmarks import measuring

RESULTS = pathlib.Path(__file__).parents[1] / "results"
NAMES, STAGES = ("guided", "paper"), ("stage1", "stage2")


def config(name: str, stage: str, options: argparse.Namespace) -> Any:
  """Returns the config of a stage."""
  steps = options.steps
  found = build.default_config()
  found.stage, found.steps, found.mesh.data = stage, steps, 1
  found.model.architecture, found.model.size = name, 64
  for network in ("position", "diffuse"):
    found.model[network].width = 8
  found.model.light.width = 8
  found.model.light.color = True
  found.data.count, found.data.held_out, found.data.cache = 400, 32, options.cache
  found.data.occluders = 0.15
  found.optimizer.learning_rate, found.optimizer.schedule = 2e-3, "cosine"
  found.optimizer.warmup_steps = options.warmup
  found.loss.pose_l1 = 3.0
  found.features.layers = (1, 3)
  found.log.every, found.log.pictures_every = 25, 0
  found.log.tensorboard = False
  found.checkpoint.every = steps
  return found


def baselines(held_out: dict[str, np.ndarray]) -> dict[str, float]:
  """Returns the position loss of the mean head and of the guides, dm."""
  model = open_head("embedded")
  table = uv.uv_table(model.template, 64)
  batch = to_batch(held_out, table, guides=degradation(model))
  assert batch.guide is not None
  known = np.asarray(batch.guide.known) > 0
  mean = jnp.broadcast_to(model.template.vertices, batch.guide.vertices.shape)
  support = jnp.asarray(table.support)
  loss = lambda v, keep: float(
    position_l1(
      uv.map_from_vertices(v, table)[keep], batch.position[keep], support
    ).value
  )
  everyone = np.ones(len(known), bool)
  return {
    "mean_head": loss(mean, everyone),
    "mean_head_where_guided": loss(mean, known),
    "guide_where_guided": loss(jnp.asarray(batch.guide.vertices), known),
    "guided_photos": int(known.sum()),
  }


def main() -> None:
  """Trains and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--steps", type=int, default=150)
  parser.add_argument("--out", type=pathlib.Path, default="runs/guided_steps")
  parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
  parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
  parser.add_argument("--warmup", type=int, default=0)
  parser.add_argument("--cache", default="runs/guided_steps/cache")
  parser.add_argument("--result", default="guided_steps")
  options = parser.parse_args()
  path = RESULTS / f"{options.result}.json"
  result: dict[str, Any] = {
    "machine": measuring.machine("cpu", 1),
    "steps": options.steps,
    "warmup_steps": options.warmup,
    "batch": 8,
    "held_out": 32,
    "seed": 0,
  }
  for name in options.names:
    for stage in options.stages:
      task = build.task(config(name, stage, options), options.out / name)
      result.setdefault("position_l1_dm", baselines(task.held_out))
      summary = loop.run(task).summary
      result[f"{name}, {stage}"] = {
        key: summary[key] for key in ("eval_before", "eval_after", "seconds")
      }
      measuring.write_json(path, result)
  print(path.read_text())


if __name__ == "__main__":
  main()
