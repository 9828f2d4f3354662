"""The tables as Markdown and JSON, the paper's numbers beside ours."""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.benchmarks import measuring
from experiments.paper import plan
from experiments.paper.plan import READY, VARIANTS, Run

RESULTS = pathlib.Path(__file__).parents[1] / "results"

# What each table has in its columns: measure of `affjax evaluate`, and title.
_IDENTITY = (
  ("identity cosine, canonical", "cosine ↑"),
  ("identity top-1", "top-1 ↑"),
  ("identity top-5", "top-5 ↑"),
)
COLUMNS = {
  1: (("SIDE, raw", "SIDE, 1e-2 ↓"), ("MAD, raw", "MAD, ° ↓")),
  2: _IDENTITY,
  3: _IDENTITY,
}
TITLES = {
  1: "Table 1: depth of the photo",
  2: "Table 2: identity in the canonical view",
  3: "Table 3: loss terms left out",
}
# The paper's numbers, in the order of the columns.
PAPER = {
  1: {
    "DECA": (2.486, 53.61),
    "3DDFAV2": (1.731, 46.79),
    "Deep3DFR": (1.074, 37.81),
    "Unsup3D": (1.423, 23.55),
    "Unsup3D with affine convolution": (1.367, 21.80),
    "AffUNet without affine convolution": (0.947, 39.62),
    "AffUNet": (0.721, 14.74),
  },
  2: {
    "Deep3DFR": (0.456, 0.846, 0.948),
    "Unsup3D": (0.393, 0.667, 0.897),
    "Unsup3D with affine convolution": (0.429, 0.744, 0.949),
    "LAP": (0.471, 0.923, 1.0),
    "AvatarMe": (0.416, 0.589, 0.923),
    "AffUNet without affine convolution": (0.386, 0.340, 0.59),
    "AffUNet": (0.484, 0.920, 1.0),
  },
  3: {
    "without L_perc": (0.317, 0.359, 0.716),
    "without L_sym": (0.361, 0.589, 0.769),
    "without L_std": (0.362, 0.641, 0.846),
    "without L_adv": (0.447, 0.794, 0.872),
    "AffUNet": (0.484, 0.920, 1.0),
  },
}
_MEAN = "the mean head"
_MISSING, _LATER = "bring its output", "not trained yet"

Values = Mapping[str, float | None]


def write(root: pathlib.Path, scale: str, runs: Sequence[Run]) -> str:
  """Writes `results/paper_SCALE.json` and returns the tables.

  Args:
    root: Folder of the runs.
    scale: Name of the scale.
    runs: All runs of the plan; those that are not done are left out.

  Raises:
    ValueError: No run is done.
  """
  found = rows(root, runs)
  if not found:
    raise ValueError(f"--out {root} holds no evaluation yet")
  result = {
    "scale": scale,
    "settings": vars(plan.SCALES[scale]),
    "machine": measuring.machine("cpu", 1),
    "rows": found,
  }
  measuring.write_json(RESULTS / f"paper_{scale}.json", result)
  return "\n\n".join(f"{TITLES[number]}\n\n{table(number, found)}" for number in TITLES)


def rows(root: pathlib.Path, runs: Sequence[Run]) -> list[dict[str, Any]]:
  """Returns a row for each variant that is done: mean and spread over its seeds."""
  names = dict.fromkeys(run.variant for run in runs)
  found, mean = [], None
  for name in names:
    files = [run.result(root) for run in runs if run.variant == name]
    done = [json.loads(file.read_text()) for file in files if file.exists()]
    if not done:
      continue
    own = [{k: row["mean"] for k, row in whole(result).items()} for result in done]
    mean = mean or {k: row["baseline"] for k, row in whole(done[0]).items()}
    found.append({**_named(name), "seeds": len(own), **_spread(own)})
    found[-1]["photos"] = [_judged(result) for result in done]
  if mean:
    found.insert(0, {"row": _MEAN, "tables": [1, 2], "seeds": 0, "mean": mean})
  return found


def _judged(result: Mapping[str, Any]) -> int:
  """Returns the number of photos with a head."""
  return result["photos"] - len(result["without_a_head"])


def _named(name: str) -> dict[str, Any]:
  if name in READY:
    return {"row": READY[name], "tables": [1, 2]}
  return {"row": VARIANTS[name].title, "tables": list(VARIANTS[name].tables)}


def whole(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
  """Returns the rows of an evaluation over all photos, by measure."""
  return {
    row["measure"]: row
    for row in result["rows"]
    if "part" not in row and "stratum" not in row
  }


def _spread(own: Sequence[Values]) -> dict[str, Any]:
  """Returns mean and standard deviation of each measure over the seeds."""
  known = lambda name: [v for run in own if (v := run.get(name)) is not None]
  values = {name: known(name) for name in own[0]}
  return {
    "mean": {k: statistics.fmean(v) if v else None for k, v in values.items()},
    "deviation": {
      k: statistics.stdev(v) if len(v) > 1 else None for k, v in values.items()
    },
  }


def table(number: int, found: Sequence[Mapping[str, Any]]) -> str:
  """Returns a table: our rows, then those of the paper that no run stands for."""
  columns = COLUMNS[number]
  ours = [row for row in found if number in row["tables"]]
  header = ["", "seeds, photos", *(title for _, title in columns), "the paper's"]
  cells = [[row["row"], _counted(row), *_ours(row, columns), _paper(number, row["row"])]
    for row in ours]  # fmt: skip
  done = {row["row"] for row in ours}
  planned = {variant.title for variant in VARIANTS.values()}
  cells += [
    [
      name,
      "",
      *[_LATER if name in planned else _MISSING] * len(columns),
      _paper(number, name),
    ]
    for name in PAPER[number]
    if name not in done
  ]
  return measuring.markdown(header, cells)


def _counted(row: Mapping[str, Any]) -> str:
  if "photos" not in row:
    return ""
  photos = "/".join(map(str, dict.fromkeys(row["photos"])))
  return f"{row['seeds']}, {photos}"


def _ours(row: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> list[str]:
  texts = []
  for measure, _ in columns:
    mean = row["mean"].get(measure)
    deviation = row.get("deviation", {}).get(measure)
    text = "–" if mean is None else f"{mean:.3g}"
    texts.append(text if deviation is None else f"{text} ± {deviation:.2g}")
  return texts


def _paper(number: int, name: str) -> str:
  return ", ".join(map(str, PAPER[number].get(name, ())))
