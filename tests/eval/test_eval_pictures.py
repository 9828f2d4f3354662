"""Depth and picture errors against twins, and values known beforehand."""

import numpy as np
import pytest

from affjax import eval as evaluation
from tests.reference import eval as twin


def _bumps(rng, size=16):
  y, x = np.mgrid[:size, :size] / size
  depth = 1.0 + 0.05 * np.sin(6 * x + rng.uniform(0, 6)) * np.cos(5 * y)
  depth[rng.uniform(size=depth.shape) < 0.03] = 1.2
  return depth.astype(np.float32)


def test_unsup3d_protocol_is_its_twin():
  rng = np.random.default_rng(1)
  depth = np.stack([_bumps(rng) for _ in range(3)])
  truth = np.stack([_bumps(rng) for _ in range(3)])
  got = evaluation.depth_errors(depth, truth)
  for k in range(3):
    side, mad, pixels = twin.unsup3d(depth[k].astype(float), truth[k].astype(float))
    assert pixels == got.pixels[k]
    np.testing.assert_allclose(got.side[k], side, rtol=1e-4)
    np.testing.assert_allclose(got.mad[k], mad, rtol=1e-3)


def test_side_ignores_the_scale_of_depth():
  rng = np.random.default_rng(2)
  truth = np.stack([_bumps(rng)])
  got = evaluation.depth_errors(truth * 1.7, truth, protocol="mesh")
  np.testing.assert_allclose(got.side, [0], atol=1e-5)
  np.testing.assert_allclose(got.mad, [0], atol=0.1)


def test_constant_depth_is_a_baseline_and_an_empty_mask_is_nan():
  truth = np.stack([_bumps(np.random.default_rng(3))])
  got = evaluation.depth_errors(np.ones_like(truth), truth)
  assert 0.01 < float(got.side[0]) < 0.05
  empty = evaluation.depth_errors(np.full_like(truth, 1.2), truth)
  assert np.isnan(empty.side[0])
  assert empty.pixels[0] == 0


def test_the_maximum_of_the_batch_is_an_option():
  rng = np.random.default_rng(4)
  truth = np.stack([_bumps(rng), _bumps(rng)])
  truth[1] = np.minimum(truth[1], 1.04)  # without background
  own = evaluation.depth_errors(truth, truth)
  batch = evaluation.depth_errors(truth, truth, maximum_of_batch=True)
  assert batch.pixels[1] > own.pixels[1]


def test_gray_pictures_as_depth():
  np.testing.assert_allclose(
    evaluation.depth_from_gray(np.array([[[0.0, 1.0]]])), [[[1.1, 0.9]]], rtol=1e-6
  )


def test_unknown_protocol():
  with pytest.raises(ValueError, match="unsup3d, mesh, got 'eigen'"):
    evaluation.depth_errors(np.ones((1, 4, 4)), np.ones((1, 4, 4)), protocol="eigen")


def test_picture_errors_of_known_pairs():
  a = np.full((1, 16, 16, 3), 0.5, np.float32)
  b = a + np.float32(0.1)
  mask = np.ones((1, 16, 16, 1), np.float32)
  np.testing.assert_allclose(evaluation.l1_error(a, b, mask), [0.1], rtol=1e-4)
  np.testing.assert_allclose(evaluation.psnr(a, b, mask), [20.0], rtol=1e-4)
  np.testing.assert_allclose(evaluation.ssim(a, a, mask), [1.0], rtol=1e-5)
  # Constant pictures: only the luminance term of SSIM differs from 1.
  expected = (2 * 0.5 * 0.6 + 1e-4) / (0.25 + 0.36 + 1e-4)
  np.testing.assert_allclose(evaluation.ssim(a, b, mask), [expected], rtol=1e-3)


def test_only_the_mask_counts():
  rng = np.random.default_rng(5)
  a = rng.uniform(size=(1, 12, 12, 3)).astype(np.float32)
  b = a.copy()
  b[:, :6] = 0
  mask = np.zeros((1, 12, 12, 1), np.float32)
  mask[:, 6:] = 1
  for error in (evaluation.l1_error, evaluation.color_difference):
    np.testing.assert_allclose(error(a, b, mask), [0], atol=1e-5)


def test_lab_of_known_colors():
  """Values of the sRGB primaries, white and middle gray in CIELAB (D65)."""
  colors = np.array(
    [[[[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]]]], np.float32
  )
  expected = [
    [100, 0, 0],
    [53.24, 80.09, 67.20],
    [87.73, -86.18, 83.18],
    [32.30, 79.19, -107.86],
    [53.39, 0, 0],
  ]
  np.testing.assert_allclose(evaluation.lab(colors)[0, 0], expected, atol=0.05)
