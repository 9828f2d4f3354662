"""Visibility of the sky from each vertex of the mean head, by direction.

An orthographic depth buffer finds the vertices that are seen from each of many
directions; the result is stored as spherical harmonics up to order 3 (precomputed
visibility, after Sloan et al. 2002). Their value at a light's direction is a soft
self-shadow, and their mean is the ambient occlusion.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import ArrayLike, Template

_DIRECTIONS = 80
_CELL = 0.035
_BIAS = 0.06


def visibility(template: Template) -> np.ndarray:
  """Returns spherical-harmonic coefficients of the visibility, float32 `[V, 16]`."""
  direction = _fibonacci_sphere(_DIRECTIONS)
  samples = _surface_samples(template)
  seen = np.stack([_seen_from(template.vertices, samples, d) for d in direction], -1)
  normal = _vertex_normals(template)
  facing = np.clip(normal @ direction.T * 4 + 0.6, 0, 1)
  basis = np.asarray(harmonics(jnp.asarray(direction, jnp.float32)))
  seen = seen * facing
  # Eyes and teeth are moist and lit through skin, never as dark as their cavities.
  for name, least in (("eyes", 0.25), ("teeth", 0.35)):
    if name in template.group_names:
      group = template.face_groups == template.group_names.index(name)
      index = np.unique(template.faces[group])
      seen[index] = least + (1 - least) * seen[index]
  coefficients = seen @ basis * (4 * np.pi / _DIRECTIONS)
  return _smooth(coefficients, template.faces).astype(np.float32)


def harmonics(direction: Float[Array, "*b 3"]) -> Float[Array, "*b 16"]:
  """Returns real orthonormal spherical harmonics of order 0 to 3 at directions."""
  x, y, z = direction[..., 0], direction[..., 1], direction[..., 2]
  one = jnp.ones_like(x)
  return jnp.stack(
    [
      0.282095 * one,
      0.488603 * y,
      0.488603 * z,
      0.488603 * x,
      1.092548 * x * y,
      1.092548 * y * z,
      0.315392 * (3 * z * z - 1),
      1.092548 * x * z,
      0.546274 * (x * x - y * y),
      0.590044 * y * (3 * x * x - y * y),
      2.890611 * x * y * z,
      0.457046 * y * (5 * z * z - 1),
      0.373176 * z * (5 * z * z - 3),
      0.457046 * x * (5 * z * z - 1),
      1.445306 * z * (x * x - y * y),
      0.590044 * x * (x * x - 3 * y * y),
    ],
    -1,
  )


def towards(
  coefficients: Float[ArrayLike, "v 16"], direction: Float[Array, "k 3"]
) -> Float[Array, "v k"]:
  """Returns the soft visibility in [0, 1] of each vertex from each direction."""
  value = coefficients @ jnp.swapaxes(harmonics(direction), 0, 1)
  # The series of a step function overshoots; only the middle of its range counts.
  return jnp.clip((value - 0.1) / 0.7, 0, 1)


def openness(coefficients: np.ndarray) -> np.ndarray:
  """Returns the share of the half sphere that each vertex sees, in [0, 1]."""
  mean = coefficients[:, 0] * 0.282095
  return np.clip(mean / np.quantile(mean, 0.95), 0, 1)


def _fibonacci_sphere(count: int) -> np.ndarray:
  k = np.arange(count) + 0.5
  z, angle = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
  radius = np.sqrt(1 - z * z)
  return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)


def _surface_samples(template: Template) -> np.ndarray:
  """Returns points so dense on the surface that no cell of the buffer stays empty."""
  corners = template.vertices[template.faces]
  n = 3
  weights = [(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]
  return np.einsum("wk,tkc->wtc", np.array(weights) / n, corners).reshape(-1, 3)


def _seen_from(
  vertices: np.ndarray, samples: np.ndarray, direction: np.ndarray
) -> np.ndarray:
  """Returns whether each vertex is the foremost along a direction, bool `[V]`."""
  up = np.array([0.0, 1, 0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0, 0])
  right = np.cross(up, direction)
  right /= np.linalg.norm(right)
  frame = np.stack([right, np.cross(direction, right)], -1)
  low = (samples @ frame).min(0) - 3 * _CELL
  cells = lambda points: ((points @ frame - low) / _CELL).astype(int)
  at = cells(samples)
  shape = at.max(0) + 4
  buffer = np.full(shape[0] * shape[1], -np.inf)
  np.maximum.at(buffer, at[:, 0] * shape[1] + at[:, 1], samples @ direction)
  mine = cells(vertices)
  nearest = buffer[mine[:, 0] * shape[1] + mine[:, 1]]
  return vertices @ direction >= nearest - _BIAS


def _vertex_normals(template: Template) -> np.ndarray:
  a, b, c = (
    template.vertices[template.faces[:, k]].astype(np.float64) for k in range(3)
  )
  face = np.cross(b - a, c - a)
  out = np.zeros(template.vertices.shape)
  for k in range(3):
    np.add.at(out, template.faces[:, k], face)
  return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-12)


def _smooth(values: np.ndarray, faces: np.ndarray, rounds: int = 3) -> np.ndarray:
  """Averages the values of each vertex with those of its neighbors."""
  start = faces.reshape(-1)
  end = faces[:, [1, 2, 0]].reshape(-1)
  for _ in range(rounds):
    total, count = values.copy(), np.ones(len(values))
    for a, b in ((start, end), (end, start)):
      np.add.at(total, a, values[b])
      np.add.at(count, a, 1)
    values = total / count[:, None]
  return values
