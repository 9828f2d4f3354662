"""Measures `affjax fit` on a video: frames a second, where the time goes, memory.

  python -m experiments.benchmarks.video            # about five minutes
  python -m experiments.benchmarks.video --quick    # a trial, writes nothing

The clips are the embedded portrait moved before a camera at 1280 x 720, one person,
24 and 120 frames. Each runs in a process of its own, after one that compiled all
programs. Clock and CPU seconds are those of the whole command without the start of the
process; the two lengths give the cost of a frame. Stages are CPU seconds of all threads
during the calls, to which the video encoder adds a little. Writes
`results/bench_video_cpu.json`.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "bench_video_cpu.json"
RATE, SIZE, LENGTHS = 30, (720, 1280), (24, 120)
# Stages: module, name of the function in it, and what it does.
STAGES = (
  ("affjax.photos._video_file", "_upright", "scale and convert frames"),
  ("affjax.faces._follow", "_followed", "follow landmarks"),
  ("affjax.faces._find", "find_in_all", "detect"),
  ("affjax.photos._clip_people", "face_crops", "crops"),
  ("affjax.photos._clip_people", "_view", "look at views"),
  ("affjax.photos._clip", "fit_surface", "identity"),
  ("affjax.photos._clip", "head_files", "files of the head"),
  ("affjax.photos._clip_motion", "apply_crop", "cut crops"),
  ("affjax.faces._surface.read", "read", "read the surface"),
  ("affjax.faces._surface.solve", "solve", "solve pose and expression"),
  ("affjax.photos._clip_motion", "paint_photo", "paint the head"),
)


def write_clip(path: pathlib.Path, count: int) -> None:
  """Writes a clip of the portrait, which sways, tilts and comes nearer."""
  import io

  import numpy as np
  from PIL import Image

  from affjax.assets import store
  from affjax.faces import warp
  from affjax.photos import ClipWriter

  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  portrait, (height, width) = np.asarray(image), SIZE
  with ClipWriter(path, SIZE) as writer:
    for k in range(count):
      t = k / RATE
      sway = np.array([16 * math.sin(3 * t), 8 * math.sin(2 * t)])
      nearer = 1 - 0.15 * math.sin(2 * t)
      center = np.array([225.0, 130]) + sway
      matrix = warp.similarity(center, 300 * nearer, 0.15 * math.sin(2.5 * t), height)
      matrix[0, 2] += (width - height) / 2
      picture = warp.warp(portrait, matrix, width)[:height]
      writer.add(np.rint(255 * picture).astype(np.uint8), t)


def timed(seconds: dict[str, float], name: str, function: Callable) -> Callable:
  """Returns a function that adds up the CPU seconds of its calls."""

  @functools.wraps(function)
  def run(*args: Any, **options: Any) -> Any:
    start = time.process_time()
    try:
      return function(*args, **options)
    finally:
      seconds[name] = seconds.get(name, 0.0) + time.process_time() - start

  return run


def fit(clip: pathlib.Path, out: pathlib.Path, *, stages: bool) -> dict:
  """Fits a clip in this process and returns what it took."""
  import importlib

  from affjax import commands

  seconds: dict[str, float] = {}
  if stages:
    for place, name, about in STAGES:
      module = importlib.import_module(place)
      setattr(module, name, timed(seconds, about, getattr(module, name)))
  clock, cpu = time.perf_counter(), time.process_time()
  status = commands.main(["fit", str(clip), "-o", str(out)])
  took = time.perf_counter() - clock, time.process_time() - cpu
  if status not in (0, 3):
    raise SystemExit(f"affjax fit ended with {status}")
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return {"clock_s": took[0], "cpu_s": took[1], "peak_mib": peak, "stages": seconds}


def child(clip: pathlib.Path, out: pathlib.Path) -> dict:
  """Fits a clip in a new process."""
  command = [sys.executable, "-m", "experiments.benchmarks.video", "--child"]
  done = subprocess.run(
    [*command, str(clip), str(out)], check=True, capture_output=True, text=True
  )
  return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
  """Measures and writes the figures."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true")
  parser.add_argument("--child", nargs=2, type=pathlib.Path)
  given = parser.parse_args()
  if given.child:
    print(json.dumps(fit(*given.child, stages=True)))
    return
  lengths = (12, 24) if given.quick else LENGTHS
  load = os.getloadavg()[0]
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    write_clip(folder / "first.mp4", 12)
    child(folder / "first.mp4", folder / "first")
    runs = {}
    for count in lengths:
      write_clip(folder / f"{count}.mp4", count)
      runs[str(count)] = child(folder / f"{count}.mp4", folder / str(count))
  short, long = (runs[str(count)] for count in lengths)
  frames = lengths[1] - lengths[0]
  per_frame = lambda a, b: 1000 * (b - a) / frames
  result = {
    "clip": {"height": SIZE[0], "width": SIZE[1], "people": 1},
    "runs": runs,
    "frames_a_second": 1000 / per_frame(short["clock_s"], long["clock_s"]),
    "frames_a_second_of_the_long_clip_in_all": lengths[1] / long["clock_s"],
    "cpu_ms_a_frame": per_frame(short["cpu_s"], long["cpu_s"]),
    "stages_cpu_ms_a_frame": {
      name: per_frame(short["stages"].get(name, 0), seconds)
      for name, seconds in long["stages"].items()
    },
    "load_before": load,
    "cores": len(os.sched_getaffinity(0)),
  }
  print(json.dumps(result, indent=1))
  if not given.quick:
    measuring.write_json(RESULT, result)


if __name__ == "__main__":
  main()
