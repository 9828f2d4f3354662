"""Measures the memory of `affjax fit` over many photos, and the size of its pages.

    python -m experiments.benchmarks.many_photos --count 60

Fits copies of the portrait that differ in size and brightness, with the defaults of
`affjax fit`, into a temporary folder. The growth is the slope of a line through the
resident memory after each photo of the second half, when everything is compiled.

Writes experiments/results/many_photos_cpu.json.
"""

import argparse
import importlib.resources
import pathlib
import sys
import tempfile
import time

import numpy as np
from PIL import Image, ImageEnhance

from affjax import photos
from experiments.benchmarks import measuring

RESULTS = pathlib.Path(__file__).parents[1] / "results" / "many_photos_cpu.json"


def main() -> None:
  """Runs the fit and writes the result."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--count", type=int, default=60)
  parser.add_argument("--threads", type=int, default=1)
  parser.add_argument("--result", type=pathlib.Path, default=RESULTS)
  options = parser.parse_args()
  device = measuring.start(None, options.threads)
  with tempfile.TemporaryDirectory() as name:
    row = measured(pathlib.Path(name), options.count)
  row |= {"machine": measuring.machine(device, options.threads)}
  measuring.write_json(options.result, row)
  print({key: value for key, value in row.items() if key != "resident_mib"})


def measured(folder: pathlib.Path, count: int) -> dict[str, object]:
  """Returns memory, time and sizes of a run over photos of a face each."""
  source, out = folder / "photos", folder / "out"
  source.mkdir()
  out.mkdir()
  write_photos(source, count)
  resident: list[float] = []
  start = time.monotonic()
  report = photos.fit_photos(
    photos.gather([source]),
    out,
    progress=lambda path, faces: resident.append(resident_mib()),
  )
  seconds = time.monotonic() - start
  half = count // 2
  slope = np.polyfit(np.arange(half, count), resident[half:], 1)[0]
  return {
    "photos": count,
    "heads": report.heads,
    "seconds_per_photo": seconds / count,
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


def resident_mib() -> float:
  """Returns the resident memory of this process, MiB."""
  for line in pathlib.Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return int(line.split()[1]) / 1024
  sys.exit("resident memory is read from /proc/self/status, which is missing")


def _card_kb(out: pathlib.Path) -> float:
  return sum(path.stat().st_size for path in out.glob("*/face*/page/*")) / 1e3


if __name__ == "__main__":
  main()
