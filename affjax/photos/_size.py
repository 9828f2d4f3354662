"""The size of a head, from its irises."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from affjax.export import Reconstruction
from affjax.faces import Face

# Width of the visible iris, mm; over adults it has a standard deviation of about 4 %
# (Rüfer et al. 2005, "White-to-white corneal diameter").
IRIS_MM = 11.7
# Corners of the eye in the image on the left and on the right, of the 68 landmarks.
_CORNERS = ((36, 39), (42, 45))
# Range of sizes that are believed, over the mean head.
_PLAUSIBLE = (0.75, 1.33)


def with_size(head: Reconstruction, face: Face) -> Reconstruction:
  """Returns a head of the size at which its irises are 11.7 mm wide.

  The irises' widths in the photo and the distance of the eyes in the reconstruction
  give the size; a head whose irises are implausible keeps the mean size and gets a
  doubt.

  Args:
    head: The head, of the mean head's size.
    face: The face from which it was made.
  """
  widths = np.linalg.norm(face.iris[:, 1] - face.iris[:, 3], axis=-1)
  units = widths / _px_per_unit(head)
  # The iris of an eye that is turned away or half shut looks smaller.
  largest = float(units.max(initial=0, where=np.isfinite(units)))
  scale = IRIS_MM / (100 * largest) if largest else np.inf
  notes: dict[str, Any] = dict(head.notes)
  if not _PLAUSIBLE[0] <= scale <= _PLAUSIBLE[1]:
    doubt = f"irises would make the head {scale:.2f} times as large as the mean head"
    notes["doubts"] = [*notes.get("doubts", []), doubt]
    return dataclasses.replace(head, notes=notes)
  notes["iris_mm"] = IRIS_MM
  return dataclasses.replace(head, scale=round(scale, 4), notes=notes)


def _px_per_unit(head: Reconstruction) -> Float[np.ndarray, " 2"]:
  """Returns how many photo px a unit of head space takes at each eye."""
  points = head.template.landmark_positions(head.mesh.vertices)
  found = []
  for pair in _CORNERS:
    eye = np.append(points[list(pair)].mean(0), 1)
    a, b, depth = head.projection @ eye
    place = np.array([a, b]) / depth
    turned = head.projection[:2, :3] - place[:, None] * head.projection[2:, :3]
    found.append(np.linalg.svd(turned / depth, compute_uv=False).mean())
  return np.array(found)
