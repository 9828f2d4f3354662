"""What the runs say: tables, one JSON file, and learning curves."""

import itertools
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.alignment import plan, tasks
from experiments.benchmarks import measuring

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
PICTURES = ROOT / "docs" / "images"

Results = Sequence[Mapping[str, Any]]


def write(root: pathlib.Path, name: str) -> None:
  """Prints the tables of the runs in a folder; writes the JSON file and the picture.

  Args:
    root: Folder of the runs.
    name: Name of the two files, without their ends.

  Raises:
    ValueError: The folder holds no runs, or runs of several settings.
  """
  results = [result for _, result in plan.results(root)]
  trained = [result for result in results if "curve" in result]
  if not trained:
    raise ValueError(f"--out {root} holds no runs")
  if any(result["settings"] != trained[0]["settings"] for result in results):
    raise ValueError(f"--out {root} holds runs of several settings")
  summary = {
    "settings": trained[0]["settings"],
    "machine": trained[0]["machine"],
    "rows": rows(results),
  }
  measuring.write_json(RESULTS / f"{name}.json", summary)
  for task in tasks.TABLE:
    if part := [row for row in summary["rows"] if row["task"] == task]:
      print(f"\n{task}\n\n{table(task, part)}")
  try:
    draw(trained, PICTURES / f"{name}.png")
  except ImportError as error:
    print(f"no learning curves were drawn: {error}")


def rows(results: Results) -> list[dict[str, Any]]:
  """Returns a row for each task and architecture: mean and spread over the seeds.

  The order is that of the tasks, then of the names.
  """
  kind = lambda result: (result["task"], result["architecture"])
  groups = [
    list(group) for _, group in itertools.groupby(sorted(results, key=kind), key=kind)
  ]
  order = list(tasks.TABLE)
  return sorted(map(_row, groups), key=lambda row: order.index(row["task"]))


def _row(group: Results) -> dict[str, Any]:
  """Returns the row of runs that differ in their seed."""
  first = group[0]
  names = first["errors"]
  found = {name: [run["errors"][name] for run in group] for name in names}
  row = {
    "task": first["task"],
    "architecture": first["architecture"],
    "seeds": sorted(run["seed"] for run in group),
    "mean": {name: statistics.mean(values) for name, values in found.items()},
    "deviation": {name: _deviation(values) for name, values in found.items()},
  }
  if "curve" not in first:
    return row
  middle = lambda values: statistics.median(values)
  layers = zip(*(run["sampling_px_of_64"] for run in group), strict=True)
  return {
    **row,
    "parameters": first["parameters"],
    "cpu_seconds_a_step": middle([run["seconds_a_step"]["cpu"] for run in group]),
    "sampling_px_of_64": [middle(layer) for layer in layers],
    "curve": mean_curve(group),
  }


def _deviation(values: Sequence[float]) -> float | None:
  return statistics.stdev(values) if len(values) > 1 else None


def mean_curve(group: Results) -> list[tuple[int, float]]:
  """Returns the mean learning curve of runs: step and error."""
  points = zip(*(run["curve"] for run in group), strict=True)
  return [
    (int(point[0][0]), statistics.mean(error for _, error in point)) for point in points
  ]


def table(task: str, part: Results) -> str:
  """Returns the table of a task, the rows without a network first."""
  units = tasks.TABLE[task].units
  header = [task, "seeds", *units.values(), "parameters", "ms a step"]
  header.append("layers 1 to 4 look beside the texel by, px of 64")
  ordered = sorted(part, key=lambda row: "parameters" in row)
  return measuring.markdown(header, [_cells(row, units) for row in ordered])


def _cells(row: Mapping[str, Any], units: Mapping[str, str]) -> list[str]:
  errors = [_with_spread(row["mean"][name], row["deviation"][name]) for name in units]
  if "parameters" not in row:
    return [row["architecture"], "", *errors, "", "", ""]
  return [
    f"`{row['architecture']}`",
    str(len(row["seeds"])),
    *errors,
    f"{row['parameters']:,}",
    f"{1000 * row['cpu_seconds_a_step']:.0f}",
    ", ".join(f"{away:.1f}" for away in row["sampling_px_of_64"]),
  ]


def _with_spread(mean: float, deviation: float | None) -> str:
  return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def draw(results: Results, path: pathlib.Path) -> None:
  """Draws learning curves: a thin line for each seed, a thick one for the mean."""
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  names = [name for name in tasks.TABLE if any(r["task"] == name for r in results)]
  figure, axes = pyplot.subplots(
    1, len(names), figsize=(5 * len(names), 4.2), layout="constrained", squeeze=False
  )
  kinds = sorted({result["architecture"] for result in results})
  for axis, name in zip(axes[0], names, strict=True):
    task = tasks.TABLE[name]
    for number, kind in enumerate(kinds):
      runs = [r for r in results if (r["task"], r["architecture"]) == (name, kind)]
      if not runs:
        continue
      for run in runs:
        axis.plot(*zip(*run["curve"], strict=True), color=f"C{number}", alpha=0.3, lw=1)
      mean = zip(*mean_curve(runs), strict=True)
      axis.plot(*mean, color=f"C{number}", lw=2, label=kind)
    axis.set(title=name, xlabel="step", ylabel=task.units[task.curve])
    axis.grid(alpha=0.3)
  axes[0][0].legend(frameon=False, fontsize=8)
  path.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)
