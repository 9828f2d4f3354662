"""Evaluates `affjax.faces.visible_skin`.

  python -m experiments.regions.evaluate --out out/regions --photos PHOTO...

Measures IoU, precision and recall of the shipped network on held-out synthetic
portraits, by the kind of thing laid before them: `unseen` kinds and patterns never
occur in training, nor do microphones; portraits, hair and light come from the test
split. The photos are shown as they are painted, and degraded as strongly as in
training: moved, cut, darkened, tinted, blurred, noisy. The baseline is a color model of
the same photos. With `--validation` only the figures by which weights and settings were
chosen are printed, of other kinds and other portraits. Writes
`experiments/results/face_regions.json`, with images a second, and a contact sheet;
about 5 minutes on 2 cores.
"""

import argparse
import os
import pathlib
import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from affjax.faces import apply_crop, face_crop, find_faces, read_photo, visible_skin
from affjax.heads import open_head
from affjax.types import Camera
from experiments.benchmarks import measuring
from experiments.regions import (
  disguises,
  snapshots,
  unseen_disguises,
  validation_disguises,
)
from experiments.regions.bare_skin import Portrait, Portraits

# Kinds of the final test, and those by which weights and settings were chosen.
HELD_OUT = {
  "unseen": unseen_disguises.UNSEEN,
  "validation": validation_disguises.VALIDATION,
}
# Index of the first portrait of the training split that only validation shows.
VALIDATION_FROM = 500_000
RESULTS = pathlib.Path(__file__).parents[1] / "results" / "face_regions.json"


def samples(
  portraits: Sequence[Portrait], name: str, count: int, *, seed: int, degraded: bool
) -> tuple[np.ndarray, np.ndarray]:
  """Makes photos with one kind of thing before them, and their bare skin."""
  photos, truth = [], []
  for k in range(count):
    rng = np.random.default_rng([seed, k, sum(name.encode())])
    portrait = portraits[int(rng.integers(len(portraits)))]
    image, bare = snapshots.held_out_snapshot(rng, portrait, name, degraded=degraded)
    photos.append(np.rint(image * 255).astype(np.uint8))
    truth.append(bare > 0.5)
  return np.stack(photos), np.stack(truth)


def scores(said: np.ndarray, truth: np.ndarray) -> dict[str, float]:
  """Returns scores of all pixels together, and mean and 10th percentile over photos."""
  both, either = said & truth, said | truth
  area = either.sum((1, 2))
  each = both.sum((1, 2))[area > 50] / area[area > 50]
  return {
    "iou": float(both.sum() / either.sum()),
    "iou_mean": float(each.mean()),
    "iou_p10": float(np.quantile(each, 0.1)),
    "precision": float(both.sum() / said.sum()),
    "recall": float(both.sum() / truth.sum()),
  }


def by_color(photos: np.ndarray) -> np.ndarray:
  """Finds skin by its color alone.

  A Gaussian is fitted robustly to the colors where the mean face lies; its inliers
  within an ellipse around the head count as skin.
  """
  n, size = photos.shape[:2]
  line = (np.arange(size) + 0.5) * (2 / size) - 1
  x, y = np.meshgrid(line, line)
  seed = (np.hypot(x / 0.4, (y - 0.1) / 0.45) < 1).reshape(-1)
  around = np.hypot(x / 0.75, (y - 0.05) / 0.95) < 1
  said = np.zeros((n, size, size), bool)
  for k in range(n):
    pixels = photos[k].reshape(-1, 3) / 255.0
    kept, away = pixels[seed], np.zeros(len(pixels))
    for _ in range(4):
      mean, spread = kept.mean(0), np.cov(kept.T) + 4e-4 * np.eye(3)
      away = np.einsum(
        "ni,ij,nj->n", pixels - mean, np.linalg.inv(spread), pixels - mean
      )
      kept = pixels[seed][away[seed] < np.quantile(away[seed], 0.8)]
    said[k] = (away < 20).reshape(size, size) & around
  return said


