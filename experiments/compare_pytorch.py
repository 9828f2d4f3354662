"""Compares affjax with the method in PyTorch: values, gradients, training, seconds.

  python -m experiments.compare_pytorch [--size 64] [--batch 2] [--width 8]

Weights go from affjax to PyTorch and back through a `.safetensors` file. For each of
the paper's stages, with the same weights and synthetic photos, it compares the
predictions, each loss term and the gradients by every parameter with PyTorch's in
double precision. Then come 20 updates in single precision: each from the weights and
moments that affjax has then ("updates"), and all from one start ("run"). An update of
both is timed in turns, by CPU time if `--threads` is 1; compilation and first call
stand apart. With a cache of compiled programs (JAX_COMPILATION_CACHE_DIR) only the
first run tells how long compilation takes. Prints a table and writes
`results/compare_pytorch_SIZE.json` after each part; the same command goes on with the
parts that the file lacks, or with those of them that `--parts` names.

The networks are the paper's architecture; `--width` is that of the position and the
diffuse network, and the others are narrower or wider in the configs' ratio. PyTorch's
affine convolution is tried in each form of `pytorch_reference.affine_conv`, of which
the fastest counts. About ten minutes on one CPU core at the defaults. Needs the extra
`reference`.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Variant
from experiments.pytorch_reference import affine_conv, comparison, updates
from experiments.pytorch_reference.comparison import Case, Record
from experiments.pytorch_reference.updates import Affjax, PyTorch

RESULTS = pathlib.Path(__file__).parent / "results"
STAGES = ("stage1", "stage2", "stage3")
PARTS = (
  "transplanted",
  "errors",
  "rounding",
  "errors_antialiased",
  "compile_s",
  "updates",
  "run",
  "seconds",
  "run_rounding",
)
# PyTorch in single precision against PyTorch in double precision.
ROUNDING = {
  "rounding": "gradients, PyTorch by itself",
  "run_rounding": "run, PyTorch by itself",
}
# Largest relative errors, and the least ratio of PyTorch's seconds to affjax's.
TARGETS = {**comparison.TARGETS, "speed": 1.8}


def seconds(
  case: Case, ours: Affjax, records: Sequence[Record], options: argparse.Namespace
) -> dict[str, Any]:
  """Times an update of both sides in turns, with batches that are in place."""
  variants = {"affjax": _variant(ours.step, [ours.placed(r) for r in records])}
  for name, form in affine_conv.forms().items():
    step = PyTorch(case.trainer(form)).step
    variants[f"PyTorch, {name}"] = _variant(step, records)
  clock = clock_of(options.threads)
  first = {name: _timed(variant.run, clock) for name, variant in variants.items()}
  times = measuring.interleaved(
    variants, rounds=options.rounds, calls=1, most_s=30, clock=clock
  )
  fastest = min((n for n in times if n != "affjax"), key=lambda n: times[n].median)
  return {
    "first_call_s": first,
    "update_s": {name: dataclasses.asdict(t) for name, t in times.items()},
    "fastest": fastest,
    "ratio": times[fastest].median / times["affjax"].median,
  }


def _variant(step: Callable[[Any], Any], records: Sequence[Any]) -> Variant:
  turn = itertools.cycle(records)
  return Variant(lambda: step(next(turn)))


def _timed(run: Callable[[], Any], clock: Callable[[], float]) -> float:
  start = clock()
  run()
  return clock() - start


def clock_of(threads: int) -> Callable[[], float]:
  """Returns the clock: CPU time for one thread, whose core others may use as well."""
  return time.process_time if threads == 1 else time.perf_counter


# The report.


def worst(errors: Mapping[str, float]) -> tuple[float, str]:
  """Returns the largest error and its name."""
  name = max(errors, key=lambda name: errors[name])
  return errors[name], name


class StageComparison:
  """The comparison of one stage, in parts of which each can be a run of its own.

  Args:
    name: The stage.
    options: The options of the command line.
  """

  def __init__(self, name: str, options: argparse.Namespace):
    self.name, self.options = name, options
    config = comparison.configured(
      name, size=options.size, batch=options.batch, width=options.width
    )
    self.records = comparison.batches(config)
    self.case = comparison.case(config, options.steps)

  @functools.cached_property
  def ours(self) -> Affjax:
    """affjax's compiled update, from the beginning."""
    clock = clock_of(self.options.threads)
    return Affjax(self.case, self.records[0], clock)

  def transplanted(self) -> bool:
    """Returns whether weights come back from PyTorch as they were."""
    return comparison.transplanted(self.case)

  def errors(self) -> dict[str, dict[str, float]]:
    """Returns the errors of outputs, losses and gradients."""
    return checked(self.case, self.records[0])

  def rounding(self) -> dict[str, float]:
    """Returns the errors of PyTorch's gradients in single precision."""
    return worst_of_each(comparison.rounded(self.case, self.records[0]))

  def errors_antialiased(self) -> dict[str, dict[str, float]]:
    """Returns the same with gradients through silhouettes; empty but for stage 3."""
    if self.name != "stage3":  # which has every term
      return {}
    learner = dataclasses.replace(self.case.learner, antialias=True)
    return checked(dataclasses.replace(self.case, learner=learner), self.records[0])

  def compile_s(self) -> float:
    """Returns the seconds that the compilation of affjax's update takes."""
    return self.ours.compile_s

  def updates(self) -> dict[str, Any]:
    """Returns how far losses and changes of updates from common states are apart."""
    history, changes = updates.from_common_states(*self._sides())
    return {"losses": updates.deviations(history), "changes of weights": changes}

  def run(self) -> dict[str, Any]:
    """Returns how far losses and weights are apart on the way from a common start."""
    history, weights = updates.from_one_start(*self._sides())
    return {
      "losses": updates.deviations(history),
      "weights": weights,
      "totals": [at["total"] for at in history],
    }

  def run_rounding(self) -> dict[str, float]:
    """Returns how far PyTorch in single precision gets from that in double."""
    count = self.options.steps
    history = updates.by_precision(self.case, self.records, count)
    return updates.deviations(history)

  def _sides(self) -> tuple[Affjax, PyTorch, list[Record], int]:
    theirs = PyTorch(self.case.trainer())
    return self.ours.fresh(self.case), theirs, self.records, self.options.steps

  def seconds(self) -> dict[str, Any]:
    """Returns the seconds of an update of both sides."""
    found = seconds(self.case, self.ours, self.records, self.options)
    return {"machine": machine(self.options), **found}


