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

from affjax.render import _native, _nvdiffrast, _xla

# Name -> search for triangle ids, with `_xla.triangle_ids`' contract.
_BACKENDS: dict[str, Callable] = {
  "auto": functools.partial(_native.triangle_ids, backend="auto"),
  "xla": _xla.triangle_ids,
  "cpp": functools.partial(_native.triangle_ids, backend="cpp"),
  "cuda": functools.partial(_native.triangle_ids, backend="cuda"),
}

# An empty pixel computes with this triangle, whose derivatives are finite everywhere.
_NOWHERE = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], np.float32)


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
    backend: "cpp" or "cuda" for the kernel, "xla" for the portable search, which give
      the same ids, or "auto" for the fastest that is available where the program runs.
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
  return raster_of(pos, tri, ids, derivatives)


def raster_of(pos, tri, ids, derivatives: bool):
  """What `rasterize` returns, given the id + 1 that each pixel shows (0: none)."""
  weights, slopes, depth = _locate(pos, tri, ids)
  hit = (ids > 0)[..., None]
  last = jnp.stack([lax.stop_gradient(depth), ids.astype(pos.dtype)], -1)
  rast = jnp.where(hit, jnp.concatenate([weights, last], -1), 0)
  return (rast, jnp.where(hit, slopes, 0)) if derivatives else rast


def _locate(pos, tri, ids):
  """Weights `[B, H, W, 2]`, their derivatives `[.., 4]` and z/w of given triangles.

  Coordinate by coordinate: XLA on a CPU is slow at sums over a short last axis. Empty
  pixels read out of range, so that they cost nothing in the gradient's scatter.
  """
  height, width = ids.shape[1:]
  vertices = tri.at[jnp.where(ids > 0, ids - 1, len(tri))].get(
    mode="fill", fill_value=pos.shape[1]
  )
  x, y, z, w = zip(*(_corner(pos, vertices[..., k], k) for k in range(3)), strict=True)
  px = ((2 * jnp.arange(width, dtype=pos.dtype) + 1) / width - 1)[None, None, :]
  py = ((2 * jnp.arange(height, dtype=pos.dtype) + 1) / height - 1)[None, :, None]
  # The edge functions of `csrc/coverage.h`: corners seen from the pixel's ray.
  x = [x[k] - px * w[k] for k in range(3)]
  y = [y[k] - py * w[k] for k in range(3)]
  after = ((1, 2), (2, 0), (0, 1))
  area = [x[i] * y[j] - x[j] * y[i] for i, j in after]
  total = area[0] + area[1] + area[2]
  total = jnp.where(jnp.abs(total) < 1e-30, 1.0, total)
  weights = [a / total for a in area]
  depth = _dot(weights, z) / _dot(weights, w)
  # Each area is linear in the pixel's place.
  slopes = []
  for by, size in (
    ([y[i] * w[j] - w[i] * y[j] for i, j in after], width),
    ([w[i] * x[j] - x[i] * w[j] for i, j in after], height),
  ):
    change = by[0] + by[1] + by[2]
    slopes.append([(by[k] - weights[k] * change) / total * (2 / size) for k in (0, 1)])
  slopes = jnp.stack([slopes[0][0], slopes[1][0], slopes[0][1], slopes[1][1]], -1)
  return jnp.stack(_pin(weights)[:2], -1), slopes, depth


def _corner(pos, vertex, k: int):
  """The coordinates of corner k at each pixel."""
  read = jax.vmap(lambda p, i: p.at[i].get(mode="fill", fill_value=0))
  here = vertex < pos.shape[1]
  coordinates = jnp.unstack(read(pos, vertex), axis=-1)
  nowhere = _NOWHERE[k].tolist()
  return [jnp.where(here, c, n) for c, n in zip(coordinates, nowhere, strict=True)]


def _dot(a, b):
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _pin(weights):
  """Undoes the rounding that put a covered pixel's weights out of [0, 1]."""
  exact = [jnp.clip(w, 0, 1) for w in weights]
  total = jnp.maximum(exact[0] + exact[1] + exact[2], 1e-6)
  return [
    w + lax.stop_gradient(e / total - w) for w, e in zip(weights, exact, strict=True)
  ]


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
