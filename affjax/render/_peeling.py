"""Depth peeling: the surfaces behind the visible one, layer by layer."""

import functools
from typing import Literal, overload

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch
from affjax.render import _native, _rasterization


@overload
def peel(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  layers: int,
  backend: str = ...,
  derivatives: Literal[False] = ...,
) -> Float[Array, "l b h w 4"]: ...
@overload
def peel(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  layers: int,
  backend: str = ...,
  derivatives: Literal[True],
) -> tuple[Float[Array, "l b h w 4"], Float[Array, "l b h w 4"]]: ...
def peel(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  layers: int,
  backend: str = "auto",
  derivatives: bool = False,
):
  """Rasters of the nearest surface, of the next behind it, and so on (Everitt 2001).

  Layer 0 is what `rasterize` gives, with the same rules and gradients. Each further
  layer shows, pixel by pixel, the nearest triangle behind that of the layer before;
  triangles at the same depth follow each other in order of their ids, so that each
  triangle that covers a pixel is in exactly one layer, if there are enough of them.

  Args:
    pos: clip-space vertices; smaller z/w is nearer.
    tri: triangles, shared by the batch.
    resolution: (height, width) of the raster, pixels.
    layers: how many to find; those behind the last are left out.
    backend: as in `rasterize`, but not "nvdiffrast".
    derivatives: also return the derivatives of the weights.

  Returns:
    `[layers, B, H, W, 4]`, near to far; each layer is a raster for `interpolate` and
    the others. With `derivatives` a pair, as in `rasterize`.

  Raises:
    ValueError: `layers` below 1, and what `rasterize` raises.
    RuntimeError: `backend` names a kernel that cannot be had here, with the reason.
  """
  _rasterization.check_scene(pos, tri, resolution)
  if layers < 1:
    raise ValueError(f"layers must be at least 1, got {layers}")
  _rasterization.resolve_backend(backend)
  batch, (height, width) = pos.shape[0], resolution
  if tri.shape[0] == 0 or batch == 0:
    rast = jnp.zeros((layers, batch, height, width, 4), pos.dtype)
    return (rast, rast) if derivatives else rast
  tri = jnp.asarray(tri, jnp.int32)
  fixed = lax.stop_gradient(pos).astype(jnp.float32)
  ids = _layers(fixed, tri, resolution, layers, backend)
  place = functools.partial(
    _rasterization.raster_of, backend=backend, derivatives=derivatives
  )
  # One after the other: joined with the batch they would not stay on their devices.
  return lax.map(lambda i: place(pos, tri, i), ids)


def over(
  color: Float[Array, "l b h w c"], alpha: Float[Array, "l b h w 1"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
  """Lays pictures over each other, the first in front (Porter and Duff 1984).

  Args:
    color: premultiplied by `alpha`.
    alpha: opacity in [0, 1].

  Returns:
    The premultiplied colour and the opacity of all together.
  """
  before = jnp.cumprod(1 - alpha, 0)
  share = jnp.concatenate([jnp.ones_like(alpha[:1]), before[:-1]], 0)
  return jnp.sum(share * color, 0), 1 - before[-1]


def _layers(pos, tri, resolution: tuple[int, int], layers: int, backend: str):
  """Ids + 1 of each layer, 0 where there is none: int32 `[layers, B, H, W]`."""
  shape = (pos.shape[0], *resolution)

  def next_layer(last, _):
    found = _native.nearest(pos, tri, resolution, behind=last, backend=backend)
    return found, found[1]

  nothing = (jnp.full(shape, -jnp.inf, jnp.float32), jnp.zeros(shape, jnp.int32))
  nothing = dispatch.vary_alike(*nothing, pos)[:2]
  return lax.scan(next_layer, nothing, length=layers)[1]
