"""Calibrates how sure heads are, and tells how often that is right.

  python -m experiments.confidence.measure --photos FOLDER --without-faces FOLDER

Photos whose faces are known are turned, covered, cut, painted and shuffled
(`pictures.KINDS`; each photo in a quarter of the kinds), and parts of them that show no
face, other pictures without faces and synthetic faces are added. A head is right if the
inner landmarks that the picture shows are off by less than a tenth of the distance of
the eyes in the mean, and all of them by less than a quarter. The weights of
`affjax.faces.Evidence` are fitted to all heads; in the tables, heads on every second
photo have a confidence by weights that were fitted to the other photos. Prints weights
and tables, writes `results/confidence.json`, and keeps what was found in
`runs/confidence.json`: an interrupted run goes on from there, and `--again` fits only
the weights anew.

FOLDER of photos: the 79 photos of eight public collections (see `docs/fit.md`), which
may not be shipped; `--every 2` takes half of them. FOLDER without faces: the pictures
of the packages scikit-image and scikit-learn but for those with people or coins.
"""

import argparse
import itertools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import optimize

from affjax import files
from affjax.data import SyntheticFaces
from affjax.export import SURE
from affjax.faces import (
  LEAST_SCORE,
  find_faces,
  read_photo,
)
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head
from affjax.names import is_photo
from affjax.types import Camera
from experiments.benchmarks import measuring
from experiments.confidence import pictures
from experiments.confidence.pictures import Picture

RESULTS = pathlib.Path(__file__).parents[1] / "results" / "confidence.json"
CACHE = pathlib.Path("runs/confidence.json")
SYNTHETIC, SIZE = 48, 192
# Largest mean error of shown and of all inner landmarks, interocular distances.
RIGHT, RIGHT_HIDDEN = 0.1, 0.25
# Least score with which faces are kept for the calibration.
KEPT = 0.02
# Standard deviation of the weights' prior, for standardized terms.
PRIOR = 3.0
_SYNTHETIC_KINDS = (
  *("as it is", "turned by 90", "turned by 180", "turned by 270"),
  *("turned at random", "covered: left half"),
)


def main() -> None:
  """Measures, calibrates, prints and writes."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--photos", type=pathlib.Path, required=True)
  parser.add_argument("--without-faces", type=pathlib.Path, required=True)
  parser.add_argument("--every", type=int, default=1, help="take every n-th photo")
  parser.add_argument("--again", action="store_true", help="use the rows of before")
  options = parser.parse_args()
  if not options.again:
    measured(made_pictures(options.photos, options.without_faces, options.every))
  rows = json.loads(CACHE.read_text("utf-8"))
  known = crossed(rows)
  report = {
    "machine": measuring.machine("cpu", 1),
    "weights": weights(heads(rows)),
    "by kind": table(rows, known),
    "by group": table([{**one, "kind": group(one["kind"])} for one in rows], known),
    "calibration": calibration(rows, known),
  }
  print(f"weights: {report['weights']}")
  for kind, line in (report["by kind"] | report["by group"]).items():
    print(f"{kind:30}", "  ".join(f"{k} {v}" for k, v in line.items()))
  for line in report["calibration"]:
    print(line)
  measuring.write_json(RESULTS, report)


def measured(made: Iterable[tuple[Picture, int]]) -> None:
  """Keeps what is found in pictures; what an earlier run has kept is not done again."""
  CACHE.parent.mkdir(parents=True, exist_ok=True)
  rows = json.loads(CACHE.read_text("utf-8")) if CACHE.is_file() else []
  for picture, half in itertools.islice(made, len(rows), None):
    rows.append(row(picture, half))
    files.write_json(CACHE, rows)


def made_pictures(
  photos: pathlib.Path, without: pathlib.Path, every: int
) -> Iterator[tuple[Picture, int]]:
  """Yields pictures and which half they belong to."""
  paths = sorted(path for path in photos.rglob("*") if is_photo(path.name))[::every]
  for n, path in enumerate(paths):
    photo = _small(path)
    faces = [face.landmarks68 for face in find_faces(np.asarray(photo), threshold=SURE)]
    if not faces:
      continue
    for m, kind in enumerate(pictures.KINDS):
      if m == 0 or (m + n // 2) % 4 == 0:
        seed = (1, n, m)
        yield pictures.changed(kind, path.name, photo, faces, seed), n % 2
    for part in pictures.backgrounds(path.name, photo, faces, (2, n)):
      yield part, n % 2
    print(f"{n + 1} of {len(paths)} photos", flush=True)
  for n, path in enumerate(sorted(p for p in without.iterdir() if is_photo(p.name))):
    for turns in (0, 2):
      pixels = np.ascontiguousarray(np.rot90(np.asarray(_small(path)), turns))
      yield Picture("no face", path.name, pixels, [], [], []), n % 2
  yield from synthetic(SYNTHETIC // every)


def _small(path: pathlib.Path) -> Image.Image:
  photo = Image.fromarray(read_photo(path))
  photo.thumbnail((pictures.SIDE, pictures.SIDE), Image.Resampling.LANCZOS)
  return photo


def synthetic(count: int) -> Iterator[tuple[Picture, int]]:
  """Yields synthetic faces of the test split, turned and covered."""
  model, camera = open_head("embedded"), Camera()
  source = SyntheticFaces(model, count, SIZE, split="test")
  for n in range(count):
    record = source[n]
    points = model.template.landmark_positions(jnp.asarray(record["vertices"]))
    world = head_to_world(points[None], jnp.asarray(record["pose"])[None])
    face = np.asarray(world_to_px(world, camera, SIZE, SIZE))[0].astype(float)
    kind = _SYNTHETIC_KINDS[n // 2 % len(_SYNTHETIC_KINDS)]
    photo = Image.fromarray(record["image"])
    picture = pictures.changed(kind, f"synthetic {n}", photo, [face], (3, n))
    yield picture, n % 2


def row(picture: Picture, half: int) -> dict[str, Any]:
  """Returns what was found in a picture, and whether it is right."""
  found = []
  for face in find_faces(picture.pixels, threshold=KEPT):
    assert face.evidence is not None
    whose = owner(face.landmarks68, picture)
    found.append(
      {
        "terms": face.evidence.terms,
        "right": whose is not None,
        "expected": whose is not None and bool(picture.expected[whose]),
      }
    )
  group = "synthetic" if picture.name.startswith("synthetic") else "photo"
  return {
    "kind": picture.kind if group == "photo" else f"synthetic, {picture.kind}",
    "name": picture.name,
    "half": half,
    "expected": int(sum(picture.expected)),
    "heads": found,
  }


def owner(points: np.ndarray, picture: Picture) -> int | None:
  """Returns the number of the face on which a head lies right, if there is one."""
  for k, (face, shown) in enumerate(zip(picture.faces, picture.shown, strict=True)):
    unit = np.linalg.norm(face[36] - face[45])
    # From the side the eyes are near each other: the height of the face counts, too.
    unit = max(unit, 0.6 * np.linalg.norm(face[27] - face[8]))
    off = np.linalg.norm(points - face, axis=1)[17:] / unit
    if off[shown[17:]].mean() < RIGHT and off.mean() < RIGHT_HIDDEN:
      return k
  return None


def heads(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns the heads of all pictures."""
  return [head for one in rows for head in one["heads"]]


