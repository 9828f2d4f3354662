"""Means with bootstrap intervals, and ratios to a baseline on the same photos."""

import dataclasses

import numpy as np
from jaxtyping import Float

_RESAMPLES, _SEED = 2000, 0
_QUANTILES = (0.025, 0.975)


@dataclasses.dataclass(frozen=True)
class Summary:
  """Mean of a measure over photos beside that of the mean head on the same photos.

  Attributes:
    n: Number of photos, those where both have a value.
    mean: Mean of the method; NaN without any photo.
    interval: 95 % bootstrap interval of the mean, over photos.
    baseline: Mean of the mean head on the same photos.
    ratio: `mean / baseline`.
    ratio_interval: 95 % bootstrap interval of the ratio, over photos.
  """

  n: int
  mean: float
  interval: tuple[float, float]
  baseline: float
  ratio: float
  ratio_interval: tuple[float, float]


def summary(
  values: Float[np.ndarray, " n"], baseline: Float[np.ndarray, " n"]
) -> Summary:
  """Returns mean, ratio and intervals over the photos where both values are finite.

  Args:
    values: The measure of each photo; NaN where it has none.
    baseline: The same of the mean head.
  """
  both = np.isfinite(values) & np.isfinite(baseline)
  own, other = values[both].astype(np.float64), baseline[both].astype(np.float64)
  n = len(own)
  if not n:
    nothing = (np.nan, np.nan)
    return Summary(0, np.nan, nothing, np.nan, np.nan, nothing)
  rng = np.random.default_rng(_SEED)
  picks = rng.integers(0, n, (_RESAMPLES, n))
  with np.errstate(divide="ignore", invalid="ignore"):
    means, others = own[picks].mean(1), other[picks].mean(1)
    ratio = float(own.mean() / other.mean())
    ratios = means / others
  return Summary(
    n,
    float(own.mean()),
    _interval(means),
    float(other.mean()),
    ratio,
    _interval(ratios),
  )


def _interval(values: Float[np.ndarray, " r"]) -> tuple[float, float]:
  """Returns the interval; NaN where the baseline of some resamples is zero."""
  if not np.isfinite(values).all():
    return np.nan, np.nan
  low, high = np.quantile(values, _QUANTILES)
  return float(low), float(high)
