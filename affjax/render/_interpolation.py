"""Vertex attributes at the pixels of a raster."""

from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.render import _nvdiffrast, _rasterization
from affjax.render._mixing import mix


@overload
def interpolate(
  attr: Float[Array, "b v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  derivatives: None = ...,
  backend: str = ...,
) -> Float[Array, "b h w a"]: ...
@overload
def interpolate(
  attr: Float[Array, "b v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  derivatives: Float[Array, "b h w 4"],
  backend: str = ...,
) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a 2"]]: ...
def interpolate(
  attr: Float[Array, "b v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  derivatives: Float[Array, "b h w 4"] | None = None,
  backend: str = "auto",
):
  """Attributes at each pixel, weighted as the raster says.

  Args:
    attr: one row a vertex; a batch of 1 is shared by all images.
    rast: what `rasterize` gave.
    tri: triangles as indices into `attr`; may differ from those rasterized (UVs have
      vertices of their own) as long as row `t` is the same triangle.
    derivatives: the second output of `rasterize`, to get those of the attributes.
    backend: "auto" or "xla", which are the same, or "nvdiffrast" for users who have it.

  Returns:
    `[B, H, W, A]`, zeros where the raster is empty; differentiable in `attr` and
    `rast`. With `derivatives` a pair, whose second is `[B, H, W, A, 2]`: the change per
    pixel along x and along y.

  Raises:
    ValueError: wrong shapes, an index in `tri` outside `attr`, an unknown backend.
  """
  if attr.ndim != 3 or attr.shape[0] not in (1, rast.shape[0]):
    raise ValueError(
      f"attr must have shape [1 or {rast.shape[0]}, V, A], got {attr.shape}"
    )
  _rasterization.check_triangles("tri", tri, attr.shape[1], "vertices of attr")
  if _nvdiffrast.wanted(backend, "auto", "xla"):
    return _nvdiffrast.adapter().interpolate(attr, rast, tri, derivatives=derivatives)
  if tri.shape[0] == 0:
    value = jnp.zeros((*rast.shape[:3], attr.shape[-1]), attr.dtype)
    if derivatives is None:
      return value
    return value, jnp.zeros((*value.shape, 2), attr.dtype)
  tri = jnp.asarray(tri, jnp.int32)
  triangle = rast[..., 3].astype(jnp.int32) - 1
  rows = tri[jnp.maximum(triangle, 0)]
  # Empty pixels read out of range, zeros: in the backward pass they add nothing there.
  rows = jnp.where(triangle[..., None] >= 0, rows, attr.shape[1])
  first, second, third = (_corner(attr, rows[..., k]) for k in range(3))
  u, v = rast[..., 0], rast[..., 1]
  value = mix([u, v, 1 - u - v], [first, second, third])
  if derivatives is None:
    return value
  by_u, by_v = first - third, second - third
  slopes = [
    mix([derivatives[..., k], derivatives[..., k + 2]], [by_u, by_v]) for k in (0, 1)
  ]
  return value, jnp.stack(slopes, -1)


def _corner(attr, vertex):
  pick = lambda rows, i: rows.at[i].get(mode="fill", fill_value=0)
  return pick(attr[0], vertex) if attr.shape[0] == 1 else jax.vmap(pick)(attr, vertex)
