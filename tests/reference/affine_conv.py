"""Affine convolution in float64 NumPy, one loop an index: the definition."""

import numpy as np


def sample(image: np.ndarray, x: float, y: float) -> np.ndarray:
  """Bilinear sample `[C]` of `[H, W, C]`, zero outside, NaN at NaN."""
  height, width, channels = image.shape
  if np.isnan(x) or np.isnan(y):
    return np.full(channels, np.nan)
  if not (-1 <= x <= width and -1 <= y <= height):
    return np.zeros(channels)
  column, row = int(np.floor(x)), int(np.floor(y))
  value = np.zeros(channels)
  for r, wy in ((row, row + 1 - y), (row + 1, y - row)):
    for c, wx in ((column, column + 1 - x), (column + 1, x - column)):
      if 0 <= r < height and 0 <= c < width:
        value += wx * wy * image[r, c]
  return value


def affine_conv(
  x: np.ndarray, theta: np.ndarray, kernel: np.ndarray, stride: int
) -> np.ndarray:
  """`[N, H, W, C]`, `[N, Ho, Wo, 2, 3]`, `[K, K, C, O]` -> `[N, Ho, Wo, O]`."""
  x, theta, kernel = (np.asarray(v, np.float64) for v in (x, theta, kernel))
  size = kernel.shape[0]
  middle = (size - 1) // 2
  out = np.zeros((*theta.shape[:3], kernel.shape[3]))
  for n, i, j in np.ndindex(*theta.shape[:3]):
    for a, b in np.ndindex(size, size):
      px, py = theta[n, i, j] @ [b - middle, a - middle, 1.0]
      read = sample(x[n], stride * j + px, stride * i + py)
      out[n, i, j] += read @ kernel[a, b]
  return out
