"""Slow twins of the face encoders' operations in NumPy, one image at a time."""

import numpy as np

_BLOCKS = (
  *("conv32_1", "conv32_2", "conv32_3"),
  *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
  *("conv128_down", "conv128_1", "conv128_2"),
  *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)


def dlib_embedding(asset, image):
  """dlib's face recognition network of one `[150, 150, 3]` image in [0, 1].

  A transcription of its definition (dnn_face_recognition_ex.cpp), from the input to the
  last layer.
  """
  x = (image.astype(np.float64) * 255 - [122.782, 117.001, 104.298]) / 256
  x = np.maximum(_layer(asset, "conv32_down", x, 2), 0)
  x = _pooled(x, 3, np.max)
  for name in _BLOCKS:
    down = "_down" in name
    y = np.maximum(_layer(asset, f"{name}/conv1", x, 2 if down else 1), 0)
    y = _layer(asset, f"{name}/conv2", y, 1)
    if down:
      x = _pooled(x, 2, np.mean)
    # `add_prev` takes the larger size of either side, and zeros beyond a border.
    total = np.zeros([max(a, b) for a, b in zip(x.shape, y.shape, strict=True)])
    for part in (x, y):
      total[tuple(slice(0, n) for n in part.shape)] += part
    x = np.maximum(total, 0)
  return x.mean((0, 1)) @ _kernel(asset, "output")


def chip_matrix(landmarks, points):
  """Least squares over (a, b, tx, ty) of the similarity x' = a x - b y + tx, ..."""
  rows, values = [], []
  for (x, y), (u, v) in zip(landmarks, points, strict=True):
    rows += [[x, -y, 1, 0], [y, x, 0, 1]]
    values += [u, v]
  a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
  return np.array([[a, -b, tx], [b, a, ty]])


def cosine(a, b):
  """Cosine of two vectors."""
  return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def rank(probes, gallery, k):
  """Place of entry k for probe k in the sorted gallery, behind its equals."""
  own = cosine(probes[k], gallery[k])
  return sum(cosine(probes[k], other) >= own for other in gallery)


def perceptual_distance(features, image, target, mask):
  """Distance of one picture; `features` maps a picture to a list of layers."""
  inside = np.where(mask > 0, image, target)
  total = 0.0
  for a, b in zip(features(inside), features(target), strict=True):
    shift = 0
    while mask.shape[0] >> (shift + 1) >= a.shape[0]:
      shift += 1
    weighted = weights = 0.0
    for i, j in np.ndindex(a.shape[:2]):
      side = 1 << shift
      weight = mask[i * side : (i + 1) * side, j * side : (j + 1) * side].mean()
      weighted += weight * np.abs(a[i, j] - b[i, j]).mean()
      weights += weight
    total += weighted / weights
  return total


def _kernel(asset, name):
  kernel, scale, shift = (
    asset[f"{name}/{k}"].astype(np.float64) for k in ("kernel", "scale", "shift")
  )
  return kernel * scale + shift


def _layer(asset, name, x, stride):
  """A convolution by a loop over its taps: padded if its stride is 1, else not."""
  kernel = _kernel(asset, name)
  size = len(kernel)
  pad = size // 2 if stride == 1 else 0
  x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
  h, w = ((n - size) // stride + 1 for n in x.shape[:2])
  total = np.zeros((h, w, kernel.shape[-1]))
  for i, j in np.ndindex(size, size):
    rows = slice(i, i + stride * (h - 1) + 1, stride)
    columns = slice(j, j + stride * (w - 1) + 1, stride)
    total += x[rows, columns] @ kernel[i, j]
  return total + asset[f"{name}/bias"]


def _pooled(x, size, reduce):
  """A pooling of stride 2 without padding."""
  windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))
  return reduce(windows[::2, ::2], (-2, -1))
