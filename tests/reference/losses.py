"""The losses in float64 NumPy, written as the paper's equations read."""

import numpy as np


def gaussian_blur(x, sigma, size):
  """Convolution with a truncated Gaussian over an edge-padded `[h, w, c]` image."""
  reach = size // 2
  tap = np.arange(-reach, reach + 1)
  kernel = np.exp(-(tap[:, None] ** 2 + tap**2) / (2 * sigma**2))
  kernel /= kernel.sum()
  padded = np.pad(
    x.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), "edge"
  )
  out = np.zeros_like(x, dtype=np.float64)
  for i, row in enumerate(kernel):
    for j, weight in enumerate(row):
      out += weight * padded[i : i + x.shape[0], j : j + x.shape[1]]
  return out


def image_l1(render, alpha, image, visible):
  """Mean of |overlay - photo| under alpha x visible, then over the images."""
  overlay = image * (1 - alpha) + render
  total = (visible * np.abs(overlay - image)).sum((1, 2, 3))
  return np.mean(total / (alpha * visible).sum((1, 2, 3)) / 3)


def position_l1(position, target, support):
  """Mean of |difference| over the supported texels."""
  return np.abs(position - target)[:, support].mean()


def axis_angle_to_matrix(vector):
  """Rodrigues' formula."""
  angle = np.linalg.norm(vector)
  if angle == 0:
    return np.eye(3)
  x, y, z = vector / angle
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def pose_l1(pose, target, has_pose, points):
  """Mean of |difference| between the points moved by both poses."""
  total, count = 0.0, 0
  for p, t in zip(pose[has_pose > 0], target[has_pose > 0], strict=True):
    moved, wanted = (points @ axis_angle_to_matrix(q[:3]).T + q[3:] for q in (p, t))
    total += np.abs(moved - wanted).sum()
    count += moved.size
  return total / count


def symmetry(diffuse):
  """Equation 6."""
  size = diffuse.shape[1]
  values = []
  for image in diffuse:
    soft = gaussian_blur(image, size / 32, size // 8 + 1)
    flip = gaussian_blur(image[:, ::-1], size / 32, size // 8 + 1)
    values.append(np.abs(soft - flip).mean())
  return np.mean(values)


def deviation(diffuse, skin):
  """Equation 7 over a boolean mask."""
  size = diffuse.shape[1]
  values = []
  for image in diffuse:
    soft = gaussian_blur(image, size / 32, size // 8 + 1)[skin]
    values.append(np.sqrt(((soft - soft.mean(0)) ** 2).mean()))
  return np.mean(values)


def variation(light):
  """Equation 8 as a mean, in the texels of the paper's 64 x 64 map."""
  size = light.shape[1]
  gx, gy = np.diff(light, axis=2), np.diff(light, axis=1)
  return (np.abs(gx).mean() + np.abs(gy).mean()) * size / 64


def adversarial_generator(fake):
  """-log sigmoid(D(fake)), a mean for each scale, added up."""
  return sum(np.mean(-np.log(1 / (1 + np.exp(-scale)))) for scale in fake)


def adversarial_discriminator(real, fake):
  """-log sigmoid(D(real)) - log(1 - sigmoid(D(fake))), added up over the scales."""
  return adversarial_generator(real) + adversarial_generator([-scale for scale in fake])


def vgg_features(image, kernels, biases, mean, std, blocks, layers):
  """Features of one `[h, w, 3]` image, a loop over taps for each convolution."""
  starts = [1 + sum(blocks[:k]) for k in range(1, len(blocks))]
  x = (image.astype(np.float64) - mean) / std
  found = []
  for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True), start=1):
    if number in starts:
      h, w = x.shape[0] // 2, x.shape[1] // 2
      x = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max((1, 3))
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    x = sum(
      padded[i : i + x.shape[0], j : j + x.shape[1]] @ kernel[i, j].astype(np.float64)
      for i in range(3)
      for j in range(3)
    )
    x = np.maximum(x + bias, 0)
    if number in layers:
      found.append(x)
  return found