def weights(found: Sequence[Mapping[str, Any]]) -> list[float]:
  """Returns a constant and the weights of the terms: a logistic regression."""
  x = np.array([head["terms"] for head in found])
  sign = np.array([1 if head["right"] else -1 for head in found])
  mean, spread = x.mean(0), x.std(0) + 1e-9
  rows = np.concatenate([np.ones((len(x), 1)), (x - mean) / spread], 1)

  def loss(w: np.ndarray) -> float:
    prior = 0.5 * float((w[1:] ** 2).sum()) / PRIOR**2
    return float(np.logaddexp(0, -sign * (rows @ w)).sum()) + prior

  w = optimize.minimize(loss, np.zeros(rows.shape[1])).x
  slopes = w[1:] / spread
  return [round(float(v), 2) for v in (w[0] - slopes @ mean, *slopes)]


def crossed(rows: Sequence[Mapping[str, Any]]) -> list[list[float]]:
  """Returns the confidence of the heads of each picture, as the other half has it."""
  known = [weights(heads([r for r in rows if r["half"] != h])) for h in (0, 1)]
  sure = lambda w, x: float(1 / (1 + np.exp(-(w[0] + np.dot(w[1:], x)))))
  return [[sure(known[r["half"]], head["terms"]) for head in r["heads"]] for r in rows]


def table(
  rows: Sequence[Mapping[str, Any]], known: Sequence[Sequence[float]]
) -> dict[str, dict[str, Any]]:
  """Returns counts by kind: sure and unsure heads that are right and wrong."""
  pairs = list(zip(rows, known, strict=True))
  kinds = dict.fromkeys(one["kind"] for one in rows)
  lines = {k: counts([pair for pair in pairs if pair[0]["kind"] == k]) for k in kinds}
  return {**lines, "all": counts(pairs)}


def group(kind: str) -> str:
  """Returns what kinds have in common: "covered: eyes" is "covered"."""
  return re.split(r": |, | by | at ", kind)[0]


def counts(
  pictures: Sequence[tuple[Mapping[str, Any], Sequence[float]]],
) -> dict[str, Any]:
  """Returns the counts, the precision and the recall of some pictures."""
  pairs = [p for one, v in pictures for p in zip(one["heads"], v, strict=True)]
  sure = [head for head, value in pairs if value >= SURE]
  unsure = [head for head, value in pairs if LEAST_SCORE <= value < SURE]
  right = [head for head in sure if head["right"]]
  either = [head for head in (*sure, *unsure) if head["expected"]]
  faces = sum(one["expected"] for one, _ in pictures)
  share = lambda part, whole: round(part / whole, 3) if whole else None
  return {
    "pictures": len(pictures),
    "faces": faces,
    "sure right": len(right),
    "sure wrong": len(sure) - len(right),
    "unsure right": sum(head["right"] for head in unsure),
    "unsure wrong": sum(not head["right"] for head in unsure),
    "precision": share(len(right), len(sure)),
    "recall": share(sum(head["expected"] for head in right), faces),
    "recall with unsure": share(len(either), faces),
  }


def calibration(
  rows: Sequence[Mapping[str, Any]], known: Sequence[Sequence[float]]
) -> list[dict[str, Any]]:
  """Returns how many heads of some confidence are right."""
  values = np.concatenate([*known, []])
  right = np.array([head["right"] for head in heads(rows)])
  lines = []
  for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
    chosen = (values >= low) & (values < high)
    if chosen.any():
      lines.append(
        {
          "confidence": [low, min(high, 1)],
          "heads": int(chosen.sum()),
          "stated": round(float(values[chosen].mean()), 3),
          "right": round(float(right[chosen].mean()), 3),
        }
      )
  return lines


if __name__ == "__main__":
  main()
