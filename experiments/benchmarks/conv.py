"""Times plain convolution against XLA's and PyTorch's, layer by layer.

  python -m experiments.benchmarks.conv [--quick] [--rounds 9] [--out FOLDER]

Forward, gradient of the input and gradient of the kernel, each alone, in float32, for
the layers of the AffUNet of width 32 at 128² (batch 4) and 256² (batch 1), of a patch
discriminator, and of a training run with batch 16. One thread; times are of the
processor, so that other processes on the core do not count. PyTorch gets channels-last
tensors and runs oneDNN. Also measures the largest error of each pass against float64,
relative to the largest value. Prints a table, writes `results/bench_conv_cpu.json`.
`--quick` times the layers of the training run alone and writes only where `--out` says.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from affjax.ops import conv
from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Variant

EXPERIMENTS = pathlib.Path(__file__).parents[1]
PASSES = ("forward", "input gradient", "kernel gradient")
OURS, XLA, TORCH = "cpp", "xla", "PyTorch"


class Case(NamedTuple):
  """A layer on a batch of square images."""

  group: str
  batch: int
  side: int
  channels: int
  features: int
  kernel: int = 3
  stride: int = 1

  def __str__(self) -> str:
    window = f"{self.kernel}×{self.kernel}"
    stride = f"/{self.stride}" if self.stride > 1 else ""
    layer = f"{self.channels}→{self.features} {window}{stride}"
    return f"{self.side}² ×{self.batch} {layer}"


def training() -> list[Case]:
  """Returns layers of a training run of batch 16."""
  case = functools.partial(Case, "training run", 16)
  return [
    case(64, 32, 32),
    case(64, 32, 64, stride=2),
    case(32, 64, 64),
    case(16, 128, 128),
    case(8, 160, 160),
    case(4, 256, 256),
  ]


def affunet(side: int, batch: int) -> list[Case]:
  """Returns the plain convolutions of an AffUNet: layers 1 and 5 to 11, predictors."""
  case = functools.partial(Case, f"AffUNet {side}²", batch)
  return [
    case(side, 3, 32),
    case(side, 32, 6, stride=2),
    case(side // 2, 64, 6, stride=2),
    case(side // 4, 128, 6, stride=2),
    case(side // 8, 256, 256),
    case(side // 4, 384, 128),
    case(side // 4, 128, 128),
    case(side // 2, 192, 64),
    case(side // 2, 64, 64),
    case(side, 96, 32),
    case(side, 32, 3),
  ]


def discriminator() -> list[Case]:
  """Returns the layers of a patch discriminator at 128²."""
  case = functools.partial(Case, "discriminator 128²", 4, kernel=4, stride=2)
  return [case(128, 3, 64), case(64, 64, 128), case(32, 128, 256)]


def arrays(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns random x, kernel and gradient of the result."""
  rng = np.random.default_rng(0)
  small = -(-case.side // case.stride)
  shape = (case.kernel, case.kernel, case.channels, case.features)
  x = rng.standard_normal((case.batch, case.side, case.side, case.channels), np.float32)
  kernel = rng.standard_normal(shape, np.float32)
  kernel /= np.float32(case.kernel * case.channels**0.5)
  grad = rng.standard_normal((case.batch, small, small, case.features), np.float32)
  return x, kernel, grad


def jax_passes(case: Case, backend: str) -> dict[str, Callable[[], jax.Array]]:
  """Returns the compiled passes of a backend."""
  run = functools.partial(conv, stride=case.stride, backend=backend)
  x, kernel, grad = map(jnp.asarray, arrays(case))
  of_x = lambda x, kernel, grad: jax.vjp(lambda x: run(x, kernel), x)[1](grad)[0]
  of_kernel = lambda x, kernel, grad: jax.vjp(lambda k: run(x, k), kernel)[1](grad)[0]
  functions = (lambda x, kernel, grad: run(x, kernel), of_x, of_kernel)

  def compiled(function) -> Callable[[], jax.Array]:
    program = jax.jit(function).lower(x, kernel, grad).compile()
    return lambda: jax.block_until_ready(program(x, kernel, grad))

  return dict(zip(PASSES, map(compiled, functions), strict=True))


def torch_passes(case: Case) -> dict[str, Callable[[], Any]]:
  """Returns PyTorch's passes, with the padding that PyTorch has; none without it."""
  try:
    import torch
  except ImportError:
    return {}
  last = {"memory_format": torch.channels_last}
  x, kernel, _ = arrays(case)
  x = torch.tensor(x).permute(0, 3, 1, 2)
  kernel = torch.tensor(kernel).permute(3, 2, 0, 1).contiguous(**last)
  layer = functools.partial(
    torch.nn.functional.conv2d, stride=case.stride, padding=(case.kernel - 1) // 2
  )
  grad = torch.randn_like(layer(x, kernel)).contiguous(**last)
  inputs = x.clone().requires_grad_(), kernel.clone().requires_grad_()
  y = layer(*inputs)
  pull = functools.partial(torch.autograd.grad, y, grad_outputs=grad, retain_graph=True)
  forward = functools.partial(layer, x, kernel)
  back = (lambda one=one: pull(one) for one in inputs)
  return dict(zip(PASSES, (forward, *back), strict=True))


def errors(case: Case) -> dict[str, dict[str, float]]:
  """Returns errors of both backends, relative to the largest value of float64's."""
  with jax.enable_x64(True):
    wide = [jnp.asarray(a, jnp.float64) for a in arrays(case)]
    dimensions = ("NHWC", "HWIO", "NHWC")
    half = ((case.kernel - 1) // 2, case.kernel // 2)
    run = lambda x, kernel: jax.lax.conv_general_dilated(
      x, kernel, (case.stride,) * 2, (half, half), dimension_numbers=dimensions
    )
    y, pull = jax.vjp(run, *wide[:2])
    wanted = dict(zip(PASSES, map(np.asarray, (y, *pull(wide[2]))), strict=True))
  return {
    backend: {
      name: float(np.abs(np.asarray(one()) - wanted[name]).max())
      / float(np.abs(wanted[name]).max())
      for name, one in jax_passes(case, backend).items()
    }
    for backend in (OURS, XLA)
  }


def timed(case: Case, rounds: int) -> dict[str, Any]:
  """Returns the times of all passes and variants of a case."""
  passes = {OURS: jax_passes(case, OURS), XLA: jax_passes(case, XLA)}
  passes |= {TORCH: found} if (found := torch_passes(case)) else {}
  found = {}
  for name in PASSES:
    variants = {who: Variant(of[name]) for who, of in passes.items()}
    times = measuring.interleaved(
      variants, rounds=rounds, calls=1, clock=time.process_time
    )
    found[name] = {who: dataclasses.asdict(t) for who, t in times.items()}
  print(f"timed: {case}", flush=True)
  return {"group": case.group, "case": str(case), "passes": found}


def ratios(row: Mapping[str, Any]) -> dict[str, float]:
  """Returns the time of each library relative to ours."""
  ours = row[OURS]["median"]
  return {who: times["median"] / ours for who, times in row.items() if who != OURS}


def table(results: Sequence[dict[str, Any]]) -> str:
  """Returns our times and the others' relative to them, as Markdown."""
  rows = []
  for result in results:
    cells = [f"{result['group']}: {result['case']}"]
    for name in PASSES:
      row = result["passes"][name]
      others = " / ".join(f"{value:.2f}" for value in ratios(row).values())
      cells.append(f"{1e3 * row[OURS]['median']:.3g} ms ({others})")
    rows.append(cells)
  return measuring.markdown(["ms (XLA / PyTorch, times as long)", *PASSES], rows)


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns geometric means of the ratios, for each pass and group of layers."""
  found: dict[str, dict[str, list[float]]] = {}
  for result in results:
    for name, row in result["passes"].items():
      for who, value in ratios(row).items():
        key = f"{result['group']}, {name}"
        found.setdefault(key, {}).setdefault(f"{who} / ours", []).append(value)
  return {
    key: {who: measuring.geometric_mean(values) for who, values in row.items()}
    for key, row in found.items()
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="the training run alone")
  parser.add_argument("--rounds", type=int, default=9, help="turns of each variant")
  parser.add_argument("--out", type=pathlib.Path, help="folder of results")
  options = parser.parse_args()
  measuring.start("cpu", 1)
  origin = measuring.machine("cpu", 1)
  cases = training()
  if not options.quick:
    cases += [*affunet(128, 4), *affunet(256, 1), *discriminator()]
  results = [timed(case, options.rounds) for case in cases]
  print(table(results))
  folder = options.out or (None if options.quick else EXPERIMENTS)
  if folder:
    result = {
      "machine": origin,
      "method": {
        "time": "s of the processor; median, quartiles (low, high), least, count",
        "turns": f"{options.rounds}, fewer where they would take over 3 s, at least 3",
        "threads": 1,
      },
      "geometric_means": summary(results),
      "largest_errors": {str(case): errors(case) for case in training()},
      "results": results,
    }
    measuring.write_json(folder / "results" / "bench_conv_cpu.json", result)


if __name__ == "__main__":
  main()
