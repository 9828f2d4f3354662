"""Times affine convolution against plain convolution and against PyTorch.

  python -m experiments.benchmarks.affine_conv [--quick] [--device cpu|gpu]
    [--out FOLDER]

Stride-2 layers of AffUNet, kernel 3 x 3. Prints tables and writes
`results/bench_affine_conv_DEVICE.json` and `figures/bench_affine_conv_DEVICE.png` to
`experiments` or to `--out`; `--quick` is a trial on tiny shapes and writes only where
`--out` says. `--profile` says instead where a layer's time goes. Needs PyTorch for
PyTorch's rows, torchvision for `deform_conv2d`, matplotlib for the plot.

All libraries get the same cores (`--threads`, 2) and take turns in one process, see
`measuring.py`. CPU: a time is one call, dispatch included. GPU: a time is a share of 20
in one program (XLA's loop, a CUDA graph for PyTorch), so nearly without dispatch;
float32 products may round to TF32 in all libraries. Roofline: the larger of matrix
operations / the fastest large matmul measured here and of unavoidable bytes / the speed
of a copy; backward counts as two forwards. Peak memory: see
`affine_conv_variants.peak_memory`. About eight minutes on two CPU cores.
"""

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from experiments.benchmarks import affine_conv_variants as variants
from experiments.benchmarks import measuring
from experiments.benchmarks.affine_conv_variants import DIRECTIONS, PLAIN, Case

EXPERIMENTS = pathlib.Path(__file__).parents[1]
LAYERS = ((256, 32, 64), (128, 64, 128), (64, 128, 256))
SLOW = ("affjax literal",)


