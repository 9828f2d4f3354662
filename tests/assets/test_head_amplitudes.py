"""Measured amplitudes: the likelihood on covariances small enough to see through."""

import numpy as np
import pytest

from experiments.assets.head_amplitudes import Covariances, most_likely


def _covariances(logs):
  """Random parts, and halves whose covariance is the modeled one."""
  rng = np.random.default_rng(0)
  factors = rng.standard_normal((2, len(logs) - 1, 12, 4))
  even, odd = factors @ np.swapaxes(factors, -1, -2)
  made = Covariances(even, odd, np.zeros((2, 12, 12)))
  return Covariances(even, odd, np.stack([made.modeled(logs)] * 2))


def test_gradient_against_differences():
  logs = np.log([0.5, 0.03, 0.01, 0.4])
  covariances = _covariances(logs)
  there = logs + np.array([0.1, -0.2, 0.3, 0.2])
  _, gradient = covariances.cost(there, 0)
  for k in range(len(logs)):
    step = np.zeros(len(logs))
    step[k] = 1e-5
    high, low = (covariances.cost(there + s * step, 0)[0] for s in (1, -1))
    assert (high - low) / 2e-5 == pytest.approx(gradient[k], rel=1e-4, abs=1e-7)


def test_known_amplitudes_are_found():
  logs = np.log([0.5, 0.03, 0.01, 0.4])
  found = most_likely(_covariances(logs), logs[0])
  np.testing.assert_allclose(found, logs, atol=0.02)
