"""Measures the landmarks of a video as found and smoothed: jitter at rest, lag.

  python -m experiments.tables.video_jitter

The video is the embedded portrait moved by known amounts, with a camera's noise and
JPEG: 60 frames at rest, then 90 that sway, turn and come nearer, at 30 Hz. The
portrait's own landmarks, moved along, are the ground truth. All figures are percent of
the distance of the outer eye corners. Writes `results/video_jitter.json` in about a
minute.
"""

import argparse
import io
import math
import pathlib

import numpy as np
from PIL import Image

from affjax.assets import store
from affjax.faces import find_in_all, smoothing, warp
from experiments.benchmarks import measuring

RESULT = pathlib.Path(__file__).parents[1] / "results" / "video_jitter.json"
RATE, REST, MOVING, SIZE = 30.0, 60, 90, 512
EYES = (33, 263)


def matrices() -> list[np.ndarray]:
  """Returns the map from portrait px to px of each frame."""
  center, made = np.array([225.0, 130.0]), []
  for k in range(REST + MOVING):
    t = max(0, k - REST) / RATE
    # Up to 130 px a second, more than two interocular distances.
    sway = np.array([26 * math.sin(5 * t), 12 * math.sin(3 * t)])
    nearer, roll = 1 - 0.15 * math.sin(2 * t), 0.15 * math.sin(4 * t)
    made.append(warp.similarity(center + sway, 220 * nearer, roll, SIZE))
  return made


def frames(portrait: np.ndarray, moves: list[np.ndarray]) -> list[np.ndarray]:
  """Returns the portrait as a camera sees it in each frame."""
  rng, made = np.random.default_rng(0), []
  for matrix in moves:
    pixels = 255 * warp.warp(portrait, matrix, SIZE)
    noisy = pixels + 4 * rng.standard_normal(pixels.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "jpeg")
    made.append(np.asarray(Image.open(file)))
  return made


def main() -> None:
  """Measures and writes the figures."""
  argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
  image = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  portrait, moves = np.asarray(image), matrices()
  found = find_in_all(frames(portrait, moves))
  if any(len(faces) != 1 for faces in found):
    raise SystemExit("a frame shows no face or several")
  tracker = smoothing.Tracker()
  raw, smooth = [], []
  for k, faces in enumerate(found):
    (one,) = tracker.update(faces, k / RATE)
    raw.append(faces[0].landmarks[:, :2])
    smooth.append(one.face.landmarks[:, :2])
  # In px of the portrait all frames should agree: their median is the truth.
  back = lambda points: np.stack([
    warp.transform(warp.invert(m), p) for m, p in zip(moves, points, strict=True)
  ])  # fmt: skip
  raw, smooth = back(raw), back(smooth)
  truth = np.median(raw, 0)
  unit = np.linalg.norm(truth[EYES[0]] - truth[EYES[1]]) / 100
  result = {"frames": len(found), "tracks": 1 + one.identity}
  for name, points in (("as found", raw), ("smoothed", smooth)):
    rest, moving = points[REST // 3 : REST], points[REST:]
    step = np.linalg.norm(np.diff(rest, axis=0), axis=-1)
    off = np.linalg.norm(moving - truth, axis=-1)
    result[name] = {
      "jitter_at_rest_percent": rest.std(0).mean() / unit,
      "step_at_rest_percent": step.mean() / unit,
      "error_in_motion_percent": off.mean() / unit,
    }
  measuring.write_json(RESULT, result)
  print(RESULT.read_text())


if __name__ == "__main__":
  main()
