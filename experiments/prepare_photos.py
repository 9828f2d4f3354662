"""`affjax prepare` on folders and archives of photos, killed in the middle and resumed.

    python experiments/prepare_photos.py --out /tmp/prepared PHOTOS.tar FOLDER

Writes `experiments/results/prepare.json`: photos a second, what was kept and what was
skipped for which reason. The data sets stay in `--out`, with pages of worst samples.
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

from affjax.data import record, shards

_RESULT = pathlib.Path(__file__).parent / "results" / "prepare.json"
_LINE = re.compile(r"^(\d+) of (\d+) photos")


def main() -> None:
  """Prepares every input and writes the figures."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("inputs", nargs="+", type=pathlib.Path)
  parser.add_argument("--out", type=pathlib.Path, required=True)
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
  _RESULT.write_text(json.dumps(result, indent=1) + "\n")
  print(json.dumps(result, indent=1))


def _prepared(source: pathlib.Path, arguments) -> dict:
  """One input: killed once two fifths are done, then finished."""
  name = re.sub(r"\W+", "_", source.stem.lower())
  command = [sys.executable, "-m", "affjax.cli", "prepare", str(source)]
  command += ["-o", str(arguments.out), "--name", name]
  command += ["--limit", str(arguments.limit), "--workers", str(arguments.workers)]
  command += ["--licence", "research only"]
  killed_at = _run(command, kill_at=0.4)[-1][1]
  times = _run(command, kill_at=2.0)
  folder = shards.data_folder(arguments.out, name)
  summary = json.loads((folder / "summary.json").read_bytes())
  (first, before, _), (last, after, total) = _steady(times), times[-1]
  return {
    "input": source.name,
    "photos": total,
    "killed_after_photos": killed_at,
    "found_done_after_the_kill": times[0][1],
    "photos_a_second": round((after - before) / max(last - first, 1e-9), 2),
    "samples": summary["kept"],
    "splits": summary["splits"],
    "skipped": summary["skipped"],
    "median_quality": summary["median_quality"],
    "median_landmark_error_percent": summary["median_error"],
    "kilobytes_a_sample": round(_bytes(folder) / summary["kept"] / 1000, 1),
    "decoded_again": _decoded(folder),
  }


def _run(command: list[str], *, kill_at: float) -> list[tuple[float, int, int]]:
  """Times, photos done and all photos, line by line; kills at a share of them."""
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


def _decoded(folder: pathlib.Path) -> dict:
  """Reads every record again."""
  quality, sources = [], set()
  for shard in sorted(folder.glob("*.array_record-*")):
    reader = array_record_module.ArrayRecordReader(str(shard))
    for k in range(reader.num_records()):
      found = record.decode(reader.read([k])[0])
      quality.append(float(found["quality"]))
      sources.add(found["source"])
  return {
    "records": len(quality),
    "different_sources": len(sources),
    "median_quality": round(statistics.median(quality), 4),
  }


if __name__ == "__main__":
  main()
