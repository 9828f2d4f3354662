"""Times the whole AffUNet against the network with plain convolutions, and PyTorch.

  python -m experiments.benchmarks.network [--quick] [--device cpu|gpu] [--out FOLDER]

The network of 1.76 M parameters (width 32) at 512²; one network, batch 1, float32 on a
CPU; on a GPU also batch 8 and bfloat16, and the position and the diffuse network in one
program. Forward, and forward+backward (the gradient of the mean square by all
parameters). The matrices of the affine layers are predicted, from predictors that were
stirred so that they warp. Prints a table, writes `results/bench_network_DEVICE.json`.
`--quick` is a trial at 64² that writes only where `--out` says. How it is timed:
`measuring.py`; on a GPU a time is a share of 20 in one program. About three minutes on
two CPU cores.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affjax.models import EncoderConfig, _architectures, _params, architecture
from experiments.benchmarks import affine_conv_variants as variants
from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Variant

EXPERIMENTS = pathlib.Path(__file__).parents[1]
AFFINE, PLAIN, PLAIN_XLA = "affine", "plain", "plain, gradients by XLA"
TORCH = "affine, PyTorch"
FORWARD, BOTH = "forward", "forward+backward"


@dataclasses.dataclass(frozen=True)
class Case:
  """A case: `batch` photos of `size`² through `networks` networks."""

  batch: int
  size: int
  dtype: str = "float32"
  networks: int = 1

  def __str__(self) -> str:
    nets = "" if self.networks == 1 else f", {self.networks} networks"
    return f"{self.size}² ×{self.batch} {self.dtype}{nets}"


def cases(device: str, *, quick: bool) -> list[Case]:
  """Returns the cases of a run."""
  size = 64 if quick else 512
  if device == "cpu":
    return [Case(1, size)]
  return [
    Case(batch, size, dtype, networks)
    for batch, networks in ((1, 2), (8, 2), (1, 1), (8, 1))
    for dtype in ("bfloat16", "float32")
  ]


def network(case: Case, *, affine: bool):
  """Definition and stirred parameters of each network."""
  row = architecture("paper" if affine else "plain")
  definition = _architectures.define(row, EncoderConfig(dtype=case.dtype))
  weights = []
  for seed in range(case.networks):
    rng = np.random.default_rng(seed)
    stir = lambda v, rng=rng: v + 0.02 * rng.standard_normal(v.shape, np.float32)
    weights.append(jax.tree.map(stir, _params.init(definition, seed)))
  return definition, weights


def photos(case: Case) -> np.ndarray:
  """Random photos `[N, H, W, 3]`."""
  shape = (case.batch, case.size, case.size, 3)
  return np.random.default_rng(0).random(shape, np.float32)


def jax_variant(case: Case, direction: str, device: str, *, affine: bool) -> Variant:
  """Ours, compiled."""
  definition, weights = network(case, affine=affine)
  forward = lambda x, w: [_params.apply(definition, one, x) for one in w]
  run: Callable = forward
  if direction == BOTH:
    loss = lambda x, w: sum(jnp.mean(y * y) for y in forward(x, w))
    run = jax.value_and_grad(loss, 1)
  repeats = variants.GPU_REPEATS if device == "gpu" else 1
  run = variants.repeated(run, repeats) if repeats > 1 else run
  args = jax.block_until_ready((jnp.asarray(photos(case)), weights))
  compiled = jax.jit(run).lower(*args).compile()
  return Variant(lambda: jax.block_until_ready(compiled(*args)), repeats)


def torch_variants(case: Case, direction: str, device: str) -> dict[str, Variant]:
  """PyTorch's network in each of its forms that can run; none without PyTorch."""
  if not variants.has_torch(device):
    return {}
  import torch

  from experiments.pytorch_reference import affine_conv, networks, weights

  where = torch.device("cuda" if device == "gpu" else "cpu")
  dtype = getattr(torch, case.dtype)
  _, params = network(case, affine=True)
  images = torch.tensor(photos(case)).to(where, dtype)

  def made(form) -> torch.nn.ModuleList:
    nets = torch.nn.ModuleList(networks.AffUNet(form=form) for _ in params)
    for net, values in zip(nets, params, strict=True):
      net.load_state_dict(weights.to_state(values))
    return nets.to(where, dtype, memory_format=torch.channels_last)

  def run(nets) -> None:
    with torch.set_grad_enabled(direction == BOTH):
      out = [net(images) for net in nets]
      if direction == BOTH:
        total = sum(y.float().square().mean() for y in out)
        torch.autograd.grad(total, list(nets.parameters()))

  def variant(form) -> Variant:
    once = functools.partial(run, made(form))
    if device == "cpu":
      return Variant(once)
    return variants.torch_gpu_variant(once)

  return {
    f"{TORCH}, {name}": variant(form)
    for name, form in affine_conv.forms().items()
    # torchvision knows no bfloat16.
    if case.dtype == "float32" or form is not affine_conv.deformable
  }


