"""Compares the embedded face encoder with dlib's own program and weights.

    pip install dlib-bin
    python -m experiments.tables.dlib_parity MODEL.dat LFW.tar

MODEL is `dlib_face_recognition_resnet_model_v1.dat` of the PyPI package
`face_recognition_models`. The first photos of an archive go through both. Prints the
distance between the two embeddings of the same aligned face, that between faces as dlib
sees them. Writes `experiments/results/dlib_parity.json`. About a minute on one core.
"""

import argparse
import pathlib

import numpy as np

from affjax.eval import face_chips, identity_distance
from affjax.export import to_uint8
from affjax.models import extract_identity, load_identity
from experiments.benchmarks import measuring
from experiments.tables import identity

RESULT = pathlib.Path(__file__).parents[1] / "results" / "dlib_parity.json"
PHOTOS = 40


def main() -> None:
  """Measures, prints and writes."""
  try:
    import dlib
  except ImportError as error:
    raise SystemExit("dlib is missing: pip install dlib-bin") from error
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("model", type=pathlib.Path)
  parser.add_argument("people", type=pathlib.Path)
  options = parser.parse_args()
  seen, _ = identity.people(options.people, PHOTOS)
  chips = to_uint8(face_chips(seen.pictures, np.round(np.stack(seen.landmarks))))
  encoder = dlib.face_recognition_model_v1(str(options.model))
  theirs = np.array([encoder.compute_face_descriptor(chip) for chip in chips])
  own = np.asarray(extract_identity(load_identity(), chips.astype(np.float32) / 255))
  apart = np.asarray(identity_distance(own, theirs.astype(np.float32)))
  first, second = np.triu_indices(len(theirs), 1)
  between = np.linalg.norm(theirs[first] - theirs[second], axis=-1)
  row = {
    "faces": len(chips),
    "distance_of_embeddings_mean": round(float(apart.mean()), 4),
    "distance_of_embeddings_largest": round(float(apart.max()), 4),
    "distance_between_faces_mean": round(float(between.mean()), 4),
  }
  print(row)
  measuring.write_json(RESULT, {"machine": measuring.machine("cpu", 1), **row})


if __name__ == "__main__":
  main()
