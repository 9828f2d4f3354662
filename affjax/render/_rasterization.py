"""Which triangle each pixel shows, and where in that triangle the pixel lies."""

import functools
from collections.abc import Callable
from typing import Literal, overload

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.render import _locating, _location, _native, _nvdiffrast, _xla

# Name -> search for triangle ids, with `_xla.triangle_ids`' contract.
_BACKENDS: dict[str, Callable] = {
  "auto": functools.partial(_native.triangle_ids, backend="auto"),
  "xla": _xla.triangle_ids,
  "cpp": functools.partial(_native.triangle_ids, backend="cpp"),
  "cuda": functools.partial(_native.triangle_ids, backend="cuda"),
}


@overload
def rasterize(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  backend: str = ...,
  derivatives: Literal[False] = ...,
) -> Float[Array, "b h w 4"]: ...
@overload
def rasterize(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  backend: str = ...,
  derivatives: Literal[True],
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w 4"]]: ...
def rasterize(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  backend: str = "auto",
  derivatives: bool = False,
):
  """Finds the visible triangle of each pixel.

  Pixel (row j, column i) has its centre at `x = (2 i + 1)/W - 1`,
  `y = (2 j + 1)/H - 1`. A centre on a shared edge belongs to exactly one of the two
  triangles (top-left rule); of equal depths the lower id is seen. Both sides of a
  triangle are visible. A triangle is clipped, pixel by pixel, where it leaves
  -1 <= z/w <= 1 or goes behind the eye, and is left out if a corner is not finite or
  two corners coincide.

  Visibility is piecewise constant. The weights are differentiable in `pos`; z/w is
  not.

  Args:
    pos: clip-space vertices; smaller z/w is nearer.
    tri: triangles, shared by the batch.
    resolution: (height, width) of the raster, pixels.
    backend: "cpp" or "cuda" for the kernels, "xla" for portable XLA, which give the
      same ids (and the rest to rounding), or "auto" for the fastest that is available
      where the program runs. Kernels compute in float32; of vertices of another type
      they only find the ids.
      "nvdiffrast" for users who have it: all of this primitive is theirs.
    derivatives: also return the derivatives of the weights.

  Returns:
    `[B, H, W, 4]`: perspective-correct weights (u, v) of the triangle's first and
    second corner, z/w, triangle id + 1; zeros where no triangle is. With `derivatives`
    a pair, whose second is `[B, H, W, 4]`: (du/dX, du/dY, dv/dX, dv/dY) per pixel.

  Raises:
    ValueError: wrong shapes or resolution, an unknown backend, or an index in `tri`
      outside the vertices, if `tri` is concrete.
    RuntimeError: `backend` names a kernel that cannot be had here, with the reason.
  """
  check_scene(pos, tri, resolution)
  batch, (height, width) = pos.shape[0], resolution
  if tri.shape[0] == 0 or batch == 0:
    rast = jnp.zeros((batch, height, width, 4), pos.dtype)
    return (rast, rast) if derivatives else rast
  if backend == _nvdiffrast.NAME:
    return _nvdiffrast.adapter().rasterize(
      pos, tri, resolution, derivatives=derivatives
    )
  search = _BACKENDS[resolve_backend(backend)]
  tri = jnp.asarray(tri, jnp.int32)
  ids = search(lax.stop_gradient(pos).astype(jnp.float32), tri, resolution)
  return raster_of(pos, tri, ids, backend=backend, derivatives=derivatives)


def raster_of(pos, tri, ids, *, backend: str, derivatives: bool):
  """What `rasterize` returns, given the id + 1 that each pixel shows (0: none)."""
  # The kernels know one type of number.
  if backend == "xla" or pos.dtype != jnp.float32:
    found = _location.located(pos, tri, ids, derivatives=derivatives)
  else:
    found = _locating.located(pos, tri, ids, derivatives, backend)
  return found if derivatives else found[0]


def resolve_backend(backend: str) -> str:
  """The name of one of our own backends; ValueError if there is none."""
  if backend not in _BACKENDS:
    valid = [*_BACKENDS, _nvdiffrast.NAME]
    raise ValueError(f"backend must be one of {valid}, got {backend!r}")
  return backend


def check_scene(pos, tri, resolution) -> None:
  """Raises ValueError for what `rasterize` could not do."""
  if pos.ndim != 3 or pos.shape[-1] != 4:
    raise ValueError(f"pos must have shape [B, V, 4], got {pos.shape}")
  height, width = resolution
  if height < 1 or width < 1:
    raise ValueError(f"resolution must be at least (1, 1), got {resolution}")
  check_triangles("tri", tri, pos.shape[1], "vertices of pos")


def check_triangles(name: str, tri, count: int, of: str) -> None:
  """Raises ValueError unless `tri` is `[T, 3]` and, if concrete, indexes `count`."""
  if tri.ndim != 2 or tri.shape[1] != 3 or tri.shape[0] >= 2**24:
    raise ValueError(f"{name} must have shape [T < 2^24, 3], got {tri.shape}")
  if not np.issubdtype(tri.dtype, np.integer):
    raise ValueError(f"{name} must hold integers, got {tri.dtype}")
  if isinstance(tri, jax.core.Tracer) or tri.size == 0:
    return
  # NumPy's, for under a trace JAX would compute abstract numbers.
  known = np.asarray(tri)
  low, high = int(known.min()), int(known.max())
  if low < 0 or high >= count:
    raise ValueError(
      f"{name} must index the {count} {of}, got indices from {low} to {high}"
    )
