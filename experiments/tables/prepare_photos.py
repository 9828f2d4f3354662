"""`affjax prepare` on folders and archives of photos, killed twice and resumed.

    python -m experiments.tables.prepare_photos --out /tmp/prepared PHOTOS.tar FOLDER

Writes `experiments/results/prepare.json`, or `--result`: photos per second, and the
numbers of kept and skipped photos by reason. The data sets stay in `--out`, with the
pages of their worst samples.
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

from affjax.data import PrepareOptions, _record, _shards
from affjax.data._preparation import opening

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
  parser.add_argument(
    "--limit", type=int, default=0, help="number of photos of each input, 0 = all"
  )
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


def _prepared(source: pathlib.Path, arguments: argparse.Namespace) -> dict:
  """Prepares an input: kills the command twice, then lets it finish."""
  name = re.sub(r"\W+", "_", source.stem.lower())
  command = [sys.executable, "-m", "affjax.commands", "prepare", str(source)]
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
    # A few units, which finish in pairs, give no rate.
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
  """Returns the names of the photos of an input."""
  listing = opening.open_input(str(source), PrepareOptions()).listing()
  return {entry.name for entry in listing.entries[: limit or None]}


def _run(command: list[str], *, kill_at: float) -> list[tuple[float, int, int]]:
  """Returns times, photos done and all photos; kills the command at a share."""
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
    raise SystemExit(f"affjax prepare exited with {process.returncode}")
  return times


def _steady(times: list[tuple[float, int, int]]) -> tuple[float, int, int]:
  """Returns the times after the first unit, when all programs are compiled."""
  return times[min(1, len(times) - 1)]


def _bytes(folder: pathlib.Path) -> int:
  return sum(path.stat().st_size for path in folder.glob("*.array_record-*"))


def _decoded(folder: pathlib.Path, summary: dict, names: set[str]) -> dict:
  """Reads every record again, and counts missing and repeated ones."""
  quality, sources = [], []
  for shard in sorted(folder.glob("*.array_record-*")):
    reader = _shards.open_reader(shard)
    for k in range(reader.num_records()):
      found = _record.decode(reader.read([k])[0])
      quality.append(float(found["quality"]))
      sources.append(found["source"])
  skipped = {entry["source"] for entry in summary["skipped_names"]}
  named = {re.sub(r"#face \d+$", "", name) for name in (*sources, *skipped)}
  return {
    "records": len(quality),
    "repeated_records": len(sources) - len(set(sources)),
    "photos_neither_kept_nor_skipped": len(names - named),
    "records_of_no_photo": len(named - names),
    "median_quality": round(statistics.median(quality), 4),
  }


if __name__ == "__main__":
  main()
