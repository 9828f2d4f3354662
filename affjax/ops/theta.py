"""Affine matrices of affine convolution: identity, frames, composition and priors.

All matrices are float32 `[..., 2, 3]` in the window frame of `affjax.types`, unless a
name says otherwise.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.types import ArrayLike

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def identity(shape: tuple[int, ...], *, offset: float = 0.0) -> Float[Array, "*b 2 3"]:
  """Returns identity matrices `[*shape, 2, 3]`, which give a plain convolution.

  Args:
    shape: Leading axes of the result.
    offset: Shift of all windows along both axes, px.
  """
  matrix = jnp.array(IDENTITY, jnp.float32).at[:, 2].set(offset)
  return jnp.broadcast_to(matrix, (*shape, 2, 3))


def centers_px(height: int, width: int, stride: int) -> np.ndarray:
  """Returns the window centers (x, y) = (s j, s i), px, float32 `[Ho, Wo, 2]`."""
  columns, rows = np.arange(0, width, stride), np.arange(0, height, stride)
  return np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)


def taps(size: int) -> np.ndarray:
  """Returns the offsets (dx, dy) of a kernel's taps, row by row, float32 `[K * K, 2]`.

  The middle tap is (0, 0). An even kernel reaches one pixel further right and down,
  which corresponds to a padding of ((K - 1) // 2, K // 2).
  """
  line = np.arange(size) - (size - 1) // 2
  return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)


def sample_xy(
  theta: Float[ArrayLike, "n i j 2 3"], size: int, height: int, width: int, stride: int
) -> Float[Array, "n i j k 2"]:
  """Returns where the taps of a `size` x `size` kernel read the input, px.

  The sum is written out because accelerators round matrix products.

  Args:
    theta: Matrices.
    size: K of the kernel.
    height: Height of the input, px.
    width: Width of the input, px.
    stride: Distance of neighboring windows, px.
  """
  dx, dy = taps(size).T.reshape(2, 1, 1, 1, -1)
  x, y = (
    theta[..., row, 0, None] * dx
    + theta[..., row, 1, None] * dy
    + theta[..., row, 2, None]
    for row in (0, 1)
  )
  return jnp.stack([x, y], -1) + centers_px(height, width, stride)[None, :, :, None]


def places_xy(
  coords: Float[ArrayLike, "n i j *m"],
  prior: Float[ArrayLike, "n i j 2 3"] | None,
  size: int,
  height: int,
  width: int,
  stride: int,
) -> Float[Array, "n i j k 2"]:
  """Returns where the taps read the input, px, for either form of coordinates.

  Args:
    coords: Matrices `[N, Ho, Wo, 2, 3]`, or offsets `[N, Ho, Wo, K², 2]` from the taps'
      regular places, px.
    prior: Matrices that are applied after those of `coords`, or None.
    size: K of the kernel.
    height: Height of the input, px.
    width: Width of the input, px.
    stride: Distance of neighboring windows, px.
  """
  if coords.shape[3:] == (2, 3):
    theta = coords if prior is None else compose(prior, coords)
    return sample_xy(theta, size, height, width, stride)
  regular = taps(size)[None, None, None]
  return (
    jnp.asarray(coords) + regular + centers_px(height, width, stride)[None, :, :, None]
  )


def from_absolute(
  absolute: Float[ArrayLike, "n i j 2 3"], height: int, width: int, stride: int
) -> Float[Array, "n i j 2 3"]:
  """Converts matrices that act on absolute coordinates, as in equation 2.

  The absolute form maps a tap's place in the input to the place that it reads,
  `[C 1] A`, in coordinates where the centers of the first and the last pixel are -1
  and 1.

  Args:
    absolute: Matrices in the absolute form.
    height: Height of the input, px.
    width: Width of the input, px.
    stride: Distance of neighboring windows, px.

  Returns:
    The same maps in window coordinates.
  """
  half = np.maximum(np.array([width - 1, height - 1], np.float32) / 2, 0.5)
  absolute = jnp.asarray(absolute)
  linear, offset = absolute[..., :2], absolute[..., 2]
  scaled = linear * (half[:, None] / half[None, :])[None, None, None]
  center = centers_px(height, width, stride)[None]
  # x' = half (A (c / half - 1) + a + 1), minus the window's center.
  shift = half[None, None, None] * (offset + 1 - jnp.sum(linear, -1))
  shift = shift + jnp.sum(scaled * center[..., None, :], -1) - center
  return jnp.concatenate([scaled, shift[..., None]], -1)


def compose(
  prior: Float[ArrayLike, "*b 2 3"], theta: Float[ArrayLike, "*b 2 3"]
) -> Float[Array, "*b 2 3"]:
  """Returns the composition that applies `theta` first and `prior` second."""
  prior, theta = jnp.asarray(prior), jnp.asarray(theta)
  linear = prior[..., :2]
  moved = jnp.sum(linear[..., :, :, None] * theta[..., None, :, :], -2)
  return moved.at[..., 2].add(prior[..., 2])


def from_places(
  places: Float[ArrayLike, "n i j 2 3"], *, stride: int = 1
) -> Float[Array, "n i j 2 3"]:
  """Returns matrices for a layer whose windows lie at given places of its input.

  Args:
    places: For each output pixel the place in the input, px, as last column, and its
      derivatives by the output pixel's column and row as the first two, such as
      `geometry.uv.projection_affine` returns them.
    stride: Stride of the layer. Its taps are an output pixel's `stride`-th apart.
  """
  places = jnp.asarray(places)
  height, width = (stride * length for length in places.shape[1:3])
  offset = places[..., 2] - centers_px(height, width, stride)[None]
  return jnp.concatenate([places[..., :2] / stride, offset[..., None]], -1)
