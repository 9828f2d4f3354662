"""Calibrates how sure heads are, and tells how often that is right.

  python -m experiments.confidence.measure --photos FOLDER --without-faces FOLDER

Photos whose faces are known are turned, covered, cut, painted and shuffled
(`pictures.KINDS`; each photo in a quarter of the kinds), and parts of them that show no
face, other pictures without faces and synthetic faces are added. A head is right if the
inner landmarks that the picture shows are off by less than a tenth of the distance of
the eyes in the mean, and all of them by less than a quarter. The weights of
`affjax.faces.Evidence` and `HeadEvidence` are fitted to every second photo, and the
table is made of the others. Prints both, writes `results/confidence.json`, and keeps
what was found in `runs/confidence.json`: `--again` fits only the weights anew.

FOLDER of photos: the 79 photos of eight public collections (see `docs/fit.md`), which
may not be shipped. FOLDER without faces: the pictures of the packages scikit-image and
scikit-learn but for those with people or coins.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import optimize

from affjax import files
from affjax.data import SyntheticFaces
from affjax.export import NO_FACE, SURE
from affjax.faces import (
  apply_crop,
  face_crops,
  find_faces,
  fit_faces,
  head_evidence,
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
SYNTHETIC, SIZE, CROP = 48, 192, 512
# Largest mean error of shown and of all inner landmarks, interocular distances.
RIGHT, RIGHT_HIDDEN = 0.1, 0.25
# Least score with which faces are kept for the calibration.
KEPT = 0.02
# Score of a face up to which a head is calibrated with all its evidence.
DOUBTFUL = 0.95
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
  parser.add_argument("--again", action="store_true", help="use the rows of before")
  options = parser.parse_args()
  if not options.again:
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for picture, half in made_pictures(options.photos, options.without_faces):
      rows.append(row(picture, half))
      if len(rows) % 100 == 0:
        files.write_json(CACHE, rows)
    files.write_json(CACHE, rows)
  rows = json.loads(CACHE.read_text("utf-8"))
  report = {
    "weights": {
      "evidence": weights(heads(rows, 0), "terms"),
      "head evidence": weights(
        [h for h in heads(rows, 0) if h["score"] < DOUBTFUL], "head_terms"
      ),
    },
  }
  report["by kind"] = table(rows, report["weights"], 1)
  report["calibration"] = calibration(heads(rows, 1), report["weights"])
  for name, value in report["weights"].items():
    print(f"{name}: {value}")
  for kind, line in report["by kind"].items():
    print(f"{kind:24}", "  ".join(f"{k} {v}" for k, v in line.items()))
  for line in report["calibration"]:
    print(line)
  measuring.write_json(RESULTS, report)


def made_pictures(
  photos: pathlib.Path, without: pathlib.Path
) -> Iterator[tuple[Picture, int]]:
  """Yields pictures and which half they belong to."""
  paths = sorted(path for path in photos.rglob("*") if is_photo(path.name))
  for n, path in enumerate(paths):
    photo = _small(path)
    faces = [face.landmarks68 for face in find_faces(np.asarray(photo))]
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
  yield from synthetic()


def _small(path: pathlib.Path) -> Image.Image:
  photo = Image.fromarray(read_photo(path))
  photo.thumbnail((pictures.SIDE, pictures.SIDE), Image.Resampling.LANCZOS)
  return photo


def synthetic() -> Iterator[tuple[Picture, int]]:
  """Yields synthetic faces of the test split, turned and covered."""
  model, camera = open_head("embedded"), Camera()
  source = SyntheticFaces(model, SYNTHETIC, SIZE, split="test")
  for n in range(SYNTHETIC):
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
  model, camera = open_head("embedded"), Camera()
  faces = find_faces(picture.pixels, threshold=KEPT)
  crops = face_crops(faces, model.template, camera, CROP)
  images = [apply_crop(picture.pixels, crop) for crop in crops]
  residuals = [fit.inner_error for fit in fit_faces(model, faces, crops, camera)]
  known = head_evidence(faces, crops, images, residuals)
  found = []
  for face, evidence in zip(faces, known, strict=True):
    assert face.evidence is not None
    whose = owner(face.landmarks68, picture)
    found.append(
      {
        "score": face.score,
        "terms": face.evidence.terms,
        "head_terms": evidence.terms,
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


def heads(rows: Sequence[Mapping[str, Any]], half: int) -> list[dict[str, Any]]:
  """Returns the heads of one half of the pictures."""
  return [head for one in rows if one["half"] == half for head in one["heads"]]


def weights(found: Sequence[Mapping[str, Any]], terms: str) -> list[float]:
  """Returns a constant and the weights of terms: a logistic regression."""
  x = np.array([head[terms] for head in found])
  sign = np.array([1 if head["right"] else -1 for head in found])
  mean, spread = x.mean(0), x.std(0) + 1e-9
  rows = np.concatenate([np.ones((len(x), 1)), (x - mean) / spread], 1)

  def loss(w: np.ndarray) -> float:
    prior = 0.5 * float((w[1:] ** 2).sum()) / PRIOR**2
    return float(np.logaddexp(0, -sign * (rows @ w)).sum()) + prior

  w = optimize.minimize(loss, np.zeros(rows.shape[1])).x
  slopes = w[1:] / spread
  return [round(float(v), 2) for v in (w[0] - slopes @ mean, *slopes)]


def confidence(head: Mapping[str, Any], known: Mapping[str, Sequence[float]]) -> float:
  """Returns the confidence of a head with some weights, as affjax computes it."""
  logit = lambda w, terms: w[0] + float(np.dot(w[1:], terms))
  odds = logit(known["evidence"], head["terms"])
  score = 1 / (1 + np.exp(-odds))
  if score < DOUBTFUL:
    own = (float(np.clip(odds, -9.21, 9.21)), *head["head_terms"][1:])
    score = 1 / (1 + np.exp(-logit(known["head evidence"], own)))
  return float(score)


def table(
  rows: Sequence[Mapping[str, Any]],
  known: Mapping[str, Sequence[float]],
  half: int,
) -> dict[str, dict[str, Any]]:
  """Returns counts by kind: sure and unsure heads that are right and wrong."""
  chosen = [one for one in rows if one["half"] == half]
  kinds = dict.fromkeys(one["kind"] for one in chosen)
  of_kind = lambda kind: [one for one in chosen if one["kind"] == kind]
  lines = {kind: counts(of_kind(kind), known) for kind in kinds}
  return {**lines, "all": counts(chosen, known)}


def counts(
  rows: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[float]]
) -> dict[str, Any]:
  """Returns the counts, the precision and the recall of some pictures."""
  pairs = [(head, confidence(head, known)) for one in rows for head in one["heads"]]
  sure = [head for head, value in pairs if value >= SURE]
  unsure = [head for head, value in pairs if NO_FACE <= value < SURE]
  right = [head for head in sure if head["right"]]
  either = [head for head in (*sure, *unsure) if head["expected"]]
  faces = sum(one["expected"] for one in rows)
  share = lambda part, whole: round(part / whole, 3) if whole else None
  return {
    "pictures": len(rows),
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
  found: Sequence[Mapping[str, Any]], known: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
  """Returns how many heads of some confidence are right."""
  values = np.array([confidence(head, known) for head in found])
  right = np.array([head["right"] for head in found])
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
