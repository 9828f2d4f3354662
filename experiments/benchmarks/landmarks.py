"""Measures the search of faces and landmarks: photos a second, one or many at once.

  python -m experiments.benchmarks.landmarks            # two minutes on 2 idle cores
  python -m experiments.benchmarks.landmarks --quick    # a trial, writes nothing

The chain is that of users: the faces of a photo are detected, turned upright and cut
out, and get 468 points and irises; then each face's crop for the networks is made. The
photos are the embedded portrait, cut and scaled to 1024², each shifted a little:

- "portrait" has a face of nearly half its width, as CelebA-HQ's have;
- "half figure" has one of a fifth: the detector also searches for small faces, tile by
  tile;
- "half figure, large faces" is the same with `smallest=1/8`, which ends that search.

Writes `results/bench_landmarks_<device>.json`.
"""

import argparse
import io
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from experiments.benchmarks import measuring

EXPERIMENTS = pathlib.Path(__file__).parents[1]
TARGET = 15.0
SIZE = 1024
# Part of the embedded portrait (x, y, side) and smallest face of each kind of photo.
KINDS = {
  "portrait": ((120, 0, 200), 1 / 80),
  "half figure": ((0, 0, 490), 1 / 80),
  "half figure, large faces": ((0, 0, 490), 1 / 8),
}
CROP = 256


def photos(kind: str, count: int) -> list[np.ndarray]:
  """Makes photos of one kind, each shifted a little."""
  from affjax.assets import store

  data = io.BytesIO(store.read_asset("astronaut.jpg"))
  portrait = Image.open(data).convert("RGB")
  x, y, side = KINDS[kind][0]
  made = []
  for k in range(count):
    left, top = x + k % 11, y + 2 * k % 9
    part = portrait.crop((left, top, left + side, top + side))
    made.append(np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BICUBIC)))
  return made


def chain(
  pictures: list[np.ndarray], together: int, smallest: float
) -> list[np.ndarray]:
  """Returns the crop of every face, working on `together` photos at once."""

  from affjax.faces import apply_crop, face_crops, find_in_all
  from affjax.heads import open_head
  from affjax.types import Camera

  template, made = open_head("embedded").template, []
  for start in range(0, len(pictures), together):
    part = pictures[start : start + together]
    found = find_in_all(part, smallest=smallest)
    owners = [photo for photo, some in zip(part, found, strict=True) for _ in some]
    faces = [face for some in found for face in some]
    crops = face_crops(faces, template, Camera(), CROP)
    pairs = zip(owners, crops, strict=True)
    made += [apply_crop(photo, placed) for photo, placed in pairs]
  return made


def speeds(kind: str, batches: Sequence[int], count: int, rounds: int) -> list[dict]:
  """Measures photos a second by the number worked on at once, interleaved."""
  pictures, smallest = photos(kind, count), KINDS[kind][1]
  faces = len(chain(pictures, count, smallest))
  variants = {
    str(n): measuring.Variant(lambda n=n: chain(pictures, n, smallest), repeats=count)
    for n in batches
  }
  times = measuring.interleaved(variants, rounds=rounds, calls=1, most_s=40)
  return [
    {
      "kind": kind,
      "at_once": n,
      "faces_a_photo": faces / count,
      "photos_a_second": 1 / times[str(n)].median,
      "seconds_a_photo": times[str(n)],
    }
    for n in batches
  ]


def stages(kind: str, count: int, rounds: int) -> dict[str, float]:
  """Measures milliseconds a photo of each stage, many at once."""
  from affjax.assets import store
  from affjax.faces import (
    _detect,
    _iris,
    _mesh,
    _network,
    apply_crop,
    face_crops,
    find_in_all,
  )
  from affjax.heads import open_head
  from affjax.types import Camera

  nets = _network.networks(store.open_asset("faces.npz"))
  pictures, smallest = photos(kind, count), KINDS[kind][1]
  faces = [some[0] for some in find_in_all(pictures, smallest=smallest)]
  points = [face.landmarks for face in faces]
  squares = [_mesh.square_of_landmarks(p) for p in points]
  template, camera = open_head("embedded").template, Camera()
  crops = face_crops(faces, template, camera, CROP)
  parts = {
    "detector": lambda: _detect.detect_faces(
      nets["detector"], pictures, smallest=smallest
    ),
    "468 points, twice": lambda: [
      _mesh.find_landmarks(nets["landmarks"], pictures, squares) for _ in range(2)
    ],
    "irises": lambda: _iris.irises(nets["iris"], pictures, points),
    "crop's place": lambda: face_crops(faces, template, camera, CROP),
    "crop's pixels": lambda: [
      apply_crop(photo, placed) for photo, placed in zip(pictures, crops, strict=True)
    ],
  }
  variants = {k: measuring.Variant(run, repeats=count) for k, run in parts.items()}
  times = measuring.interleaved(variants, rounds=rounds, calls=1, most_s=10)
  return {name: 1e3 * time.median for name, time in times.items()}


def main() -> None:
  """Measures and writes the figures."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="a trial, writes nothing")
  parser.add_argument("--device", choices=("cpu", "gpu"))
  parser.add_argument("--threads", type=int, default=2, help="number of CPU cores used")
  parser.add_argument("--out", type=pathlib.Path, default=EXPERIMENTS)
  options = parser.parse_args()
  device = measuring.start(options.device, options.threads)
  origin = measuring.machine(device, options.threads)
  count, rounds = (4, 2) if options.quick else (8, 7)
  if device == "gpu":
    count *= 32
  batches = (1, 2, 4) if options.quick else (1, count // 4, count)
  rows = [row for kind in KINDS for row in speeds(kind, batches, count, rounds)]
  best = max(r["photos_a_second"] for r in rows if r["kind"] == "portrait")
  met = bool(best >= TARGET)
  split = {kind: stages(kind, count, rounds) for kind in KINDS}
  table = [[r["kind"], str(r["at_once"]), f"{r['photos_a_second']:.1f}"] for r in rows]
  print(measuring.markdown(["photos", "at once", "photos a second"], table))
  cells = [
    [name, *(f"{split[k][name]:.1f}" for k in KINDS)] for name in split["portrait"]
  ]
  print(measuring.markdown(["ms a photo", *KINDS], cells))
  result = {
    "machine": origin,
    "method": {"warm_up": "a round, then one call a turn, not counted"},
    "targets": [
      {"what": "portraits a second", "value": best, "target": TARGET, "met": met}
    ],
    "speed": rows,
    "milliseconds_a_photo": split,
  }
  if not options.quick:
    path = options.out / "results" / f"bench_landmarks_{device}.json"
    measuring.write_json(path, result)


if __name__ == "__main__":
  main()
