"""Measures `affjax fit` over many photos: time, memory, and the size of its pages.

    python -m experiments.benchmarks.many_photos --count 60 --workers 2

Fits copies of the portrait that differ in size and brightness, with the defaults of
`affjax fit`, into a temporary folder. Seconds of a photo are those of the second half,
when everything is compiled: by the clock, and of the CPU in all processes. The growth
is the slope of a line through the resident memory after each of them, of this process
and its workers.

Writes experiments/results/many_photos_cpu.json.
"""

import argparse
import importlib.resources
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from PIL import Image, ImageEnhance

from affjax import compilation, photos
from experiments.benchmarks import measuring

RESULTS = pathlib.Path(__file__).parents[1] / "results" / "many_photos_cpu.json"


def main() -> None:
  """Runs the fit and writes the result."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--count", type=int, default=60)
  parser.add_argument("--threads", type=int, default=1)
  parser.add_argument("--workers", type=int, default=1)
  parser.add_argument("--result", type=pathlib.Path, default=RESULTS)
  options = parser.parse_args()
  device = measuring.start(None, options.threads)
  with tempfile.TemporaryDirectory() as name:
    row = measured(pathlib.Path(name), options.count, options.workers)
  row |= {"machine": measuring.machine(device, options.threads)}
  measuring.write_json(options.result, row)
  print({key: value for key, value in row.items() if key != "resident_mib"})


def measured(folder: pathlib.Path, count: int, workers: int) -> dict[str, object]:
  """Returns memory, time and sizes of a run over photos of a face each."""
  source, out = folder / "photos", folder / "out"
  source.mkdir()
  out.mkdir()
  write_photos(source, count)
  compilation.enable()
  resident: list[float] = []
  clock: list[float] = []
  cpu: list[float] = []

  def note(path: pathlib.Path, faces: int) -> None:
    crew = processes()
    clock.append(time.monotonic())
    cpu.append(sum(map(cpu_seconds, crew)))
    resident.append(sum(map(resident_mib, crew)))

  report = photos.fit_photos(
    photos.gather([source]), out, photos.FitOptions(workers=workers), progress=note
  )
  half = count // 2
  slope = np.polyfit(np.arange(half, count), resident[half:], 1)[0]
  later = lambda values: (values[-1] - values[half - 1]) / (count - half)
  return {
    "photos": count,
    "workers": workers,
    "heads": report.heads,
    "photos_a_second": 1 / later(clock),
    "cpu_seconds_per_photo": later(cpu),
    "growth_mib_per_photo": float(slope),
    "resident_mib": resident,
    "page_kb": {p.name: p.stat().st_size / 1e3 for p in out.glob("index*.html")},
    "card_kb_per_head": _card_kb(out) / max(report.heads, 1),
  }


def write_photos(folder: pathlib.Path, count: int) -> None:
  """Writes copies of the portrait, 256 to 512 px wide, darker and brighter."""
  rng = np.random.default_rng(0)
  asset = importlib.resources.files("affjax.assets") / "astronaut.jpg"
  with asset.open("rb") as file:
    portrait = Image.open(file).convert("RGB")
  for k in range(count):
    side = int(rng.integers(256, 513))
    copy = portrait.resize((side, side), Image.Resampling.LANCZOS)
    copy = ImageEnhance.Brightness(copy).enhance(rng.uniform(0.7, 1.2))
    copy.save(folder / f"{k:04}.jpg", quality=92)


def processes() -> list[int]:
  """Returns the ids of this process and its workers."""
  return [os.getpid(), *(p.pid for p in multiprocessing.active_children() if p.pid)]


def resident_mib(process: int) -> float:
  """Returns the resident memory of a process, MiB."""
  for line in pathlib.Path(f"/proc/{process}/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return int(line.split()[1]) / 1024
  sys.exit("resident memory is read from /proc/PID/status, which is missing")


def cpu_seconds(process: int) -> float:
  """Returns the CPU seconds that a process has used."""
  fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
  return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _card_kb(out: pathlib.Path) -> float:
  return sum(path.stat().st_size for path in out.glob("*/face*/page/*")) / 1e3


if __name__ == "__main__":
  main()
