"""Affine convolution and its gradients in float64 NumPy, with priors and offsets."""

import numpy as np


def compose(prior, theta):
  """`prior` after `theta`."""
  moved = prior[..., :2] @ theta
  moved[..., 2] += prior[..., 2]
  return moved


def _taps(size):
  line = np.arange(size) - (size - 1) // 2
  dx, dy = np.meshgrid(line, line)
  return np.stack([dx.ravel(), dy.ravel(), np.ones(size * size)], -1)


def _places(coords, prior, size, stride):
  """Returns the places that taps read, `[N, Ho, Wo, K * K, 2]`."""
  rows, columns = np.arange(coords.shape[1]), np.arange(coords.shape[2])
  center = stride * np.stack(np.meshgrid(columns, rows), -1)[None, :, :, None]
  if coords.shape[-1] == 2:
    return coords + _taps(size)[:, :2] + center
  theta = coords if prior is None else compose(prior, coords)
  return np.einsum("nijrc,kc->nijkr", theta, _taps(size)) + center


def _corners(x, places):
  """For each corner: image, row, column, whether it is inside, and its weight."""
  n, height, width, _ = x.shape
  px, py = places[..., 0], places[..., 1]
  inside = (px >= -1) & (px < width) & (py >= -1) & (py < height)
  px, py = np.where(inside, px, -1), np.where(inside, py, -1)
  column, row = np.floor(px).astype(int), np.floor(py).astype(int)
  fx, fy = px - column, py - row
  image = np.arange(n).reshape(-1, 1, 1, 1) + np.zeros_like(row)
  found = []
  for down in (0, 1):
    for right in (0, 1):
      r, c = row + down, column + right
      read = inside & (r >= 0) & (r < height) & (c >= 0) & (c < width)
      weight = (fx if right else 1 - fx) * (fy if down else 1 - fy)
      slope_x = (1 if right else -1) * (fy if down else 1 - fy)
      slope_y = (1 if down else -1) * (fx if right else 1 - fx)
      place = image, np.where(read, r, 0), np.where(read, c, 0)
      found.append((place, read, weight, slope_x, slope_y))
  return found


def forward(x, coords, prior, kernel, stride):
  """`[N, Ho, Wo, O]`; shapes as the FFI contract has them, prior may be None."""
  size = kernel.shape[0]
  flat = kernel.reshape(size * size, *kernel.shape[2:]).astype(np.float64)
  return np.einsum("nijkc,kco->nijo", _columns(x, coords, prior, size, stride), flat)


def _columns(x, coords, prior, size, stride):
  places = _places(*_wide(coords, prior), size, stride)
  wide = x.astype(np.float64)
  samples = np.zeros((*places.shape[:-1], x.shape[3]))
  for place, read, weight, *_ in _corners(x, places):
    samples += np.where(read, weight, 0)[..., None] * wide[place]
  return np.where(np.isnan(places).any(-1)[..., None], np.nan, samples)


def _wide(coords, prior):
  return coords.astype(np.float64), None if prior is None else prior.astype(np.float64)


def backward(x, coords, prior, kernel, grad, stride):
  """Gradients of x, coords, prior (or None) and kernel."""
  size = kernel.shape[0]
  coords, prior = _wide(coords, prior)
  flat = kernel.reshape(size * size, *kernel.shape[2:]).astype(np.float64)
  wide, grad = x.astype(np.float64), grad.astype(np.float64)
  columns = _columns(x, coords, prior, size, stride)
  grad_kernel = np.einsum("nijkc,nijo->kco", columns, grad).reshape(kernel.shape)
  grad_columns = np.einsum("nijo,kco->nijkc", grad, flat)
  grad_x = np.zeros(x.shape)
  grad_places = np.zeros((*columns.shape[:-1], 2))
  places = _places(coords, prior, size, stride)
  for place, read, weight, slope_x, slope_y in _corners(x, places):
    np.add.at(grad_x, place, np.where(read, weight, 0)[..., None] * grad_columns)
    dots = np.where(read, (wide[place] * grad_columns).sum(-1), 0)
    grad_places += dots[..., None] * np.stack([slope_x, slope_y], -1)
  if coords.shape[-1] == 2:
    return grad_x, grad_places, None, grad_kernel
  moved = np.einsum("nijkr,kc->nijrc", grad_places, _taps(size))
  if prior is None:
    return grad_x, moved, None, grad_kernel
  grad_theta = np.einsum("nijrk,nijrc->nijkc", prior[..., :2], moved)
  linear = np.einsum("nijrc,nijkc->nijrk", moved, coords)
  grad_prior = np.concatenate([linear, moved[..., 2:]], -1)
  return grad_x, grad_theta, grad_prior, grad_kernel
