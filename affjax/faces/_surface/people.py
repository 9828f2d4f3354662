"""Several photos of one person: what each adds to the prior is added up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from affjax.faces._surface.read import Errors, Reading, expected_error

# Largest variance of a component that a photo says something about; people have 1.
_LARGEST = 0.999


class People(NamedTuple):
  """Faces whose photos were read together.

  Attributes:
    face: Expected components.
    left: Root mean squared error that is expected after all photos of the person, in
      multiples of that after the photo alone.
  """

  face: Float[np.ndarray, "n d"]
  left: Float[np.ndarray, " n"]


def shared(found: Reading, errors: Errors, people: Sequence[int], count: int) -> People:
  """Returns faces of which the photos of a person have the same identity.

  The errors of a photo have the covariance of held-out photos, times the square of what
  the network expects of its errors there; photos err independently of each other. Faces
  that are not finite stay as they are and say nothing about the person.

  Args:
    found: Readings of N photos.
    errors: Errors of readings.
    people: Number of the person on each photo.
    count: Number of identity components, which come first.
  """
  face = np.array(found.face)
  left = np.ones(len(face), np.float32)
  expected = expected_error(found.deviations)
  variance, axes = np.linalg.eigh(errors.covariance[:count, :count])
  whole = np.isfinite(face).all(1) & np.isfinite(expected)
  for person in set(people):
    rows = np.flatnonzero((np.asarray(people) == person) & whole)
    if len(rows) > 1:
      scale = (expected[rows] / errors.deviation) ** 2
      own = 1 / np.clip(np.outer(scale, np.maximum(variance, 1e-3)), None, _LARGEST)
      total = own.sum(0) - (len(rows) - 1)
      mean = (own * (face[rows, :count] @ axes)).sum(0) / total
      face[rows, :count] = mean @ axes.T
      left[rows] = np.sqrt((1 / total).mean() / (1 / own).mean(1))
  return People(face, left)
