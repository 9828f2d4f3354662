"""Bilinear sampling at arbitrary pixel coordinates."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from affjax.types import ArrayLike


class _Corners(NamedTuple):
  """The place of points between the pixels of an image with a border of one zero.

  Attributes:
    corner: Flat index of the upper left corner in the bordered image.
    fx: Fraction towards the right corner, in [0, 1]; 0 where the point is NaN.
    fy: Fraction towards the lower corner.
    nan: Whether a coordinate of the point is NaN.
  """

  corner: Int[Array, " p"]
  fx: Float[Array, " p"]
  fy: Float[Array, " p"]
  nan: Bool[Array, " p"]


def bilinear(
  x: Float[ArrayLike, "n h w c"], xy: Float[ArrayLike, "n *p 2"]
) -> Float[Array, "n *p c"]:
  """Samples images bilinearly at pixel coordinates, with zeros outside.

  The backward pass gathers again from `x` and `xy`, because storing four gathered
  copies would cost much memory and save little time. On the pixel grid, the derivative
  in `xy` is the one to the right and down.

  Args:
    x: Images, float32 or bfloat16, interpolated in float32.
    xy: Coordinates (column, row), float32, with pixel centers at integers. A point more
      than one pixel outside, infinities included, reads zero and has no gradient; a
      point with a NaN reads NaN and has no gradient.

  Returns:
    Samples in the dtype of `x`.

  Raises:
    ValueError: A shape or a dtype is not as described.
  """
  if x.ndim != 4 or xy.ndim < 2 or xy.shape[0] != x.shape[0] or xy.shape[-1] != 2:
    raise ValueError(
      f"expected x [N, H, W, C] and xy [N, ..., 2], got {x.shape} and {xy.shape}"
    )
  if not x.shape[1] or not x.shape[2]:
    raise ValueError(f"x must have at least one pixel, got shape {x.shape}")
  if xy.dtype != jnp.float32:
    raise ValueError(f"xy must be float32, got {xy.dtype}")
  points = jnp.asarray(xy).reshape(xy.shape[0], math.prod(xy.shape[1:-1]), 2)
  # vmap over images gives a gather whose batch axis can be divided among devices.
  samples = jax.vmap(_sample)(jnp.asarray(x), points)
  return samples.reshape((*xy.shape[:-1], x.shape[3]))


@jax.custom_vjp
def _sample(
  image: Float[Array, "h w c"], xy: Float[Array, "p 2"]
) -> Float[Array, "p c"]:
  corners = _corners(xy, image.shape[0], image.shape[1])
  values = _read(image, corners)
  weights = _weights(corners)
  sample = sum(
    w[:, None] * v.astype(jnp.float32) for w, v in zip(weights, values, strict=True)
  )
  return jnp.where(corners.nan[:, None], jnp.nan, sample).astype(image.dtype)


def _sample_forward(image: Array, xy: Array) -> tuple[Array, tuple[Array, Array]]:
  return _sample(image, xy), (image, xy)


def _sample_backward(residuals: tuple[Array, Array], grad: Array):
  image, xy = residuals
  height, width, channels = image.shape
  corners = _corners(xy, height, width)
  grad = jnp.where(corners.nan[:, None], 0.0, grad.astype(jnp.float32))
  dots = [jnp.sum(v.astype(jnp.float32) * grad, -1) for v in _read(image, corners)]
  fx, fy = corners.fx, corners.fy
  grad_x = (1 - fy) * (dots[1] - dots[0]) + fy * (dots[3] - dots[2])
  grad_y = (1 - fx) * (dots[2] - dots[0]) + fx * (dots[3] - dots[1])
  limit = jnp.array([[width, height]], jnp.float32)
  grad_xy = jnp.where((xy >= -1) & (xy < limit), jnp.stack([grad_x, grad_y], -1), 0.0)
  total = jnp.zeros(((height + 2) * (width + 2), channels), jnp.float32)
  for weight, offset in zip(_weights(corners), _offsets(width), strict=True):
    total = total.at[corners.corner + offset].add(
      weight[:, None] * grad, mode="promise_in_bounds"
    )
  total = total.reshape(height + 2, width + 2, channels)[1:-1, 1:-1]
  return total.astype(image.dtype), grad_xy


_sample.defvjp(_sample_forward, _sample_backward)


def _corners(xy: Float[Array, "p 2"], height: int, width: int) -> _Corners:
  nan = jnp.isnan(xy).any(-1)
  # At the limits all weight falls on the border of zeros. Clipping first keeps the cast
  # to integers defined.
  x = jnp.clip(jnp.where(nan, -1.0, xy[:, 0]), -1, width)
  y = jnp.clip(jnp.where(nan, -1.0, xy[:, 1]), -1, height)
  column = jnp.minimum(jnp.floor(x), width - 1)
  row = jnp.minimum(jnp.floor(y), height - 1)
  corner = (row.astype(jnp.int32) + 1) * (width + 2) + column.astype(jnp.int32) + 1
  return _Corners(corner, x - column, y - row, nan)


def _offsets(width: int) -> tuple[int, int, int, int]:
  return 0, 1, width + 2, width + 3


def _weights(corners: _Corners) -> list[Float[Array, " p"]]:
  fx, fy = corners.fx, corners.fy
  return [(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy]


def _read(image: Float[Array, "h w c"], corners: _Corners) -> list[Float[Array, "p c"]]:
  bordered = jnp.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(-1, image.shape[2])
  return [
    bordered.at[corners.corner + offset].get(mode="promise_in_bounds")
    for offset in _offsets(image.shape[1])
  ]
