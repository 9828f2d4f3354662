"""How far apart `--iris` puts the pupils of people, in mm.

  python -m experiments.tables.iris_size PHOTOS...

Fits every face of the folders whose yaw is below 25 degrees, and measures the distance
of the eyeballs' centers with and without the size of the irises. Adults' pupils are
63.4 mm apart in the mean, with a standard deviation of 3.8 mm (Dodgson 2004, "Variation
and extrema of human interpupillary distance"). Writes
`experiments/results/iris_size.json`.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator

import numpy as np

from affjax.faces import PhotoError, read_photo
from affjax.heads import open_head
from affjax.photos import FitReconstructor, gather

RESULT = pathlib.Path(__file__).parents[1] / "results" / "iris_size.json"
MOST_YAW_DEG = 25.0


def main() -> None:
  """Measures, prints and writes the distances."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("photos", nargs="+", type=pathlib.Path)
  parser.add_argument("--limit", type=int, default=60)
  options = parser.parse_args()
  rows = list(distances(options.photos, options.limit))
  table = {"faces": len(rows), "not_believed": sum(not row[2] for row in rows)}
  for k, name in enumerate(("mean_head_mm", "iris_mm")):
    values = [row[k] for row in rows if row[2]]
    table[name] = {"mean": np.mean(values), "std": np.std(values)}
    table[name] |= dict(
      zip(("5 %", "95 %"), np.percentile(values, [5, 95]), strict=True)
    )
  text = json.dumps(table, indent=1, default=lambda x: round(float(x), 2))
  RESULT.write_text(text + "\n")
  print(text)


def distances(
  places: list[pathlib.Path], limit: int
) -> Iterator[tuple[float, float, bool]]:
  """Yields distances without and with the irises' size, and if that is believed."""
  method = FitReconstructor(open_head("embedded"), photometric=False, iris=True)
  for path in gather(places).photos[:limit]:
    try:
      heads = method.heads_of(read_photo(path), path)
    except PhotoError:
      continue
    for head in heads:
      if abs(np.degrees(np.arcsin(-head.rotation[2, 0]))) < MOST_YAW_DEG:
        points = head.template.landmark_positions(head.mesh.vertices)
        eyes = points[36:48].reshape(2, 6, 3).mean(1)
        apart = 100 * float(np.linalg.norm(eyes[0] - eyes[1]))
        yield apart, apart * head.scale, "iris_mm" in head.notes


if __name__ == "__main__":
  main()
