"""Depth peeling: the surfaces behind the visible one, layer by layer."""

import functools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch
from affjax.render import _native, _rasterization
from affjax.types import ArrayLike


def peel(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
  *,
  layers: int,
  backend: str = "auto",
) -> Float[Array, "l b h w 4"]:
  """Rasterizes the nearest surface, the next one behind it, and so on (Everitt 2001).

  Layer 0 equals the raster of `rasterize`, with the same rules and gradients. Each
  further layer shows, pixel by pixel, the nearest triangle behind that of the layer
  before. Triangles at the same depth follow each other in the order of their ids, so
  each triangle that covers a pixel is in exactly one layer, if there are enough layers.

  Args:
    pos: Clip-space vertices; smaller z/w is nearer.
    tri: Triangles, shared by the batch.
    resolution: (height, width) of the raster, pixels.
    layers: Number of layers, at least 1. Surfaces behind the last layer are left out.
    backend: As for `rasterize`, except "nvdiffrast".

  Returns:
    Rasters `[L, B, H, W, 4]`, near to far; each is a raster as `rasterize` returns it.

  Raises:
    ValueError: `layers` is below 1, or as for `rasterize`.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  return _peeled(pos, tri, resolution, layers, backend, derivatives=False)[0]


def peel_with_derivatives(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
  *,
  layers: int,
  backend: str = "auto",
) -> tuple[Float[Array, "l b h w 4"], Float[Array, "l b h w 4"]]:
  """Peels as `peel` does and also returns the derivatives of the weights.

  Args:
    pos: As for `peel`.
    tri: As for `peel`.
    resolution: As for `peel`.
    layers: As for `peel`.
    backend: As for `peel`.

  Returns:
    The rasters, and for each layer the derivatives of `rasterize_with_derivatives`.

  Raises:
    ValueError: As for `peel`.
    RuntimeError: As for `peel`.
  """
  return _peeled(pos, tri, resolution, layers, backend, derivatives=True)


def over(
  color: Float[Array, "l b h w c"], alpha: Float[Array, "l b h w 1"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
  """Composites layers over each other, the first in front (Porter and Duff 1984).

  Args:
    color: Colors of the layers, premultiplied by `alpha`.
    alpha: Opacities of the layers in [0, 1].

  Returns:
    The premultiplied color and the opacity of all layers together.
  """
  before = jnp.cumprod(1 - alpha, 0)
  share = jnp.concatenate([jnp.ones_like(alpha[:1]), before[:-1]], 0)
  return jnp.sum(share * color, 0), 1 - before[-1]


def _peeled(
  pos: ArrayLike,
  tri: ArrayLike,
  resolution: tuple[int, int],
  layers: int,
  backend: str,
  *,
  derivatives: bool,
) -> tuple[Float[Array, "l b h w 4"], Float[Array, "l b h w d"]]:
  _rasterization.check_scene(pos, tri, resolution)
  if layers < 1:
    raise ValueError(f"layers must be at least 1, got {layers}")
  _rasterization.resolve_backend(backend)
  pos = jnp.asarray(pos)
  batch, (height, width) = pos.shape[0], resolution
  if tri.shape[0] == 0 or batch == 0:
    rast = jnp.zeros((layers, batch, height, width, 4), pos.dtype)
    return rast, rast if derivatives else rast[..., :0]
  tri = jnp.asarray(tri, jnp.int32)
  fixed = lax.stop_gradient(pos).astype(jnp.float32)
  ids = _layers(fixed, tri, resolution, layers, backend)
  place = functools.partial(
    _rasterization.raster_of, backend=backend, derivatives=derivatives
  )
  # Layer after layer: if they joined the batch, they would not stay on their devices.
  return lax.map(lambda i: place(pos, tri, i), ids)


def _layers(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  resolution: tuple[int, int],
  layers: int,
  backend: str,
) -> Int[Array, "l b h w"]:
  """Returns the ids + 1 of each layer, 0 where it is empty."""
  shape = (pos.shape[0], *resolution)

  def next_layer(last: tuple[Array, Array], _: None):
    found = _native.nearest(pos, tri, resolution, behind=last, backend=backend)
    return found, found[1]

  nothing = (jnp.full(shape, -jnp.inf, jnp.float32), jnp.zeros(shape, jnp.int32))
  depth, ids, _ = dispatch.vary_alike(*nothing, pos)
  return lax.scan(next_layer, (depth, ids), length=layers)[1]