def cases(device: str, *, quick: bool) -> list[Case]:
  """The shapes of a run."""
  if quick:
    return [Case(1, size // 4, inner, outer) for size, inner, outer in LAYERS]
  batches = (1, 4, 16) if device == "gpu" else (1, 4)
  dtypes = ("float32", "bfloat16") if device == "gpu" else ("float32",)
  return [
    Case(batch, size, inner, outer, dtype)
    for batch in batches
    for dtype in dtypes
    for size, inner, outer in LAYERS
  ]


def roofline_s(case: Case, direction: str, probes: Mapping[str, Any]) -> float:
  """The least time that the machine's measured limits allow."""
  rate = max(p["rate"] for name, p in probes.items() if name != "copy")
  return max(
    case.flops(direction) / rate, case.traffic(direction) / probes["copy"]["rate"]
  )


def timed(case: Case, direction: str, options) -> dict[str, Any]:
  """Times of all variants of a case, and of the machine's limits beside them."""
  work = variants.roofline_probes(case.dtype, options.device, quick=options.quick)
  table = {name: variant for name, (variant, _) in work.items()}
  for name in variants.names(options.device):
    # The definition's gradients of a large batch do not fit into a GPU.
    if name in SLOW and (
      case.batch > 4 or (case.batch > 1 and options.device == "gpu")
    ):
      continue
    table[name] = variants.make(name, case, direction, options.device)
  times = measuring.interleaved(table, rounds=options.rounds, slow=SLOW)
  probes = {
    name: {"seconds": times.pop(name), "rate": amount}
    for name, (_, amount) in work.items()
  }
  for probe in probes.values():
    probe["rate"] /= probe["seconds"].median
  limit = roofline_s(case, direction, probes)
  return {
    "case": case._asdict(),
    "direction": direction,
    "probes": probes,
    "roofline_s": limit,
    "variants": {
      name: {**dataclasses.asdict(t), "roofline_share": limit / t.median}
      for name, t in times.items()
    },
  }


def with_memory(results: list[dict[str, Any]], options) -> None:
  """Adds to each variant its peak memory, each measured in a process of its own."""
  places, jobs = [], []
  largest = max(result["case"]["batch"] for result in results)
  for result in results:
    case = Case(**result["case"])
    if result["direction"] == "forward" and case.batch < largest:
      continue  # the largest batch shows how memory grows
    for name in result["variants"]:
      if name in SLOW and result["case"]["batch"] > 1:
        continue  # gigabytes, and half a minute each
      places.append((result, name))
      of = json.dumps([name, case, result["direction"]])
      where = ("--device", options.device, "--threads", str(options.threads))
      jobs.append(["--memory-of", of, *where])
  found = measuring.children(str(pathlib.Path(__file__).resolve()), jobs)
  for (result, name), memory in zip(places, found, strict=True):
    result["variants"][name]["peak_mib"] = memory


def bytes_of(row: Mapping[str, Any], device: str) -> float | None:
  """A variant's peak memory, MiB: resident on the CPU, allocated or planned else."""
  memory = row.get("peak_mib") or {}
  order = ("resident",) if device == "cpu" else ("allocated", "planned")
  return next((memory[key] for key in order if key in memory), None)


# Results.


def best_torch(rows: Mapping[str, Any]) -> float | None:
  """The least median of PyTorch's grid_sample forms."""
  found = [
    row["median"]
    for name, row in rows.items()
    if name.startswith("PyTorch") and name != variants.DEFORMABLE
  ]
  return min(found, default=None)


def targets(results: Sequence[Mapping[str, Any]], device: str) -> list[dict[str, Any]]:
  """The geometric means over the shapes that the project set itself as targets."""
  own = variants.ours(device)

  def mean(direction: str, ratio, dtype: str = "float32") -> float:
    found = []
    for result in results:
      if result["direction"] == direction and result["case"]["dtype"] == dtype:
        value = ratio(result["variants"], result["variants"][own])
        found += [value] if value else []
    return measuring.geometric_mean(found)

  def over(name: str):
    found = lambda rows: rows[name]["median"] if name in rows else None
    return lambda rows, row: found(rows) and found(rows) / row["median"]

  def memory(rows, row):
    mine, plain = (bytes_of(r, device) for r in (row, rows[PLAIN]))
    return mine / plain if mine and plain else None

  torch = lambda rows, row: best_torch(rows) and best_torch(rows) / row["median"]
  plain = lambda rows, row: row["median"] / rows[PLAIN]["median"]
  forward, both = DIRECTIONS
  rows = [
    ("forward: best PyTorch form / ours", mean(forward, torch), ">=", 3.5),
    ("forward+backward: best PyTorch form / ours", mean(both, torch), ">=", 3.0),
    ("forward: ours / XLA's plain convolution", mean(forward, plain), "<=", 1.0),
    ("forward+backward: ours / XLA's plain", mean(both, plain), "<=", 1.15),
    ("peak memory, f+b: ours / XLA's plain", mean(both, memory), "<=", 1.0),
  ]
  if device == "gpu":
    deformable = over(variants.DEFORMABLE)
    half = "bfloat16"
    rows += [
      ("f32 forward: deform_conv2d / ours", mean(forward, deformable), ">=", 4.0),
      ("f32 f+b: deform_conv2d / ours", mean(both, deformable), ">=", 3.0),
      ("16 bit forward: deform / ours", mean(forward, deformable, half), ">=", 2.0),
      ("16 bit f+b: deform / ours", mean(both, deformable, half), ">=", 3.0),
    ]
  met = lambda value, sign, goal: value >= goal if sign == ">=" else value <= goal
  return [
    {
      "what": what,
      "value": value,
      "target": f"{sign} {goal}",
      "met": met(value, sign, goal) if value == value else None,
    }
    for what, value, sign, goal in rows
  ]


def tables(results: Sequence[Mapping[str, Any]], device: str) -> str:
  """Times, shares of the roofline and memory, a table a direction, as Markdown."""
  parts = []
  for direction in DIRECTIONS:
    chosen = [r for r in results if r["direction"] == direction]
    names = list(dict.fromkeys(name for r in chosen for name in r["variants"]))
    header = [direction, *(str(Case(**r["case"])) for r in chosen)]
    cell = lambda r, name: _cell(r["variants"].get(name), device)
    rows = [[name, *(cell(r, name) for r in chosen)] for name in names]
    parts.append(measuring.markdown(header, rows))
  return "\n\n".join(parts)


def _cell(row: Mapping[str, Any] | None, device: str) -> str:
  if row is None:
    return "–"
  memory = bytes_of(row, device)
  tail = "" if memory is None else f", {memory:.0f} MiB"
  spread = (row["high"] - row["low"]) / 2
  share = row["roofline_share"]
  return f"{1e3 * row['median']:.3g} ± {1e3 * spread:.2g} ms, {share:.0%}{tail}"


def target_table(rows: Sequence[Mapping[str, Any]]) -> str:
  """The targets as Markdown."""
  said = {True: "met", False: "**missed**", None: "not measured"}
  cells = [
    [row["what"], f"{row['value']:.2f}", row["target"], said[row["met"]]]
    for row in rows
  ]
  return measuring.markdown(["geometric mean", "measured", "target", ""], cells)


def plot(results: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
  """Bars: each variant's time over that of XLA's plain convolution."""
  pyplot = measuring.pyplot()
  if pyplot is None:
    return
  figure, axes = pyplot.subplots(2, 1, figsize=(11, 8), constrained_layout=True)
  for axis, direction in zip(axes, DIRECTIONS, strict=True):
    chosen = [r for r in results if r["direction"] == direction]
    names = list(dict.fromkeys(name for r in chosen for name in r["variants"]))
    width = 0.85 / len(names)
    for k, name in enumerate(names):
      rows = [(i, r["variants"]) for i, r in enumerate(chosen) if name in r["variants"]]
      place = [i + (k - len(names) / 2 + 0.5) * width for i, _ in rows]
      ratio = [v[name]["median"] / v[PLAIN]["median"] for _, v in rows]
      axis.bar(place, ratio, width, label=name, color=_color(name, names, pyplot))
    axis.axhline(1, color="0.3", linewidth=0.8)
    axis.set_yscale("log")
    axis.set_ylabel(f"{direction}\ntime / plain convolution (XLA)")
    labels = [str(Case(**r["case"])) for r in chosen]
    axis.set_xticks(range(len(chosen)), labels, rotation=20 if len(chosen) > 6 else 0)
  figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside lower center", ncol=4
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def _color(name: str, names: Sequence[str], pyplot) -> Any:
  """Returns grays for plain convolutions, blues for PyTorch's forms, reds for ours."""
  maps = {"plain": "Greys", "PyTorch": "Blues", "affjax": "Reds"}
  family = name.split()[0]
  alike = [other for other in names if other.split()[0] == family]
  return pyplot.get_cmap(maps[family])(
    0.35 + 0.5 * (alike.index(name) + 1) / len(alike)
  )


def profile(options) -> None:
  """Prints what the parts of a layer take: predicting theta, sampling, the product."""
  from experiments.benchmarks import layer_profile

  print(layer_profile.table(cases(options.device, quick=options.quick), options))


def measured(options) -> Iterator[dict[str, Any]]:
  """Yields the run so far as it is written to JSON, after each case and at the end."""
  origin = measuring.machine(options.device, options.threads)
  results: list[dict[str, Any]] = []
  so_far = lambda: {
    "machine": origin,
    "method": {
      "warm_up": "a round, then one call a turn, not counted",
      "turns": f"{options.rounds}; 3 and more where they would take over 3 s",
      "counted_calls_a_turn": 2,
      "turns_of_slow_variants": 2,
      "seed": 0,
      "time": "s; median, quartiles (low, high), least, count",
      "ours": variants.ours(options.device),
    },
    "targets": targets(results, options.device),
    "results": results,
  }
  for case in cases(options.device, quick=options.quick):
    for direction in DIRECTIONS:
      results.append(timed(case, direction, options))
      print(f"timed: {case}, {direction}", flush=True)
    yield so_far()
  if options.memory:
    with_memory(results, options)
    yield so_far()


def parsed(arguments: Sequence[str] | None = None):
  """The command line."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="a trial on tiny shapes")
  parser.add_argument("--profile", action="store_true", help="the parts of a layer")
  parser.add_argument("--no-memory", dest="memory", action="store_false")
  parser.add_argument(
    "--device", choices=("cpu", "gpu"), help="JAX's default if absent"
  )
  parser.add_argument("--threads", type=int, default=2, help="CPU cores used")
  parser.add_argument("--rounds", type=int, help="turns of each variant")
  parser.add_argument("--out", type=pathlib.Path, help="folder of results and figures")
  parser.add_argument("--memory-of", help=argparse.SUPPRESS)
  options = parser.parse_args(arguments)
  options.rounds = options.rounds or (3 if options.quick else 12)
  return options


def main() -> None:
  options = parsed()
  options.device = measuring.start(options.device, options.threads)
  if options.memory_of:
    name, case, direction = json.loads(options.memory_of)
    print(
      json.dumps(variants.peak_memory(name, Case(*case), direction, options.device))
    )
    return
  if options.profile:
    profile(options)
    return
  folder = options.out or (None if options.quick else EXPERIMENTS)
  name = f"bench_affine_conv_{options.device}"
  result: dict[str, Any] = {}
  for result in measured(options):
    if folder:
      measuring.write_json(folder / "results" / f"{name}.json", result)
  print(tables(result["results"], options.device))
  print(f"\nours = {variants.ours(options.device)} on {result['machine']['device']}")
  print(target_table(result["targets"]))
  if folder:
    plot(result["results"], folder / "figures" / f"{name}.png")


if __name__ == "__main__":
  jax.config.update("jax_numpy_rank_promotion", "raise")
  main()
