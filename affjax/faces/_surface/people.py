"""Several photos of one person: what each adds to the prior is added up."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.faces._surface.estimate import Estimate


def shared(found: Estimate, people: Sequence[int], count: int) -> Estimate:
  """Returns estimates in which the photos of a person have the same identity.

  The expression of each photo moves with the identity as their covariance says.
  Estimates that are not finite stay as they are and say nothing about the person.

  Args:
    found: Estimates of N photos.
    people: Number of the person on each photo.
    count: Number of identity components, which come first.
  """
  face = np.array(found.face)
  precision = np.array(found.precision)
  whole = np.isfinite(face).all(1) & np.isfinite(precision).all((1, 2))
  for person in set(people):
    rows = np.flatnonzero((np.asarray(people) == person) & whole)
    if len(rows) > 1:
      together, mean = _together(face[rows], precision[rows], count)
      for k in rows:
        inner = precision[k, count:, count:]
        crossed = precision[k, count:, :count]
        change = mean - face[k, :count]
        face[k, count:] -= np.linalg.solve(inner, crossed @ change)
        face[k, :count] = mean
        explained = crossed.T @ np.linalg.solve(inner, crossed)
        precision[k, :count, :count] = together + explained
  return found._replace(face=jnp.asarray(face), precision=jnp.asarray(precision))


def _together(
  face: Float[np.ndarray, "p d"], precision: Float[np.ndarray, "p d d"], count: int
) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
  """Returns precision and mean of the identity given all photos of a person."""
  own = precision[:, :count, :count]
  crossed = precision[:, count:, :count]
  inner = precision[:, count:, count:]
  own = own - np.einsum("pek,pej->pkj", crossed, np.linalg.solve(inner, crossed))
  total = own.sum(0) - (len(face) - 1) * np.eye(count)
  right = np.einsum("pkj,pj->k", own, face[:, :count])
  return total, np.linalg.solve(total, right)
