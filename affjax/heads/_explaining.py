"""The identity and expression of a given head, as coefficients of its model."""

import functools

import numpy as np
import scipy
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular

from affjax.heads._morphable import MorphableModel

# Standard deviation of an expression coefficient.
_EXPRESSION_STD = 0.3
# Deviation of coordinates that no mode explains, dm. It is large because neighboring
# vertices are off together: they count as far fewer than there are.
_NOISE = 0.1


def explain_vertices(
  model: MorphableModel, vertices: Float[np.ndarray, "v 3"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " e"]]:
  """Returns the most probable identity and expression of a head.

  Linear least squares with normal priors; expression is bounded to 0 to 1.

  Args:
    model: Model of the head.
    vertices: Head-space vertices of its template, dm, without pose.

  Raises:
    ValueError: There are not as many vertices as in the template, or not finite.
  """
  expected = model.template.vertices.shape
  if vertices.shape != expected or not np.isfinite(vertices).all():
    raise ValueError(f"vertices must be finite {expected}, got {vertices.shape}")
  factor = _factor(model)
  modes = np.concatenate([model.identity_basis, model.expression_basis])
  offset = (vertices - model.template.vertices).reshape(-1)
  pull = modes.reshape(len(modes), -1) @ offset / _NOISE**2
  people = len(model.identity_basis)
  low = np.where(np.arange(len(modes)) < people, -np.inf, 0.0)
  high = np.where(np.arange(len(modes)) < people, np.inf, 1.0)
  right = solve_triangular(factor.T, pull, lower=True)
  found = scipy.optimize.lsq_linear(factor, right, (low, high)).x.astype(np.float32)
  return found[:people], found[people:]


@functools.lru_cache(maxsize=2)
def _factor(model: MorphableModel) -> Float[np.ndarray, "d d"]:
  """Returns the upper Cholesky factor of the coefficients' posterior precision."""
  modes = np.concatenate([model.identity_basis, model.expression_basis])
  rows = modes.reshape(len(modes), -1).astype(np.float64)
  people = len(model.identity_basis)
  prior = np.where(np.arange(len(rows)) < people, 1.0, 1 / _EXPRESSION_STD**2)
  return cholesky(rows @ rows.T / _NOISE**2 + np.diag(prior))
