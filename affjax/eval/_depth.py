"""Errors of depth maps: SIDE and MAD, as Unsup3D evaluates them and for meshes."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.types import ArrayLike

PROTOCOLS = ("unsup3d", "mesh")
# Unsup3D's camera, and the range that it clamps depths to.
_FOV_DEG, _NEAREST, _FARTHEST = 10.0, 0.8, 1.2


class DepthErrors(NamedTuple):
  """Errors of each depth map; NaN where no pixel counts.

  Attributes:
    side: scale-invariant depth error, dimensionless. The paper reports 100 times it.
    mad: mean angle between the normals of both depth maps, degrees.
    pixels: number of pixels that count.
  """

  side: Float[Array, " n"]
  mad: Float[Array, " n"]
  pixels: Float[Array, " n"]


def depth_errors(
  depth: Float[ArrayLike, "n s s"],
  truth: Float[ArrayLike, "n s s"],
  *,
  mask: Bool[ArrayLike, "n s s"] | None = None,
  protocol: str = "unsup3d",
  maximum_of_batch: bool = False,
) -> DepthErrors:
  """Returns the scale-invariant depth error and the mean angle deviation.

  `SIDE = std(ln depth - ln truth)` over the mask (Eigen et al. 2014, eq. 1 with lambda
  = 1); normals are cross products of central differences of the back-projected depth.

  Args:
    depth: predicted depth along the optical axis, > 0.
    truth: true depth in the same view, the same unit.
    mask: pixels that both depth maps show, for the protocol "mesh"; default: pixels
      where both depths are finite and positive.
    protocol: "unsup3d" repeats the evaluation of Unsup3D (Wu et al. 2020): depths in
      its unit, in which 0.8 is nearest and 1.2 is the background; predictions are
      clamped to that range, the truth counts where it is less than its maximum, both
      masks are eroded by a pixel. "mesh" counts the given mask, eroded by a pixel.
    maximum_of_batch: whether the maximum of the truth is taken over the whole batch, as
      Unsup3D's code does, instead of over each image.

  Raises:
    ValueError: the protocol is unknown.
  """
  if protocol not in PROTOCOLS:
    raise ValueError(
      f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}"
    )
  depth, truth = jnp.asarray(depth), jnp.asarray(truth)
  if protocol == "unsup3d":
    depth = jnp.clip(depth, _NEAREST, _FARTHEST)
    farthest = jnp.max(truth, None if maximum_of_batch else (1, 2), keepdims=True)
    counts = _eroded(truth < farthest) & _eroded(depth < _FARTHEST)
  else:
    seen = jnp.isfinite(depth) & jnp.isfinite(truth) & (depth > 0) & (truth > 0)
    counts = _eroded(seen if mask is None else seen & jnp.asarray(mask))
  weight = counts.astype(jnp.float32)
  pixels = jnp.sum(weight, (1, 2))
  # Pixels that do not count may hold anything, which must not reach the sums as NaN.
  inside = lambda x: jnp.where(counts, x, 1.0)
  difference = jnp.log(inside(depth)) - jnp.log(inside(truth))
  mean = jnp.sum(weight * difference, (1, 2)) / pixels
  centered = difference - mean[:, None, None]
  side = jnp.sqrt(jnp.sum(weight * centered**2, (1, 2)) / pixels)
  cosine = inside(jnp.sum(depth_normals(depth) * depth_normals(truth), -1))
  angle = jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))
  return DepthErrors(side, jnp.sum(weight * angle, (1, 2)) / pixels, pixels)


def depth_from_gray(gray: Float[ArrayLike, "n h w"]) -> Float[Array, "n h w"]:
  """Depth of Unsup3D's ground-truth pictures, gray in [0, 1], white = near."""
  return 1.1 - 0.2 * jnp.asarray(gray)


def depth_normals(depth: Float[ArrayLike, "n s s"]) -> Float[Array, "n s s 3"]:
  """Unit normals of a depth map in Unsup3D's camera; (0, 0, 1) on the border.

  A depth map has 8-bit steps in Unsup3D's ground truth, which alone cause about 2.6
  degrees of error at 64 pixels and 18 at 512: never compare sizes.
  """
  depth = jnp.asarray(depth)
  size = depth.shape[-1]
  middle = (size - 1) / 2
  focal = middle / math.tan(math.radians(_FOV_DEG / 2))
  line = (jnp.arange(size) - middle) / focal
  x, y = jnp.meshgrid(line, line)
  ray = jnp.stack([x, y, jnp.ones_like(x)], -1)
  points = depth[..., None] * ray[None]
  across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
  down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
  normal = jnp.cross(across, down)
  normal = normal / jnp.maximum(jnp.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
  border = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), points.shape)
  return border.at[:, 1:-1, 1:-1].set(normal)


def _eroded(mask: Bool[Array, "n s s"]) -> Bool[Array, "n s s"]:
  """Pixels whose 3 x 3 neighbors all lie in the mask and in the picture."""
  total = jax.lax.reduce_window(
    mask.astype(jnp.float32), 0.0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME"
  )
  return total > 8.5
