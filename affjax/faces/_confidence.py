"""How sure it is that a head lies right on a face.

The score of a face says how well the detector and the landmark network agree on it.
Where that leaves a doubt, the geometry network is asked, too: it was trained apart from
both and says for each pixel which point of the head it shows. The fit says how much the
landmarks look like those of a head, and the photo how many of them it shows.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from affjax.faces import warp
from affjax.faces._crop import Crop
from affjax.faces._evidence import log_odds, probability
from affjax.faces._find import Face
from affjax.faces._surface import anchors
from affjax.faces._surface.read import read_surface
from affjax.heads import facemesh, open_head

# Score of a face from which on nothing else is asked.
_BEYOND_DOUBT = 0.95
# The log odds of a doubtful head: a constant, and weights of the terms of its evidence,
# as `experiments.confidence.measure` calibrates them.
_CONSTANT = 0.0
_WEIGHTS = (1.0, 0.0, 0.0, 0.0)
# Error of the landmarks of a head, % of the interocular distance, from which on it is
# off the face whatever else is known, and the largest confidence of such a head.
_OFF, _OFF_CONFIDENCE = 12.0, 0.5


@dataclasses.dataclass(frozen=True)
class HeadEvidence:
  """What speaks for a head on a face.

  Attributes:
    score: Score of the face.
    residual: Mean distance of the head's landmarks 17-67 from the face's, in percent of
      the interocular distance.
    surface_error: Mean distance on the mean head, dm, of the points that the geometry
      network sees at FaceMesh's landmarks from those where the landmarks belong.
    visible: Share of FaceMesh's landmarks at which the network sees skin.
  """

  score: float
  residual: float
  surface_error: float
  visible: float

  @property
  def terms(self) -> tuple[float, float, float, float]:
    """The numbers that are weighed."""
    return (
      log_odds(self.score),
      math.log(self.residual + 0.1),
      math.log(self.surface_error + 0.02),
      self.visible,
    )


def confidences(
  faces: Sequence[Face],
  crops: Sequence[Crop],
  images: Sequence[Float[np.ndarray, "s s 3"]],
  residuals: Sequence[float],
) -> list[float | None]:
  """Returns the probability that each head lies right on a face.

  It is None for faces whose evidence is not known. The geometry network runs only where
  the score of a face leaves a doubt.

  Args:
    faces: Faces, as `find_faces` returns them.
    crops: Crop of each face.
    images: Pixels of the crops, in [0, 1].
    residuals: Mean distance of each head's landmarks 17-67 from the face's, in percent
      of the distance of the outer eye corners.
  """
  doubtful = [
    k for k, face in enumerate(faces) if face.evidence and face.score < _BEYOND_DOUBT
  ]
  known = head_evidence(
    *([rows[k] for k in doubtful] for rows in (faces, crops, images, residuals))
  )
  found = [face.score if face.evidence else None for face in faces]
  for k, evidence in zip(doubtful, known, strict=True):
    terms = zip(_WEIGHTS, evidence.terms, strict=True)
    found[k] = probability(_CONSTANT + math.fsum(w * term for w, term in terms))
  return [
    value if value is None or residual < _OFF else min(value, _OFF_CONFIDENCE)
    for value, residual in zip(found, residuals, strict=True)
  ]


def head_evidence(
  faces: Sequence[Face],
  crops: Sequence[Crop],
  images: Sequence[Float[np.ndarray, "s s 3"]],
  residuals: Sequence[float],
) -> list[HeadEvidence]:
  """Returns what speaks for heads; the arguments are those of `confidences`."""
  if not faces:
    return []
  maps = read_surface(np.rint(np.stack(images) * 255).astype(np.uint8))
  head = open_head("embedded")
  step = slice(None, None, anchors.MESH_STEP)
  # The outline of FaceMesh lies at no fixed place of the head.
  fixed = ~facemesh.points(head.template).contour[step]
  places = np.asarray(anchors.load(head).anchors.mesh)[fixed]
  found = []
  for k, (face, crop) in enumerate(zip(faces, crops, strict=True)):
    px = warp.transform(crop.matrix, face.landmarks[step, :2])[fixed]
    inside = ((px > -0.5) & (px < crop.size - 0.5)).all(1)
    blocks = len(maps.skin[k])
    x, y = np.clip((px + 0.5) * (blocks / crop.size), 0, blocks - 1).astype(int).T
    skin = np.where(inside, np.asarray(maps.skin[k])[y, x, 0], 0)
    apart = np.linalg.norm(np.asarray(maps.points[k])[y, x] - places, axis=1)
    error = float((skin * apart).sum() / max(skin.sum(), 1e-6))
    found.append(
      HeadEvidence(face.score, float(residuals[k]), error, float(skin.mean()))
    )
  return found
