"""Calls of the renderer's kernels, which have the same handlers on CPU and CUDA."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from affjax.native import dispatch, library
from affjax.render import _location, _silhouettes, _xla

LIBRARY = "rasterizer"
# Backend -> platform of its library.
PLATFORMS = {"cpp": "cpu", "cuda": "cuda"}


def triangle_ids(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"],
  resolution: tuple[int, int],
  *,
  backend: str,
) -> Int[Array, "b h w"]:
  """Computes the same bits as `_xla.triangle_ids` by a kernel.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, int32.
    resolution: (height, width), pixels.
    backend: "cpp", "cuda", or "auto" for the platform's kernel, or portable XLA if the
      platform has none.

  Raises:
    RuntimeError: The kernel that `backend` names is not available here.
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
  """Computes the same bits as `_xla.nearest` by a kernel, except the sign of zero.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, int32.
    resolution: (height, width), pixels.
    behind: Depths and ids; the results lie behind them.
    backend: As for `triangle_ids`; "xla" is the portable search itself.

  Raises:
    RuntimeError: The kernel that `backend` names is not available here.
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
  """Computes `_location.located` to rounding by a kernel that has no JAX derivatives.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, int32.
    ids: Index + 1 of the triangle that each pixel shows, int32.
    derivatives: Whether the second result is requested.
    backend: As for `triangle_ids`.

  Raises:
    RuntimeError: The kernel that `backend` names is not available here.
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
  """Computes the gradient of `_location.located` in `pos`, on a CPU by a kernel.

  The kernel adds in the same order at each call. On a GPU, XLA computes the gradient.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, int32.
    ids: Index + 1 of the triangle that each pixel shows, int32.
    rast: Cotangent of the raster.
    slopes: Cotangent of the derivatives; `[B, H, W, 0]` if they were not requested.
    backend: As for `triangle_ids`.
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
) -> tuple[
  Int[Array, "b h p"], Int[Array, "b h p"], Int[Array, "b q w"], Int[Array, "b q w"]
]:
  """Computes `_silhouettes.edges` by a kernel that walks once for each pair of pixels.

  Args:
    ids: Ids of the raster, int32.
    depth: Depths of the raster.
    outline: The triangles of all images.
    tri: Triangles, int32.
    backend: As for `triangle_ids`; "xla" is the portable search itself.

  Raises:
    RuntimeError: The kernel that `backend` names is not available here.
  """
  require(backend)
  rows = outline.rows.reshape(ids.shape[0], -1, 9).astype(jnp.float32)
  depth = depth.astype(jnp.float32)
  args = dispatch.vary_alike(ids, depth, rows, outline.neighbors, tri)
  start_x, end_x, start_y, end_y = _edge_search(backend)(*args)
  return start_x, end_x, start_y, end_y


def require(backend: str) -> None:
  """Raises RuntimeError if the kernel that `backend` names is not available here."""
  if backend not in PLATFORMS:
    return
  platform = PLATFORMS[backend]
  library.require(LIBRARY, platform)
  try:
    jax.devices(platform)
  except RuntimeError as error:
    raise RuntimeError(f"backend {backend!r} needs a device: {error}") from error


def per_backend(
  backend: str, kernel: dispatch.ArrayFunction, portable: dispatch.ArrayFunction
) -> dispatch.ArrayFunction:
  """Returns a function that calls `kernel` on the platform of the backend.

  Args:
    backend: "cpp", "cuda", or "auto" for every platform whose library is ready.
    kernel: The function that calls the kernel.
    portable: The function for the other platforms of "auto".
  """
  if backend == "auto":
    return dispatch.per_platform(LIBRARY, kernel, portable)
  return lambda *args: lax.platform_dependent(*args, **{PLATFORMS[backend]: kernel})


@functools.lru_cache(maxsize=64)
def _search(resolution: tuple[int, int], backend: str) -> dispatch.ArrayFunction:
  """Returns the same function for equal arguments, so that it is compiled once."""

  def kernel(pos: Array, tri: Array):
    shape = (pos.shape[0], *resolution)
    return dispatch.ffi_call("affjax_rasterize_ids", [(shape, jnp.int32)], pos, tri)

  def portable(pos: Array, tri: Array):
    return (_xla.triangle_ids(pos, tri, resolution),)

  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False), (True,)
  )


@functools.lru_cache(maxsize=64)
def _nearest_search(
  resolution: tuple[int, int], backend: str
) -> dispatch.ArrayFunction:
  def kernel(*args: Array):
    shape = (args[0].shape[0], *resolution)
    results = [(shape, jnp.float32), (shape, jnp.int32)]
    return dispatch.ffi_call("affjax_rasterize_nearest", results, *args)

  def portable(pos: Array, tri: Array, depth: Array, ids: Array):
    return _xla.nearest(pos, tri, resolution, behind=(depth, ids))

  if backend == "xla":
    return portable
  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False, True, True), (True, True)
  )


@functools.cache
def _locator(derivatives: bool, backend: str) -> dispatch.ArrayFunction:
  def kernel(*args: Array):
    shapes = [(*args[2].shape, channels) for channels in (4, 4 * derivatives)]
    results = [(shape, jnp.float32) for shape in shapes]
    return dispatch.ffi_call("affjax_rasterize_locate", results, *args)

  def portable(pos: Array, tri: Array, ids: Array):
    return _location.located(pos, tri, ids, derivatives=derivatives)

  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable), (True, False, True), (True, True)
  )


@functools.cache
def _puller(backend: str) -> dispatch.ArrayFunction:
  def kernel(*args: Array):
    results = [(args[0].shape, jnp.float32)]
    return dispatch.ffi_call("affjax_rasterize_pull", results, *args)

  def portable(pos: Array, tri: Array, ids: Array, rast: Array, slopes: Array):
    return (_location.pulled(pos, tri, ids, rast, slopes),)

  call = portable
  if backend != "cuda":
    call = dispatch.per_platform(LIBRARY, kernel, portable, ("cpu",))
  return dispatch.batch_parallel(call, (True, False, True, True, True), (True,))


@functools.cache
def _edge_search(backend: str) -> dispatch.ArrayFunction:
  def kernel(*args: Array):
    batch, height, width = args[0].shape
    along_x, along_y = (batch, height, width - 1), (batch, height - 1, width)
    shapes = [(s, jnp.int32) for s in (along_x, along_x, along_y, along_y)]
    return dispatch.ffi_call("affjax_silhouette_edges", shapes, *args)

  def portable(ids: Array, depth: Array, rows: Array, neighbors: Array, tri: Array):
    outline = _silhouettes.Outline(rows.reshape(-1, 9), neighbors)
    return _silhouettes.edges(ids, depth, outline, tri)

  if backend == "xla":
    return portable
  return dispatch.batch_parallel(
    per_backend(backend, kernel, portable),
    (True, True, True, False, False),
    (True, True, True, True),
  )