def plain_gradients_by_xla(make: Callable[[], Variant]) -> Variant:
  """A variant compiled without our kernels."""
  from affjax.native import dispatch

  ready = dispatch.ready_platforms
  dispatch.ready_platforms = lambda name: ()
  try:
    return make()
  finally:
    dispatch.ready_platforms = ready


def timed(case: Case, direction: str, options) -> dict[str, Any]:
  """Times of all variants of a case."""
  make = functools.partial(jax_variant, case, direction, options.device)
  plain = functools.partial(make, affine=False)
  table = {AFFINE: make(affine=True), PLAIN: plain()}
  if direction == BOTH and options.device == "cpu":
    table[PLAIN_XLA] = plain_gradients_by_xla(plain)
  table |= torch_variants(case, direction, options.device)
  times = measuring.interleaved(table, rounds=options.rounds, calls=1, most_s=12)
  print(f"timed: {case}, {direction}", flush=True)
  found = {name: dataclasses.asdict(t) for name, t in times.items()}
  return {"case": str(case), "direction": direction, "variants": found}


def table(results: Sequence[dict[str, Any]]) -> str:
  """Medians and their ratio to the affine network's, as Markdown."""
  rows = []
  for result in results:
    own = result["variants"][AFFINE]["median"]
    for name, row in result["variants"].items():
      spread = 1e3 * (row["high"] - row["low"]) / 2
      rows.append(
        [
          f"{result['case']}, {result['direction']}: {name}",
          f"{1e3 * row['median']:.4g} ± {spread:.2g} ms",
          f"{row['median'] / own:.2f}",
        ]
      )
  return measuring.markdown(["", "time", "time / affine"], rows)


def targets(results: Sequence[dict[str, Any]], device: str) -> list[dict[str, Any]]:
  """The project's targets for whole networks."""
  rows = []
  for result in results:
    times = {name: row["median"] for name, row in result["variants"].items()}
    if result["direction"] != FORWARD:
      continue
    ratio = times[AFFINE] / times[PLAIN]
    what = f"{result['case']}: affine / plain network, forward"
    rows.append({"what": what, "value": ratio, "target": 1.03})
    if device == "gpu" and "×1 bfloat16, 2" in result["case"]:
      rows.append(
        {"what": "both networks, ms", "value": 1e3 * times[AFFINE], "target": 0.7}
      )
  return [{**row, "met": row["value"] <= row["target"]} for row in rows]


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="a trial at 64²")
  parser.add_argument("--device", choices=("cpu", "gpu"))
  parser.add_argument("--threads", type=int, default=2, help="CPU cores used")
  parser.add_argument("--rounds", type=int, help="turns of each variant")
  parser.add_argument("--out", type=pathlib.Path, help="folder of results")
  options = parser.parse_args()
  options.rounds = options.rounds or (2 if options.quick else 9)
  options.device = measuring.start(options.device, options.threads)
  origin = measuring.machine(options.device, options.threads)
  folder = options.out or (None if options.quick else EXPERIMENTS)
  results = []
  for case in cases(options.device, quick=options.quick):
    for direction in (FORWARD, BOTH):
      results.append(timed(case, direction, options))
      result = {
        "machine": origin,
        "method": {
          "warm_up": "a round, then one call a turn, not counted",
          "turns": f"{options.rounds}; 3 and more where they would take over 12 s",
          "counted_calls_a_turn": 1,
          "time": "s; median, quartiles (low, high), least, count",
        },
        "targets": targets(results, options.device),
        "results": results,
      }
      if folder:  # after each case, for a run that is interrupted
        name = f"bench_network_{options.device}.json"
        measuring.write_json(folder / "results" / name, result)
  print(table(results))
  print(json.dumps(targets(results, options.device), indent=1))


if __name__ == "__main__":
  main()
