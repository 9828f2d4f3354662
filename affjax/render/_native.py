"""The renderer's kernels: one library for the CPU, one for CUDA, the same handlers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch, library
from affjax.render import _silhouettes, _xla

LIBRARY = "rasterizer"
# Backend -> platform of the library.
PLATFORMS = {"cpp": "cpu", "cuda": "cuda"}


def triangle_ids(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  resolution: tuple[int, int],
  *,
  backend: str,
) -> Int[Array, "b h w"]:
  """`_xla.triangle_ids`, to the bit, by a kernel.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, int32.
    resolution: (height, width).
    backend: "cpp", "cuda", or "auto" for what the platform has, portable XLA if none.

  Raises:
    RuntimeError: the kernel of that name cannot be had here; with the reason.
  """
  require(backend)
  return _search(tuple(resolution), backend)(*dispatch.vary_alike(pos, tri))[0]


def silhouette_edges(
  ids: Int[Array, "b h w"],
  depth: Float[Array, "b h w"],
  outline: _silhouettes.Outline,
  tri: Int[Array, "t 3"],
  *,
  backend: str,
) -> tuple[Int[Array, "b h p"], ...]:
  """`_silhouettes.edges` by a kernel: one walk a pair of pixels, no rounds.

  Args:
    ids: of the raster, int32.
    depth: of the raster.
    outline: of all images.
    tri: triangles, int32.
    backend: as for `triangle_ids`; "xla" is the portable search itself.

  Raises:
    RuntimeError: the kernel of that name cannot be had here; with the reason.
  """
  require(backend)
  rows = outline.rows.reshape(ids.shape[0], -1, 9).astype(jnp.float32)
  depth = depth.astype(jnp.float32)
  args = dispatch.vary_alike(ids, depth, rows, outline.neighbors, tri)
  return _edge_search(backend)(*args)


def require(backend: str) -> None:
  """Raises RuntimeError with the reason if a named backend cannot be had here."""
  if backend not in PLATFORMS:
    return
  platform = PLATFORMS[backend]
  library.require(LIBRARY, platform)
  try:
    jax.devices(platform)
  except RuntimeError as error:
    raise RuntimeError(f"backend {backend!r} needs a device: {error}") from error


def per_backend(backend: str, kernel: Callable, portable: Callable) -> Callable:
  """`kernel` on the platform of a backend; of "auto", where there is a library."""
  if backend == "auto":
    return dispatch.per_platform(LIBRARY, kernel, portable)
  return lambda *args: lax.platform_dependent(*args, **{PLATFORMS[backend]: kernel})


@functools.lru_cache(maxsize=64)
def _search(resolution: tuple[int, int], backend: str) -> Callable:
  """Always the same function for the same arguments, so that it is compiled once."""

  def kernel(pos, tri):
    shape = (pos.shape[0], *resolution)
    return dispatch.ffi_call("affjax_rasterize_ids", [(shape, jnp.int32)], pos, tri)

  def portable(pos, tri):
    return (_xla.triangle_ids(pos, tri, resolution),)

  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False), (True,)
  )


@functools.cache
def _edge_search(backend: str) -> Callable:
  def kernel(*args):
    batch, height, width = args[0].shape
    along_x, along_y = (batch, height, width - 1), (batch, height - 1, width)
    shapes = [(s, jnp.int32) for s in (along_x, along_x, along_y, along_y)]
    return dispatch.ffi_call("affjax_silhouette_edges", shapes, *args)

  def portable(ids, depth, rows, neighbors, tri):
    outline = _silhouettes.Outline(rows.reshape(-1, 9), neighbors)
    return _silhouettes.edges(ids, depth, outline, tri)

  if backend == "xla":
    return portable
  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable),
    (True, True, True, False, False),
    (True, True, True, True),
  )
