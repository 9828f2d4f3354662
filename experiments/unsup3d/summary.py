"""The table of the runs: Markdown and one JSON file."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from affjax import files
from affjax.eval import Summary, summary
from experiments.unsup3d.plan import VARIANTS

# SIDE (times 100) and MAD of AffUNet's table 1, on faces of BFM.
PAPER = {"original": (1.423, 23.55), "affine": (1.367, 21.80)}
MEASURES = ("side_percent", "mad_deg")


def results(root: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the results of the runs in a folder.

  Raises:
    ValueError: There are none, or they are of several settings.
  """
  paths = sorted((root / "runs").glob("*.json"))
  found = [json.loads(path.read_text("utf-8")) for path in paths]
  if not found:
    raise ValueError(f"--out {root} holds no runs")
  if any(result["settings"] != found[0]["settings"] for result in found):
    raise ValueError(f"--out {root} holds runs of several settings")
  return found


def summarized(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
  """Returns a row for the constant depth and for each variant.

  A variant's error of a photo is the mean over its seeds. Photos without a pixel that
  counts in every run are left out, and counted.
  """
  rows: dict[str, Any] = {}
  for measure in MEASURES:
    constant = np.array(found[0]["constant"][measure])
    rows.setdefault("constant depth", {})[measure] = _row(summary(constant, constant))
    for variant in VARIANTS:
      own = [r["method"][measure] for r in found if r["variant"] == variant]
      if own:
        per_photo = np.mean(np.array(own), 0)
        row = _row(summary(per_photo, constant))
        row["by_seed"] = [float(np.nanmean(values)) for values in own]
        row["paper"] = PAPER[variant][MEASURES.index(measure)]
        rows.setdefault(variant, {})[measure] = row
  seeds = {v: sorted(r["seed"] for r in found if r["variant"] == v) for v in VARIANTS}
  return {
    "protocol": "unsup3d",
    "settings": found[0]["settings"],
    "machine": found[0]["machine"],
    "seeds": seeds,
    "photos": len(found[0]["constant"]["pixels"]),
    "rows": rows,
  }


def _row(found: Summary) -> dict[str, Any]:
  return {
    "n": found.n,
    "mean": found.mean,
    "interval": found.interval,
    "ratio_to_constant": found.ratio,
    "ratio_interval": found.ratio_interval,
  }


def table(content: dict[str, Any]) -> str:
  """Returns the table as Markdown."""
  lines = [
    "| method | seeds | N | SIDE, 10⁻² | MAD, degrees | paper: SIDE / MAD |",
    "|---|---|---|---|---|---|",
  ]
  for name, row in content["rows"].items():
    side, mad = (row[measure] for measure in MEASURES)
    seeds = content["seeds"].get(name, [])
    cells = [
      f"{m['mean']:.3f} ({m['interval'][0]:.3f} to {m['interval'][1]:.3f})"
      for m in (side, mad)
    ]
    paper = " / ".join(str(value) for value in PAPER.get(name, ("–", "–")))
    lines.append(
      f"| {name} | {len(seeds)} | {side['n']} | {' | '.join(cells)} | {paper} |"
    )
  return "\n".join(lines)


def write(root: pathlib.Path, path: pathlib.Path) -> None:
  """Prints the table of the runs in a folder and writes it as JSON."""
  content = summarized(results(root))
  files.write_json(path, content)
  print(f"\n{table(content)}\n\n{path}")
