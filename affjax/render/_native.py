"""The renderer's kernels: one library for the CPU, one for CUDA, the same handlers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch, library
from affjax.render import _location, _silhouettes, _xla

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


def nearest(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  resolution: tuple[int, int],
  *,
  behind: tuple[Float[Array, "b h w"], Int[Array, "b h w"]],
  backend: str,
) -> tuple[Float[Array, "b h w"], Int[Array, "b h w"]]:
  """`_xla.nearest`, ids and depths to the bit (0 is -0), by a kernel.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, int32.
    resolution: (height, width).
    behind: depths and ids that the results come after.
    backend: as for `triangle_ids`; "xla" is the portable search itself.

  Raises:
    RuntimeError: the kernel of that name cannot be had here; with the reason.
  """
  require(backend)
  args = dispatch.vary_alike(pos, tri, *behind)
  depth, ids = _nearest_search(tuple(resolution), backend)(*args)
  return depth, ids


def locate(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  *,
  derivatives: bool,
  backend: str,
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w d"]]:
  """`_location.located`, to rounding, by a kernel; without derivatives of its own.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, int32.
    ids: of the triangles shown, int32.
    derivatives: whether the second result is wanted.
    backend: as for `triangle_ids`.

  Raises:
    RuntimeError: the kernel of that name cannot be had here; with the reason.
  """
  require(backend)
  rast, slopes = _locator(derivatives, backend)(*dispatch.vary_alike(pos, tri, ids))
  return rast, slopes


def pull(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  ids: Int[Array, "b h w"],
  rast: Float[Array, "b h w 4"],
  slopes: Float[Array, "b h w d"],
  *,
  backend: str,
) -> Float[Array, "b v 4"]:
  """Gradient of `_location.located` in `pos`, by a kernel on a CPU.

  The kernel's sums have an order of their own, the same each time. On a GPU it is
  XLA's.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, int32.
    ids: of the triangles shown, int32.
    rast: cotangent of the raster.
    slopes: cotangent of the slopes; `[B, H, W, 0]` without any.
    backend: as for `triangle_ids`.
  """
  args = dispatch.vary_alike(pos, tri, ids, rast, slopes)
  return _puller(backend)(*args)[0]


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


@functools.lru_cache(maxsize=64)
def _nearest_search(resolution: tuple[int, int], backend: str) -> Callable:
  def kernel(*args):
    shape = (args[0].shape[0], *resolution)
    results = [(shape, jnp.float32), (shape, jnp.int32)]
    return dispatch.ffi_call("affjax_rasterize_nearest", results, *args)

  def portable(pos, tri, depth, ids):
    return _xla.nearest(pos, tri, resolution, behind=(depth, ids))

  if backend == "xla":
    return portable
  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False, True, True), (True, True)
  )


@functools.cache
def _locator(derivatives: bool, backend: str) -> Callable:
  def kernel(*args):
    shapes = [(*args[2].shape, channels) for channels in (4, 4 * derivatives)]
    results = [(shape, jnp.float32) for shape in shapes]
    return dispatch.ffi_call("affjax_rasterize_locate", results, *args)

  def portable(pos, tri, ids):
    return _location.located(pos, tri, ids, derivatives=derivatives)

  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False, True), (True, True)
  )


@functools.cache
def _puller(backend: str) -> Callable:
  def kernel(*args):
    results = [(args[0].shape, jnp.float32)]
    return dispatch.ffi_call("affjax_rasterize_pull", results, *args)

  def portable(pos, tri, ids, rast, slopes):
    return (_location.pulled(pos, tri, ids, rast, slopes),)

  call = portable
  if backend != "cuda":
    call = dispatch.per_platform(LIBRARY, kernel, portable, ("cpu",))
  return dispatch.batch_parallel(call, (True, False, True, True, True), (True,))


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