def machine(options: argparse.Namespace) -> dict[str, Any]:
  """Returns the machine, the cores that the process may use, and a remark on it."""
  found = measuring.machine("cpu", options.threads)
  cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
  return {**found, "pinned_to": cores, "note": options.note}


def checked(case: Case, record: Record) -> dict[str, dict[str, float]]:
  """Returns the errors, of the gradients those of each network's worst parameter."""
  errors = comparison.compared(case, record)
  return {**errors, "gradients": worst_of_each(errors["gradients"])}


def worst_of_each(errors: Mapping[str, float]) -> dict[str, float]:
  """Returns the largest error among the parameters of each network."""
  networks: dict[str, dict[str, float]] = {}
  for name, error in errors.items():
    networks.setdefault(name.partition(".")[0], {})[name] = error
  return dict(reversed(worst(of_one)) for of_one in networks.values())


def verdicts(result: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
  """Returns the largest error of each kind, or the ratio of seconds, and its name."""
  found = {}
  checks = [result.get("errors", {}), result.get("errors_antialiased", {})]
  for kind in ("outputs", "losses", "gradients"):
    errors = [worst(errors[kind]) for errors in checks if errors]
    if errors:
      found[kind] = max(errors)
  for kind, of_weights in (("updates", "changes of weights"), ("run", "weights")):
    if kind in result:
      named = {f"{of_weights}, {k}": v for k, v in result[kind][of_weights].items()}
      found[kind] = worst(result[kind]["losses"] | named)
  if "seconds" in result:
    found["speed"] = (result["seconds"]["ratio"], result["seconds"]["fastest"])
  return found


def met(kind: str, value: float) -> bool:
  """Returns whether a target is reached."""
  return value >= TARGETS[kind] if kind == "speed" else value <= TARGETS[kind]


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
  """Returns the largest errors and the seconds as Markdown, a column for each stage."""
  cells: dict[tuple[str, str], dict[str, str]] = {}
  for stage, result in results.items():
    for row, text in _cells(result).items():
      cells.setdefault(row, {})[stage] = text
  rows = [[*row, *(texts.get(s, "") for s in results)] for row, texts in cells.items()]
  return measuring.markdown(["", "target", *results], rows)


def _cells(result: Mapping[str, Any]) -> dict[tuple[str, str], str]:
  """Returns what the table says of a stage, by the row's name and target."""
  found = {}
  for kind, (value, name) in verdicts(result).items():
    sign, unit = ("≥", "×") if kind == "speed" else ("≤", "")
    shown = f"{value:.2f}" if kind == "speed" else f"{value:.1e}"
    missed = "" if met(kind, value) else "**missed:** "
    row = kind, f"{sign} {TARGETS[kind]:g}{unit}"
    found[row] = f"{missed}{shown}{unit} ({name})"
  for kind, of in ROUNDING.items():
    if kind in result:
      value, name = worst(result[kind])
      found[of, ""] = f"{value:.1e} ({name})"
  if "compile_s" in result:
    found["affjax: compilation", ""] = f"{result['compile_s']:.1f} s"
  times = result.get("seconds", {"first_call_s": {}, "update_s": {}})
  for name, value in times["first_call_s"].items():
    found[f"{name}: first call", ""] = f"{value:.2f} s"
  for name, value in times["update_s"].items():
    found[f"{name}: an update", ""] = f"{1e3 * value['median']:.3g} ms"
  return found


def summed_up(
  method: Mapping[str, Any],
  machine: Mapping[str, Any],
  results: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """Returns the content of the JSON file."""
  verdict = {
    stage: {
      kind: {"value": value, "where": where, "met": met(kind, value)}
      for kind, (value, where) in verdicts(result).items()
    }
    for stage, result in results.items()
  }
  return {
    "machine": machine,
    "method": method,
    "targets": TARGETS,
    "verdicts": verdict,
    "results": results,
  }


def known(path: pathlib.Path, method: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the results that a file of the same method holds, by stage and part."""
  if not path.exists():
    return {}
  found = json.loads(path.read_text())
  return found["results"] if found["method"] == method else {}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--size", type=int, default=64, help="side of photos, px")
  parser.add_argument("--batch", type=int, default=2, help="photos in a batch")
  parser.add_argument("--width", type=int, default=8, help="width of the networks")
  parser.add_argument("--steps", type=int, default=20, help="updates to compare")
  parser.add_argument("--rounds", type=int, default=9, help="turns of each variant")
  parser.add_argument("--threads", type=int, default=2, help="CPU cores used")
  parser.add_argument("--note", default="", help="remark on the machine, for the file")
  parser.add_argument("--stages", nargs="+", default=STAGES, choices=STAGES)
  parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
  parser.add_argument("--out", type=pathlib.Path, default=RESULTS, help="folder")
  options = parser.parse_args()
  measuring.start("cpu", options.threads)
  method = {
    "size": options.size,
    "batch": options.batch,
    "width": options.width,
    "updates": options.steps,
    "turns": options.rounds,
    "threads": options.threads,
    "dtype": "float32; PyTorch in float64 for outputs, losses and gradients",
    "weights": f"seed 0, plus noise of standard deviation {comparison.STIR}",
    "time": "s; median, quartiles (low, high), least, count",
    "clock": clock_of(options.threads).__name__,
  }
  path = options.out / f"compare_pytorch_{options.size}.json"
  results = known(path, method)
  for name in options.stages:
    missing = [part for part in options.parts if part not in results.get(name, {})]
    stage = StageComparison(name, options) if missing else None
    for part in missing:
      found = results.setdefault(name, {})
      found[part] = getattr(stage, part)()
      measuring.write_json(path, summed_up(method, machine(options), results))
      print(f"{name}: {part}", flush=True)
  print(table(results))


if __name__ == "__main__":
  main()
