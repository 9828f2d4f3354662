"""Plain convolution and its gradients, spelled out in NumPy in double precision."""

import numpy as np


def passes(x, kernel, grad, stride):
  """Returns the result, and the gradients of x and kernel for the result's `grad`."""
  x, kernel, grad = (np.asarray(a, np.float64) for a in (x, kernel, grad))
  size, before = len(kernel), (len(kernel) - 1) // 2
  rows, columns = grad.shape[1:3]
  after = stride * max(rows, columns) + size
  edge = (before, after)
  padded = np.pad(x, ((0, 0), edge, edge, (0, 0)))
  y, of_x = np.zeros(grad.shape), np.zeros(padded.shape)
  of_kernel = np.zeros(kernel.shape)
  for i in range(size):
    for j in range(size):
      tap = np.s_[:, i::stride, j::stride]
      seen = padded[tap][:, :rows, :columns]
      y += seen @ kernel[i, j]
      of_x[tap][:, :rows, :columns] += grad @ kernel[i, j].T
      of_kernel[i, j] = np.einsum("nijc,nijo->co", seen, grad)
  inside = np.s_[:, before : before + x.shape[1], before : before + x.shape[2]]
  return y, of_x[inside], of_kernel