def accuracy(
  portraits: list[Portrait], *, held_out: str, degraded: bool
) -> dict[str, dict]:
  """Returns scores by kind, and of all held-out and all seen kinds together."""
  count = len(portraits)
  groups = {
    "none": ["none"],
    held_out: list(HELD_OUT[held_out]),
    "seen": list(disguises.SEEN),
  }
  out: dict[str, dict] = {}
  for group, names in groups.items():
    all_said, all_truth, all_color = [], [], []
    for name in names:
      photos, truth = samples(portraits, name, count, seed=3, degraded=degraded)
      said = visible_skin(photos)[..., 0] > 0.5
      out[name] = scores(said, truth)
      all_said.append(said)
      all_truth.append(truth)
      all_color.append(by_color(photos))
      print(name, {key: round(value, 3) for key, value in out[name].items()})
    truth = np.concatenate(all_truth)
    out[f"all {group}"] = scores(np.concatenate(all_said), truth)
    print(f"all {group}", out[f"all {group}"])
    out[f"all {group}, by color"] = scores(np.concatenate(all_color), truth)
  return out


def speed(size: int, batch: int) -> dict[str, float]:
  """Measures images a second: the median and the best of eleven calls."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (batch, size, size, 3), dtype=np.uint8)
  visible_skin(images)
  seconds = []
  for _ in range(11):
    start = time.perf_counter()
    visible_skin(images)
    seconds.append(time.perf_counter() - start)
  return {
    "size": size,
    "batch": batch,
    "images_per_s": batch / float(np.median(seconds)),
    "images_per_s_best": batch / min(seconds),
  }


def crops(paths: list[pathlib.Path], size: int) -> np.ndarray:
  """Returns the aligned faces of photos."""
  template, camera = open_head("embedded").template, Camera()
  found = []
  for path in paths:
    pixels = read_photo(path)
    for face in find_faces(pixels):
      placed = face_crop(face, template, camera, size)
      found.append(np.rint(apply_crop(pixels, placed) * 255).astype(np.uint8))
  return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)


def sheet(images: np.ndarray, columns: int = 8) -> np.ndarray:
  """Draws each photo beside its visible skin, the rest in blue."""
  share = visible_skin(images)
  blue = np.array([30, 60, 200])
  marked = images * share + blue * (1 - share)
  pairs = np.concatenate([images, marked.astype(np.uint8)], 2)
  missing = -len(pairs) % columns
  pairs = np.concatenate([pairs, np.full((missing, *pairs.shape[1:]), 255, np.uint8)])
  rows = pairs.reshape(-1, columns, *pairs.shape[1:])
  return np.concatenate([np.concatenate(list(row), 1) for row in rows])


def synthetic_row(count: int, size: int) -> np.ndarray:
  """Makes one photo of each unseen kind."""
  source = Portraits(1_000_000, size, "test", occluders=0.25)
  portraits = [source[i] for i in range(count)]
  rows = []
  for k in range(count):
    name = list(unseen_disguises.UNSEEN)[k % len(unseen_disguises.UNSEEN)]
    rows.append(samples(portraits[k : k + 1], name, 1, seed=k, degraded=False)[0])
  return np.concatenate(rows)


def main() -> None:
  """Evaluates, draws the contact sheet and writes the results."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--photos", type=pathlib.Path, nargs="*", default=[])
  parser.add_argument("--count", type=int, default=60, help="photos of each kind")
  parser.add_argument("--size", type=int, default=128, help="side of the photos, px")
  parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
  parser.add_argument("--sheet-only", action="store_true")
  parser.add_argument(
    "--validation", action="store_true", help="print validation's figures only"
  )
  options = parser.parse_args()
  if options.validation:
    source = Portraits(1_000_000, options.size, "train", occluders=0.25)
    portraits = [source[VALIDATION_FROM + i] for i in range(options.count)]
    for degraded in (False, True):
      accuracy(portraits, held_out="validation", degraded=degraded)
    return
  options.out.mkdir(parents=True, exist_ok=True)
  images = np.concatenate([crops(options.photos, 192), synthetic_row(8, 192)])
  Image.fromarray(sheet(images, 4)).save(options.out / "face_regions.jpg", quality=88)
  if options.sheet_only:
    return
  source = Portraits(1_000_000, options.size, "test", occluders=0.25)
  portraits = [source[i] for i in range(options.count)]
  report = {
    "accuracy": accuracy(portraits, held_out="unseen", degraded=False),
    "accuracy_degraded": accuracy(portraits, held_out="unseen", degraded=True),
    "photos_of_each_kind": options.count,
    "size": options.size,
    "speed": [speed(512, 8), speed(128, 8)],
    "machine": measuring.machine("cpu", os.cpu_count() or 1),
  }
  measuring.write_json(options.results, report)


if __name__ == "__main__":
  main()
