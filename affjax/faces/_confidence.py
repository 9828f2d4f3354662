"""How likely it is that a head lies right on a face."""

from affjax.faces._find import Face

# Error of the landmarks of a head, percent of the interocular distance, from which on
# it is off the face whatever else is known, and the largest confidence of such a head.
OFF, _OFF_CONFIDENCE = 12.0, 0.5


def confidence(face: Face, residual: float) -> float | None:
  """Returns the probability that a head lies right on a face.

  It is the score of the face, which says how well the detector and the landmark network
  agree, and at most 0.5 for a head that is far from the landmarks.

  Args:
    face: Face, as `find_faces` returns it.
    residual: Mean distance of the head's landmarks 17-67 from the face's, in percent
      of the distance of the outer eye corners.

  Returns:
    The probability; None for a face whose evidence is not known.
  """
  if face.evidence is None:
    return None
  return face.score if residual < OFF else min(face.score, _OFF_CONFIDENCE)
