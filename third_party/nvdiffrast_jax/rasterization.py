"""nvdiffrast's rasterizer."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.render import check_triangles
from affjax.types import ArrayLike

from . import calls, library

# The viewport of CudaRaster. It draws larger images in tiles, whose position release
# 0.3.3 computes from a number that it has not set yet.
LARGEST_SIDE = 2048


def rasterize(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
) -> Float[Array, "b h w 4"]:
  """Finds the visible triangle of each pixel, as `affjax.render.rasterize` does.

  nvdiffrast snaps vertices to 1/16 pixel before it decides on coverage, so a pixel
  whose center lies that close to an edge may show the neighboring triangle.

  Args:
    pos: Clip-space vertices, float32.
    tri: Triangles, shared by the batch.
    resolution: (height, width) of the raster, pixels, each at most 2048.

  Returns:
    The raster `[B, H, W, 4]` with the channels (u, v, z/w, triangle id + 1), zero where
    it is empty; u and v are differentiable in `pos`.

  Raises:
    ValueError: A shape, a dtype or the resolution is not as described.
    ImportError: nvdiffrast is not installed.
    RuntimeError: nvdiffrast cannot be compiled or JAX sees no CUDA device.
  """
  return _checked(pos, tri, resolution, derivatives=False)[0]


def rasterize_with_derivatives(
  pos: Float[ArrayLike, "b v 4"],
  tri: Int[ArrayLike, "t 3"],
  resolution: tuple[int, int],
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w 4"]]:
  """Rasterizes as `rasterize` does and also returns screen-space derivatives.

  Args:
    pos: As for `rasterize`.
    tri: As for `rasterize`.
    resolution: As for `rasterize`.

  Returns:
    The raster, and the derivatives (du/dX, du/dY, dv/dX, dv/dY) of its weights per
    pixel, `[B, H, W, 4]`; both are differentiable in `pos`.

  Raises:
    ValueError: As for `rasterize`.
    ImportError: As for `rasterize`.
    RuntimeError: As for `rasterize`.
  """
  return _checked(pos, tri, resolution, derivatives=True)


def _checked(
  pos: ArrayLike, tri: ArrayLike, resolution: tuple[int, int], *, derivatives: bool
) -> tuple[Float[Array, "b h w 4"], Float[Array, "b h w 4"]]:
  calls.expect("pos", pos, None, None, 4)
  check_triangles("tri", tri, pos.shape[1], "vertices of pos")
  height, width = resolution
  if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
    raise ValueError(
      f"resolution must be from (1, 1) to {(LARGEST_SIDE, LARGEST_SIDE)} for backend "
      f"'nvdiffrast', got {resolution}"
    )
  if tri.shape[0] == 0 or pos.shape[0] == 0:
    rast = jnp.zeros((pos.shape[0], height, width, 4), jnp.float32)
    return rast, rast
  library.require()
  tri = jnp.asarray(tri, jnp.int32)
  return _rasterize(jnp.asarray(pos), tri, (int(height), int(width)), derivatives)


def _draw(
  pos: Array, tri: Array, resolution: tuple[int, int], derivatives: bool
) -> tuple[jax.Array, ...]:
  del derivatives  # The handler always writes them; only the gradient can skip them.

  def forward(pos: Array, tri: Array):
    shape = (pos.shape[0], *resolution, 4)
    out = (calls.floats(*shape), calls.floats(*shape))
    return tuple(calls.handler("rasterize_forward", out, pos, tri))

  return calls.batch_parallel(forward, (pos, tri), (True, False), (True, True))


_rasterize = jax.custom_vjp(_draw, nondiff_argnums=(2, 3))


def _rasterize_fwd(
  pos: Array, tri: Array, resolution: tuple[int, int], derivatives: bool
):
  rast, slopes = _rasterize(pos, tri, resolution, derivatives)
  return (rast, slopes), (pos, tri, rast)


def _rasterize_bwd(
  resolution: tuple[int, int],
  derivatives: bool,
  kept: tuple[Array, Array, Array],
  grads: tuple[Array, Array],
):
  del resolution
  pos, tri, rast = kept
  rast_grad, slopes_grad = grads
  slopes_grad = slopes_grad if derivatives else calls.absent()

  def backward(
    pos: Array, tri: Array, rast: Array, rast_grad: Array, slopes_grad: Array
  ):
    args = (pos, tri, rast, rast_grad, slopes_grad)
    return tuple(calls.handler("rasterize_backward", [calls.floats(*pos.shape)], *args))

  (pos_grad,) = calls.batch_parallel(
    backward,
    (pos, tri, rast, rast_grad, slopes_grad),
    (True, False, True, True, derivatives),
    (True,),
  )
  return pos_grad, None


_rasterize.defvjp(_rasterize_fwd, _rasterize_bwd)
