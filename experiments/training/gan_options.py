r"""Shows short runs of stage 3 with each option for the discriminator.

    JAX_DISABLE_MOST_OPTIMIZATIONS=1 python -m experiments.training.gan_options
    python -m experiments.training.gan_options --names --plot

Trains narrow guided networks at 32² on 48 synthetic heads: 40 steps of stages 1 and 2,
once, then 60 steps of stage 3 with each option, batch 4, seed 0. The options but
"slow" train the discriminator with the networks' Adam, as the paper's text says. Writes
the curves into `results/gan_options.json`, where options that are not named stay as
they are, and draws them into `figures/gan_options.png`. One seed and a toy's size: it
shows that the options work and what the log says of them, not which is best.
"""

import argparse
import json
import pathlib
from typing import Any

from affjax import build
from affjax.train import loop
from experiments.benchmarks import measuring

HERE = pathlib.Path(__file__).parents[1]
RESULT, FIGURE = HERE / "results" / "gan_options.json", HERE / "figures"
OPTIONS: dict[str, dict[str, Any]] = {
  "plain": {},
  "slow": {"optimizer.discriminator.scale": 0.1},
  "spectral": {"model.discriminator.normalization": "spectral"},
  "r1": {"r1.weight": 10.0, "r1.every": 4},
  "ema": {"ema": 0.99},
}
CURVES = (
  "adversarial_discriminator",
  "adversarial_generator",
  "adversarial_accuracy",
  "image_l1",
)


def config(stage: str, steps: int, out: pathlib.Path, **changes: Any) -> Any:
  """Returns the config of a short stage."""
  found = build.get_config(f"demo:{stage}")
  values: dict[str, Any] = {
    "steps": steps,
    "mesh.data": 1,
    "model.size": 32,
    "model.position.width": 4,
    "model.diffuse.width": 8,
    "model.discriminator.depth": 2,
    "model.discriminator.width": 8,
    "data.count": 48,
    "data.batch_size": 4,
    "data.cache": str(out / "cache"),
    "log.every": 3,
    "log.tensorboard": False,
    "checkpoint.every": steps,
    "features.layers": (1,),
    "checkpoint.keep_best": 0,
    "optimizer.schedule": "constant",
  }
  found.update_from_flattened_dict(values)
  found.update_from_flattened_dict(changes)
  return found


def trained(name: str, out: pathlib.Path, steps: int) -> dict[str, Any]:
  """Trains stage 3 with an option and returns its curves."""
  plain = {
    "optimizer.discriminator.scale": 1.0,
    "optimizer.discriminator.beta1": 0.9,
    "optimizer.discriminator.beta2": 0.999,
    "init_from": str(out / "start"),
    "log.inspect_every": steps // 3,
  }
  root = out / name
  changes = {**plain, **OPTIONS[name]}
  summary = loop.run(build.task(config("stage3", steps, out, **changes), root)).summary
  text = (root / "stage3" / "metrics.jsonl").read_text()
  lines = [json.loads(line) for line in text.splitlines()]
  kept = lambda line: {k: round(v, 5) for k, v in line.items() if "held_out" not in k}
  return {
    "options": OPTIONS[name],
    "steps": steps,
    **{key: summary[key] for key in ("eval_before", "eval_after", "seconds")},
    "curves": [kept(line) for line in lines if "total" in line],
    "inspected": [kept(line) for line in lines if "lambda/image_l1" in line],
  }


def plot(result: dict[str, Any], path: pathlib.Path) -> None:
  """Draws the curves of all options."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(1, len(CURVES), figsize=(14, 3), layout="constrained")
  for axis, curve in zip(axes, CURVES, strict=True):
    axis.set_title(curve)
    axis.set_xlabel("step of stage 3")
    for name in OPTIONS:
      lines = result.get(name, {}).get("curves", [])
      axis.plot([line["step"] for line in lines], [line[curve] for line in lines])
  figure.legend(list(OPTIONS), loc="outside right center")
  figure.savefig(path, dpi=110)


def main() -> None:
  """Trains, writes and draws."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--names", nargs="*", choices=OPTIONS, default=list(OPTIONS))
  parser.add_argument("--steps", type=int, default=60)
  parser.add_argument("--out", type=pathlib.Path, default="runs/gan_options")
  parser.add_argument("--plot", action="store_true")
  options = parser.parse_args()
  result: dict[str, Any] = {}
  if RESULT.exists():
    result = json.loads(RESULT.read_text())
  if options.names:
    for stage in ("stage1", "stage2"):
      loop.run(build.task(config(stage, 40, options.out), options.out / "start"))
    result["machine"] = measuring.machine("cpu", 1)
  for name in options.names:
    result[name] = trained(name, options.out, options.steps)
    measuring.write_json(RESULT, result)
  if options.plot:
    plot(result, FIGURE / "gan_options.png")


if __name__ == "__main__":
  main()
