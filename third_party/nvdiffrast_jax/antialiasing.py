"""nvdiffrast's antialiasing."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.render import check_triangles

from . import calls, library

# nvdiffrast's hash of edges takes 8 entries of 4 words per triangle, for the number of
# triangles rounded up to a power of two, and for at least 64.
_HASH_ROWS = 8
_LEAST_TRIANGLES = 64


def antialias(
  color: Float[Array, "b h w c"],
  rast: Float[Array, "b h w 4"],
  pos: Float[Array, "b v 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
) -> Float[Array, "b h w c"]:
  """Blends the pixels on both sides of each silhouette.

  Unlike `affjax.render.antialias`, it looks at one triangle of the nearer surface only.
  If triangles are smaller than pixels, the silhouette is mostly on the next triangle
  and stays jagged.

  Args:
    color: Image with any number of channels, float32.
    rast: The raster that `rasterize` returned.
    pos: The clip-space vertices that were rasterized.
    tri: The triangles that were rasterized, welded. They may be traced, because the
      device computes adjacency at each call.

  Returns:
    The blended image, differentiable in `color` and `pos`.

  Raises:
    ValueError: A shape or a dtype is not as described.
    ImportError: nvdiffrast is not installed.
    RuntimeError: nvdiffrast cannot be compiled or JAX sees no CUDA device.
  """
  calls.expect("color", color, None, None, None, None)
  calls.expect("rast", rast, *color.shape[:3], 4)
  calls.expect("pos", pos, color.shape[0], None, 4)
  check_triangles("tri", tri, pos.shape[1], "vertices of pos")
  if tri.shape[0] == 0 or color.size == 0:
    return color
  library.require()
  return _antialias(
    color, jax.lax.stop_gradient(rast), pos, jnp.asarray(tri, jnp.int32)
  )


def _scratch(
  color: Array, tri: Array
) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Returns the hash of edges, and a list of two items per pixel after its counter."""
  triangles = max(_LEAST_TRIANGLES, 1 << (tri.shape[0] - 1).bit_length())
  batch, height, width = color.shape[:3]
  pairs = 2 * batch * height * width
  return calls.ints(_HASH_ROWS * triangles, 4), calls.ints(1 + pairs, 4)


@jax.custom_vjp
def _antialias(color: Array, rast: Array, pos: Array, tri: Array):
  def forward(color: Array, rast: Array, pos: Array, tri: Array):
    out = (calls.floats(*color.shape), *_scratch(color, tri))
    return (calls.handler("antialias_forward", out, color, rast, pos, tri)[0],)

  args = (color, rast, pos, tri)
  return calls.batch_parallel(forward, args, (True, True, True, False), (True,))[0]


def _antialias_fwd(color: Array, rast: Array, pos: Array, tri: Array):
  return _antialias(color, rast, pos, tri), (color, rast, pos, tri)


def _antialias_bwd(kept: tuple[Array, ...], grad: Array):
  def backward(color: Array, rast: Array, pos: Array, tri: Array, grad: Array):
    shapes = (calls.floats(*color.shape), calls.floats(*pos.shape))
    out = (*shapes, *_scratch(color, tri))
    args = (color, rast, pos, tri, grad)
    return tuple(calls.handler("antialias_backward", out, *args)[:2])

  color_grad, pos_grad = calls.batch_parallel(
    backward, (*kept, grad), (True, True, True, False, True), (True, True)
  )
  return color_grad, None, pos_grad, None


_antialias.defvjp(_antialias_fwd, _antialias_bwd)
