"""The joint distribution of the errors of what photos say, from photos with truth."""

import numpy as np
from jaxtyping import Bool, Float

# Errors beyond so many deviations count as so large.
_WINSOR = 5.0
# Weight, in photos, of a number's own deviation before any photo, of zero correlation,
# and of a bias that depends on the pose.
_OWN, _UNCORRELATED, _POSE = 10.0, 10.0, 20.0
# Number of photos that must show a number; its error counts as `_UNKNOWN` otherwise.
_LEAST, _UNKNOWN = 20, 3.0
# Least share of a variance that is independent.
_ALONE = 0.02


def error_distribution(
  error: Float[np.ndarray, "n q"],
  known: Bool[np.ndarray, "n q"],
  features: Float[np.ndarray, "n f"],
  *,
  factors: int,
  shrinkage: float,
) -> dict[str, np.ndarray]:
  """Returns bias, factors and variance of `affjax.faces._surface.anchors.Errors`.

  The correlations are those of the pairs of numbers that are known together; the
  factors are their largest principal components, shrunk towards independence (Ledoit
  and Wolf 2004).

  Args:
    error: Errors in the units of `Errors`.
    known: Which of them are known.
    features: Functions of the pose that the bias depends on.
    factors: Number of factors.
    shrinkage: Share of the factors' variance that counts as independent.
  """
  spread = _spread(error, known)
  value = np.clip(np.where(known, error, 0), -_WINSOR * spread, _WINSOR * spread)
  bias = _bias(value, known, features)
  value = np.where(known, value - features @ bias, 0)
  count = known.sum(0)
  second = (value**2).sum(0) / np.maximum(count, 1)
  share = np.where(count > _LEAST, count / (count + _OWN), 0)
  variance = share * second + (1 - share) * spread**2
  standard, there = value / np.sqrt(variance), known.astype(float)
  correlation = standard.T @ standard / (there.T @ there + _UNCORRELATED)
  size, direction = np.linalg.eigh(correlation)
  size = np.maximum(size[::-1][:factors], 0) * (1 - shrinkage)
  loading = (direction[:, ::-1][:, :factors] * np.sqrt(size)).T
  alone = np.maximum(1 - (loading**2).sum(0), _ALONE)
  return {
    "bias": bias,
    "factors": loading * np.sqrt(variance),
    "variance": alone * variance,
  }


def _spread(
  error: Float[np.ndarray, "n q"], known: Bool[np.ndarray, "n q"]
) -> Float[np.ndarray, " q"]:
  """Returns robust deviations, from the 90 % quantile of normal errors."""
  enough = known.sum(0) > _LEAST
  value = np.where(known | ~enough, np.abs(error), np.nan)
  return np.where(enough, np.nanquantile(value, 0.9, axis=0) / 1.645, _UNKNOWN)


def _bias(
  error: Float[np.ndarray, "n q"],
  known: Bool[np.ndarray, "n q"],
  features: Float[np.ndarray, "n f"],
) -> Float[np.ndarray, "f q"]:
  """Returns the ridge regression of the errors on the functions of the pose."""
  count = features.shape[1]
  left = np.einsum("nq,nf,ng->qfg", known * 1.0, features, features, optimize=True)
  left = left + np.diag([1.0] + [_POSE] * (count - 1))
  return np.linalg.solve(left, (features.T @ error).T[..., None])[..., 0].T


def gains(
  found: Float[np.ndarray, "n d"], true: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " d"]:
  """Returns the factors from estimates to what is expected given them, shrunk."""
  ridge = 0.02 * len(found) * (found**2).mean() + 1e-6
  return np.clip((found * true).sum(0) / ((found**2).sum(0) + ridge), 0, 20)
