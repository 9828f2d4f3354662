r"""Shows short runs of stage 3 with each form of the discriminator.

    python -m experiments.training.gan_options           # all forms
    python -m experiments.training.gan_options r1 ema    # others stay as they are

The discriminator is that of stage 3, narrow and at two scales; the four networks are
the linear ones of the tests, on sheets of 25 vertices at 16 px, so that a run takes
seconds. 300 steps with each form, batch 8, 64 samples, 16 held out, seed 0. All forms
but "slow" train the discriminator with the networks' own Adam, as the paper's text
says. Writes the curves into `results/gan_options.json` and draws them into
`figures/gan_options.png`. One seed and a toy: it shows that the forms work and what
the log says of them, not which is best for faces.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from affjax.models import MultiScaleDiscriminator
from affjax.train import discriminators, sharding, states, steps
from affjax.train.discriminators import DiscriminatorLearner, R1Penalty
from affjax.train.sharding import MeshShape
from experiments.benchmarks import measuring
from tests.train import tiny_training as tiny

HERE = pathlib.Path(__file__).parents[1]
RESULT, FIGURE = HERE / "results" / "gan_options.json", HERE / "figures"
RATE, STEPS, EVERY, BATCH = 1e-2, 300, 10, 8


@dataclasses.dataclass(frozen=True)
class Form:
  """A form of the discriminator.

  Attributes:
    normalization: Its layers' normalization.
    r1: Weight of the R1 penalty, on every fourth step.
    scale: Factor on its learning rate.
    betas: Decay rates of its Adam.
    ema: Decay of the networks' moving average.
  """

  normalization: str = "group"
  r1: float = 0.0
  scale: float = 1.0
  betas: tuple[float, float] = (0.9, 0.999)
  ema: float = 0.0


FORMS = {
  "plain": Form(),
  "slow": Form(scale=0.1, betas=(0.5, 0.9)),
  "spectral": Form(normalization="spectral"),
  "r1": Form(r1=10.0),
  "ema": Form(ema=0.99),
}
CURVES = (
  discriminators.LOSS,
  "adversarial_generator",
  discriminators.ACCURACY,
  "held_out/image_l1",
)


def trained(form: Form) -> list[dict[str, float]]:
  """Trains stage 3 and returns a line for every ten steps, as the log has it."""
  network = MultiScaleDiscriminator(
    width=8, depth=2, scales=2, normalization=form.normalization
  )
  beta1, beta2 = form.betas
  optimizer = tiny.make_optimizer(
    learning_rate=RATE * form.scale, beta1=beta1, beta2=beta2
  )
  learner = dataclasses.replace(
    tiny.make_learner("stage3", learning_rate=RATE, adversarial_generator=0.1),
    discriminator=DiscriminatorLearner(network, optimizer, R1Penalty(form.r1, 4)),
    average=form.ema,
  )
  mesh = sharding.make_mesh(MeshShape(1))
  start = states.create(
    learner.stage,
    learner.reconstructor.init(0),
    learner.optimizer,
    discriminator=network.init(1),
    discriminator_optimizer=optimizer,
    averaged=form.ema > 0,
  )
  state = sharding.put_state(start, mesh)
  update, evaluate = (
    steps.make_update(learner, mesh),
    steps.make_evaluate(learner, mesh),
  )
  data = tiny.make_data(tiny.Source(tiny.TEMPLATE, 64), batch_size=BATCH)
  held_out = tiny.stacked(tiny.Source(tiny.TEMPLATE, 16, first=1000))
  lines, period = [], []
  for step in range(1, STEPS + 1):
    state, scalars = update(state, None, sharding.put_batch(next(data), mesh))
    period.append({name: float(value) for name, value in scalars.items()})
    if step % EVERY == 0:
      found = evaluate(state, None, held_out).scalars
      means = {name: np.mean([p[name] for p in period]) for name in period[0]}
      means |= {f"held_out/{name}": float(value) for name, value in found.items()}
      lines.append({"step": step, **{k: round(float(v), 5) for k, v in means.items()}})
      period = []
  return lines


def summary(lines: list[dict[str, float]]) -> dict[str, float]:
  """Returns the means of the last third, and how much the held-out loss jumps there."""
  last = lines[-len(lines) // 3 :]
  found = {name: round(float(np.mean([x[name] for x in last])), 4) for name in CURVES}
  jumps = np.abs(np.diff([line["held_out/image_l1"] for line in last]))
  return {**found, "held_out/image_l1, mean jump": round(float(np.mean(jumps)), 5)}


def warning(lines: list[dict[str, float]]) -> str | None:
  """Returns what the log says of a discriminator that has won."""
  watch = discriminators.Watch()
  said = [watch(int(line["step"]), line) for line in lines]
  return next(filter(None, said), None)


def plot(curves: dict[str, list[dict[str, float]]], path: pathlib.Path) -> None:
  """Draws the curves of all forms."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(
    1, len(CURVES), figsize=(15, 3.2), layout="constrained"
  )
  for axis, name in zip(axes, CURVES, strict=True):
    axis.set_title(name)
    axis.set_xlabel("step")
    for lines in curves.values():
      axis.plot([x["step"] for x in lines], [x[name] for x in lines], linewidth=1.2)
  figure.legend(list(curves), loc="outside right center")
  figure.savefig(path, dpi=110)


def main() -> None:
  """Trains, writes and draws."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("names", nargs="*", choices=FORMS, default=list(FORMS))
  result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
  result |= {
    "machine": measuring.machine("cpu", 1),
    "steps": STEPS,
    "batch": BATCH,
    "seed": 0,
  }
  for name in parser.parse_args().names:
    lines = trained(FORMS[name])
    result[name] = {
      "form": dataclasses.asdict(FORMS[name]),
      "last_third": summary(lines),
      "warning": warning(lines),
      "curves": lines,
    }
    print(name, result[name]["last_third"], result[name]["warning"] or "", flush=True)
    measuring.write_json(RESULT, result)
  curves = {name: result[name]["curves"] for name in FORMS if name in result}
  plot(curves, FIGURE / "gan_options.png")


if __name__ == "__main__":
  main()
