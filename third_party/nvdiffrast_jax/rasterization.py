"""nvdiffrast's rasterizer."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.render import check_triangles

from . import calls, library

# CudaRaster's viewport. Larger pictures it draws in pieces, which release 0.3.3 places
# by a number that it has not set yet.
LARGEST_SIDE = 2048


def rasterize(
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  resolution: tuple[int, int],
  *,
  derivatives: bool = False,
):
  """Finds the visible triangle of each pixel, as `affjax.render.rasterize` does.

  Vertices are snapped to 1/16 pixel before coverage is decided, so that a pixel whose
  centre lies that close to an edge may show the other triangle.

  Args:
    pos: clip-space vertices, float32.
    tri: triangles, shared by the batch.
    resolution: (height, width) of the raster, pixels, each at most 2048.
    derivatives: also return the derivatives of the weights.

  Returns:
    `[B, H, W, 4]`: (u, v, z/w, triangle id + 1), zeros where no triangle is; with
    `derivatives` a pair, whose second is `[B, H, W, 4]`: (du/dX, du/dY, dv/dX, dv/dY).
    Both are differentiable in `pos`, z/w is not.

  Raises:
    ValueError: wrong shapes, types or resolution.
    ImportError, RuntimeError: see `library.require`.
  """
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
    return (rast, rast) if derivatives else rast
  library.require()
  tri = jnp.asarray(tri, jnp.int32)
  rast, slopes = _rasterize(pos, tri, (int(height), int(width)), derivatives)
  return (rast, slopes) if derivatives else rast


def _draw(
  pos, tri, resolution: tuple[int, int], derivatives: bool
) -> tuple[jax.Array, ...]:
  del derivatives  # The shader writes them anyway.

  def forward(pos, tri):
    shape = (pos.shape[0], *resolution, 4)
    out = (calls.floats(*shape), calls.floats(*shape))
    return tuple(calls.handler("rasterize_forward", out, pos, tri))

  return calls.batch_parallel(forward, (pos, tri), (True, False), (True, True))


_rasterize = jax.custom_vjp(_draw, nondiff_argnums=(2, 3))


def _rasterize_fwd(pos, tri, resolution, derivatives):
  rast, slopes = _rasterize(pos, tri, resolution, derivatives)
  return (rast, slopes), (pos, tri, rast)


def _rasterize_bwd(resolution, derivatives, kept, grads):
  del resolution
  pos, tri, rast = kept
  rast_grad, slopes_grad = grads
  slopes_grad = slopes_grad if derivatives else calls.absent()

  def backward(pos, tri, rast, rast_grad, slopes_grad):
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
