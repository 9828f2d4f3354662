"""`affjax prepare` on folders and archives of photos, killed twice and resumed.

    python -m experiments.tables.prepare_photos --out /tmp/prepared PHOTOS.tar FOLDER

Writes `experiments/results/prepare.json`, or `--result`: photos a second, what was kept
and what was skipped for which reason. The data sets stay in `--out`, with pages of
worst samples.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import time

from array_record.python import array_record_module

from affjax.data import _record, _shards
from affjax.data._preparation import opening
from affjax.data._preparation.options import Options

_RESULT = pathlib.Path(__file__).parents[1] / "results" / "prepare.json"
# Shares of the photos after which the command is killed.
_KILLS = (0.25, 0.6)
_FEWEST = 500
_LINE = re.compile(r"^(\d+) of (\d+) photos")


def main() -> None:
  """Prepares every input and writes the figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("inputs", nargs="+", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--result", type=pathlib.Path, default=_RESULT)
  parser.add_argument("--limit", type=int, default=0, help="photos of each input")
  parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
  arguments = parser.parse_args()
  figures = [_prepared(path, arguments) for path in arguments.inputs]
  result = {
    "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    "load_average": os.getloadavg()[0],
    "workers": arguments.workers,
    "inputs": figures,
  }
  arguments.result.write_text(json.dumps(result, indent=1) + "\n")
  print(json.dumps(result, indent=1))


def _prepared(source: pathlib.Path, arguments) -> dict:
  """One input: killed twice on the way, then finished."""
  name = re.sub(r"\W+", "_", source.stem.lower())
  command = [sys.executable, "-m", "affjax.cli", "prepare", str(source)]
  command += ["-o", str(arguments.out), "--name", name]
  command += ["--limit", str(arguments.limit), "--workers", str(arguments.workers)]
  command += ["--licence", "research only"]
  runs = [_run(command, kill_at=share) for share in (*_KILLS, 2.0)]
  folder = _shards.data_folder(arguments.out, name)
  summary = json.loads((folder / "summary.json").read_bytes())
  steady = [_steady(run) for run in runs]
  busy = sum(run[-1][0] - first[0] for run, first in zip(runs, steady, strict=True))
  done = sum(run[-1][1] - first[1] for run, first in zip(runs, steady, strict=True))
  return {
    "input": source.name,
    "photos": runs[-1][-1][2],
    "killed_after_photos": [run[-1][1] for run in runs[:-1]],
    "found_done_after_the_kills": [run[0][1] for run in runs[1:]],
    # Of a few units, which come two at once, there is no telling.
    "photos_a_second": round(done / busy, 2) if done >= _FEWEST else None,
    "samples": summary["kept"],
    "splits": summary["splits"],
    "skipped": summary["skipped"],
    "median_quality": summary["median_quality"],
    "median_landmark_error_percent": summary["median_error"],
    "kilobytes_a_sample": round(_bytes(folder) / summary["kept"] / 1000, 1),
    "decoded_again": _decoded(folder, summary, _names(source, arguments.limit)),
  }


def _names(source: pathlib.Path, limit: int) -> set[str]:
  """What the photos of an input are called."""
  listing = opening.open_input(str(source), Options()).listing()
  return {entry.name for entry in listing.entries[: limit or None]}


def _run(command: list[str], *, kill_at: float) -> list[tuple[float, int, int]]:
  """Times, photos done and all photos, line by line; kills it at a share of them."""
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  assert process.stderr is not None
  times = []
  for line in process.stderr:
    print(line, end="", flush=True)
    if found := _LINE.match(line):
      times.append((time.monotonic(), int(found[1]), int(found[2])))
      if times[-1][1] >= kill_at * times[-1][2]:
        process.send_signal(signal.SIGKILL)
        break
  process.wait()
  if process.returncode not in (0, -signal.SIGKILL):
    raise SystemExit(f"affjax prepare ended with {process.returncode}")
  return times


def _steady(times: list[tuple[float, int, int]]) -> tuple[float, int, int]:
  """After the first unit: processes have started, programs are compiled."""
  return times[min(1, len(times) - 1)]


def _bytes(folder: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in folder.glob("*.array_record-*"))


def _decoded(folder: pathlib.Path, summary: dict, names: set[str]) -> dict:
  """Reads every record again: is each there once, and is every photo accounted for?"""
  quality, sources = [], []
  for shard in sorted(folder.glob("*.array_record-*")):
    reader = array_record_module.ArrayRecordReader(str(shard))
    for k in range(reader.num_records()):
      found = _record.decode(reader.read([k])[0])
      quality.append(float(found["quality"]))
      sources.append(found["source"])
  skipped = {entry["source"] for entry in summary["skipped_names"]}
  told = {re.sub(r"#face \d+$", "", name) for name in (*sources, *skipped)}
  return {
    "records": len(quality),
    "repeated_records": len(sources) - len(set(sources)),
    "photos_neither_kept_nor_skipped": len(names - told),
    "records_of_no_photo": len(told - names),
    "median_quality": round(statistics.median(quality), 4),
  }


if __name__ == "__main__":
  main()
