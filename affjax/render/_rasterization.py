"""Rasterization: the visible triangle of each pixel and the pixel's place in it."""

import functools
from collections.abc import Callable

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.render import _locating, _location, _native, _nvdiffrast, _xla
from affjax.types import ArrayLike

# Name -> search for triangle ids, with the contract of `_xla.triangle_ids`.
_BACKENDS: dict[str, Callable[..., Int[Array, "b h w"]]] = {
  "auto": functools.partial(_native.triangle_ids, backend="auto"),
  "xla": _xla.triangle_ids,
  "cpp": functools.partial(_native.triangle_ids, backend="cpp"),
  "cuda": functools.partial(_native.triangle_ids, backend="cuda"),
}


def rasterize(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
  *,
  backend: str = "auto",
) -> Float[Array, "b h w 4"]:
  """Finds the visible triangle of each pixel.

  The center of pixel (row j, column i) lies at `x = (2 i + 1)/W - 1`,
  `y = (2 j + 1)/H - 1`. Coverage has these rules:

  - A center on an edge that two triangles share belongs to exactly one of them
    (top-left rule). At equal depths the triangle with the lower id is visible.
  - Both sides of a triangle are visible.
  - A triangle is clipped, pixel by pixel, where it leaves -1 <= z/w <= 1 or goes behind
    the eye.
  - A triangle is left out if a corner is not finite or two corners coincide.

  Visibility is piecewise constant, so it has no gradient; `antialias` adds one at
  silhouettes. The weights are differentiable in `pos`, z/w is not.

  Args:
    pos: Clip-space vertices (x, y, z, w), float32 or float64; smaller z/w is nearer.
    tri: Triangles as indices of vertices, shared by the batch; int32, T < 2^24.
    resolution: (height, width) of the raster, pixels.
    backend: "cpp" or "cuda" for the kernels, "xla" for portable XLA, "auto" for the
      fastest of these that is available on the platform where the program runs, or
      "nvdiffrast" for all of nvdiffrast's own primitive, if the user has installed it.
      The first four give the same ids, and the same weights to rounding. Kernels
      compute in float32; for float64 vertices they only find the ids.

  Returns:
    The raster `[B, H, W, 4]` in the dtype of `pos`. The channels are the
    perspective-correct weights u and v of the triangle's first and second corner, both
    in [0, 1] with u + v <= 1; z/w in [-1, 1]; and the triangle's id + 1. All are zero
    where no triangle is visible.

  Raises:
    ValueError: A shape, the resolution or the backend is not as described, or a
      concrete `tri` has an index outside the vertices.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  return _rasterized(pos, tri, resolution, backend=backend, derivatives=False)[0]


def rasterize_with_derivatives(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
  *,
  backend: str = "auto",
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w 4"]]:
  """Rasterizes as `rasterize` does and also returns screen-space derivatives.

  Args:
    pos: As for `rasterize`.
    tri: As for `rasterize`.
    resolution: As for `rasterize`.
    backend: As for `rasterize`.

  Returns:
    The raster, and the derivatives `[B, H, W, 4]` of its weights with the channels
    (du/dX, du/dY, dv/dX, dv/dY), per pixel to the right (X) and down (Y). The
    derivatives are zero where the raster is empty, and differentiable in `pos`. Pass
    them to `interpolate_with_derivatives`.

  Raises:
    ValueError: As for `rasterize`.
    RuntimeError: As for `rasterize`.
  """
  return _rasterized(pos, tri, resolution, backend=backend, derivatives=True)


def _rasterized(
  pos: ArrayLike,
  tri: ArrayLike,
  resolution: tuple[int, int],
  *,
  backend: str,
  derivatives: bool,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """Returns a raster and its derivatives, which have no channels unless requested."""
  check_scene(pos, tri, resolution)
  pos = jnp.asarray(pos)
  batch, (height, width) = pos.shape[0], resolution
  if tri.shape[0] == 0 or batch == 0:
    rast = jnp.zeros((batch, height, width, 4), pos.dtype)
    return rast, rast if derivatives else rast[..., :0]
  if backend == _nvdiffrast.NAME:
    adapter = _nvdiffrast.adapter()
    if derivatives:
      return adapter.rasterize_with_derivatives(pos, tri, resolution)
    rast = adapter.rasterize(pos, tri, resolution)
    return rast, rast[..., :0]
  search = _BACKENDS[resolve_backend(backend)]
  tri = jnp.asarray(tri, jnp.int32)
  ids = search(lax.stop_gradient(pos).astype(jnp.float32), tri, resolution)
  return raster_of(pos, tri, ids, backend=backend, derivatives=derivatives)


def raster_of(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  *,
  backend: str,
  derivatives: bool,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """Returns the raster and its derivatives of known ids + 1, where 0 is empty.

  Args:
    pos: Clip-space vertices.
    tri: Triangles, int32.
    ids: Index + 1 of the triangle that each pixel shows, int32.
    backend: The name of one of affjax's own backends.
    derivatives: Whether the derivatives are requested; they have no channels otherwise.
  """
  # The kernels compute in float32 only.
  if backend == "xla" or pos.dtype != jnp.float32:
    return _location.located(pos, tri, ids, derivatives=derivatives)
  return _locating.located(pos, tri, ids, derivatives, backend)


def resolve_backend(backend: str) -> str:
  """Returns the name of one of affjax's own backends; ValueError if it is unknown."""
  if backend not in _BACKENDS:
    valid = [*_BACKENDS, _nvdiffrast.NAME]
    raise ValueError(f"backend must be one of {valid}, got {backend!r}")
  return backend


def check_scene(pos: ArrayLike, tri: ArrayLike, resolution: tuple[int, int]) -> None:
  """Raises ValueError for arguments that `rasterize` cannot work with."""
  if pos.ndim != 3 or pos.shape[-1] != 4:
    raise ValueError(f"pos must have shape [B, V, 4], got {pos.shape}")
  height, width = resolution
  if height < 1 or width < 1:
    raise ValueError(f"resolution must be at least (1, 1), got {resolution}")
  check_triangles("tri", tri, pos.shape[1], "vertices of pos")


def check_triangles(name: str, tri: ArrayLike, count: int, of: str) -> None:
  """Raises ValueError unless `tri` is `[T, 3]` with indices below `count`.

  The indices of a traced array are unknown and therefore not checked.

  Args:
    name: The argument's name in the message.
    tri: The triangles.
    count: The number of elements that `tri` indexes.
    of: The name of those elements in the message.
  """
  if tri.ndim != 2 or tri.shape[1] != 3 or tri.shape[0] >= 2**24:
    raise ValueError(f"{name} must have shape [T < 2^24, 3], got {tri.shape}")
  if not np.issubdtype(tri.dtype, np.integer):
    raise ValueError(f"{name} must hold integers, got {tri.dtype}")
  if isinstance(tri, jax.core.Tracer) or tri.size == 0:
    return
  # NumPy computes these: under a trace, JAX would return tracers.
  known = np.asarray(tri)
  low, high = int(known.min()), int(known.max())
  if low < 0 or high >= count:
    raise ValueError(
      f"{name} must index the {count} {of}, got indices from {low} to {high}"
    )
