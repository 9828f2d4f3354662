"""Affine matrices of affine convolution: identity, frames, composition, priors.

Everything here is float32, `[..., 2, 3]`, in the window frame of `affjax.types` unless
a name says otherwise.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def identity(shape: tuple[int, ...]) -> Float[Array, "*b 2 3"]:
  """Plain convolution at every place of `shape`."""
  return jnp.broadcast_to(jnp.array(IDENTITY, jnp.float32), (*shape, 2, 3))


def centers_px(height: int, width: int, stride: int) -> np.ndarray:
  """Input coordinates (x, y) = (s j, s i) of output pixels, float32 `[Ho, Wo, 2]`."""
  columns, rows = np.arange(0, width, stride), np.arange(0, height, stride)
  return np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)


def taps(size: int) -> np.ndarray:
  """Offsets (dx, dy) of a kernel's taps, row by row, float32 `[K * K, 2]`.

  The middle tap is (0, 0); an even kernel reaches one further right and down, which
  is a padding of ((K - 1) // 2, K // 2).
  """
  line = np.arange(size) - (size - 1) // 2
  return np.stack(np.meshgrid(line, line), -1).reshape(-1, 2).astype(np.float32)


def sample_xy(
  theta: Float[Array, "n i j 2 3"], size: int, height: int, width: int, stride: int
) -> Float[Array, "n i j k 2"]:
  """Where the taps of a `size` x `size` kernel read the input, px.

  Written out instead of as a matrix product, which accelerators round.
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
  coords: Float[Array, "n i j *m"],
  prior: Float[Array, "n i j 2 3"] | None,
  size: int,
  height: int,
  width: int,
  stride: int,
) -> Float[Array, "n i j k 2"]:
  """Where taps read the input, px, in either form of coordinates.

  Args:
    coords: matrices `[N, Ho, Wo, 2, 3]`, or offsets `[N, Ho, Wo, K², 2]` from the taps'
      regular places, px.
    prior: placed after the matrices of `coords`, see `compose`; None for none.
    size: K of the kernel.
    height: of the input.
    width: of the input.
    stride: distance of neighbouring windows.
  """
  if coords.shape[3:] == (2, 3):
    theta = coords if prior is None else compose(prior, coords)
    return sample_xy(theta, size, height, width, stride)
  regular = taps(size)[None, None, None]
  return coords + regular + centers_px(height, width, stride)[None, :, :, None]


def from_absolute(
  absolute: Float[Array, "n i j 2 3"], height: int, width: int, stride: int
) -> Float[Array, "n i j 2 3"]:
  """Window form of matrices that act on absolute coordinates, as equation 2 does.

  The absolute form sends a tap's place in the input, normalised so that the centres of
  the first and the last pixel are -1 and 1, to the place that is read: `[C 1] A`.
  """
  half = np.maximum(np.array([width - 1, height - 1], np.float32) / 2, 0.5)
  linear, offset = absolute[..., :2], absolute[..., 2]
  scaled = linear * (half[:, None] / half[None, :])[None, None, None]
  center = centers_px(height, width, stride)[None]
  # x' = half (A (c / half - 1) + a + 1), minus the window's centre.
  shift = half[None, None, None] * (offset + 1 - jnp.sum(linear, -1))
  shift = shift + jnp.sum(scaled * center[..., None, :], -1) - center
  return jnp.concatenate([scaled, shift[..., None]], -1)


def compose(
  prior: Float[Array, "*b 2 3"], theta: Float[Array, "*b 2 3"]
) -> Float[Array, "*b 2 3"]:
  """`prior` after `theta`: the tap is moved by `theta`, then placed by `prior`."""
  linear = prior[..., :2]
  moved = jnp.sum(linear[..., :, :, None] * theta[..., None, :, :], -2)
  return moved.at[..., 2].add(prior[..., 2])


def from_grid(
  grid: Float[Array, "n h w 2"], *, max_scale: float = 3.0
) -> Float[Array, "n i j 2 3"]:
  """Matrices of a stride-2 layer that reads its input where a grid says.

  Output pixel (i, j) stands for texels 2i, 2i + 1 by 2j, 2j + 1 of the grid; its taps
  step as the grid does from texel to texel (central differences over four texels).

  Args:
    grid: for each texel the place (x, y) in the input, px of the input.
    max_scale: bound of the entries of the 2 x 2 part. Where the grid jumps (a border
      between charts) the difference means nothing.
  """
  n, height, width, _ = grid.shape
  if min(height, width) < 3:
    raise ValueError(f"grid must be at least 3 x 3 texels, got shape {grid.shape}")
  grid = jnp.pad(grid, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
  coarse = grid.reshape(n, (height + 1) // 2, 2, (width + 1) // 2, 2, 2).mean((2, 4))
  along = [jnp.asarray(jnp.gradient(coarse, axis=axis)) / 2 for axis in (2, 1)]
  linear = jnp.clip(jnp.stack(along, -1), -max_scale, max_scale)
  offset = coarse - centers_px(height, width, 2)[None]
  return jnp.concatenate([linear, offset[..., None]], -1)
