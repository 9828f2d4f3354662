"""Errors of depth maps: SIDE and MAD, as Unsup3D evaluates them and for meshes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.geometry.depth import depth_to_normals
from affjax.types import ArrayLike

PROTOCOLS = ("unsup3d", "mesh")
# The range that Unsup3D clamps depths to.
_NEAREST, _FARTHEST = 0.8, 1.2


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
  = 1); normals are those of `affjax.geometry.depth`. The steps of 8-bit truth alone
  cause about 2.6 degrees of MAD at 64 pixels and 18 at 512: never compare sizes.

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
  cosine = inside(jnp.sum(depth_to_normals(depth) * depth_to_normals(truth), -1))
  angle = jnp.degrees(jnp.arccos(jnp.clip(cosine, -1, 1)))
  return DepthErrors(side, jnp.sum(weight * angle, (1, 2)) / pixels, pixels)


def depth_from_gray(gray: Float[ArrayLike, "n h w"]) -> Float[Array, "n h w"]:
  """Depth of Unsup3D's ground-truth pictures, gray in [0, 1], white = near."""
  return 1.1 - 0.2 * jnp.asarray(gray)


def _eroded(mask: Bool[Array, "n s s"]) -> Bool[Array, "n s s"]:
  """Pixels whose 3 x 3 neighbors all lie in the mask and in the picture."""
  total = jax.lax.reduce_window(
    mask.astype(jnp.float32), 0.0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME"
  )
  return total > 8.5
