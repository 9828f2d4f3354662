"""nvdiffrast's attribute interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax.render import check_triangles

from . import calls, library


def interpolate(
  attr: Float[Array, "b v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[Array, "t 3"] | np.ndarray,
  *,
  derivatives: Float[Array, "b h w 4"] | None = None,
):
  """Attributes at each pixel, as `affjax.render.interpolate` gives them.

  Args:
    attr: one row a vertex, float32; a batch of 1 is shared by all images.
    rast: what `rasterize` gave.
    tri: triangles as indices into `attr`.
    derivatives: the second output of `rasterize`, to get those of the attributes.

  Returns:
    `[B, H, W, A]`, zeros where the raster is empty; differentiable in all that is
    float. With `derivatives` a pair, whose second is `[B, H, W, A, 2]`: the change per
    pixel along x and along y.

  Raises:
    ValueError: wrong shapes or types.
    ImportError, RuntimeError: see `library.require`.
  """
  calls.expect("rast", rast, None, None, None, 4)
  shared = attr.shape[0] == 1
  calls.expect("attr", attr, 1 if shared else rast.shape[0], None, None)
  if derivatives is not None:
    calls.expect("derivatives", derivatives, *rast.shape)
  check_triangles("tri", tri, attr.shape[1], "vertices of attr")
  shape = (*rast.shape[:3], attr.shape[-1])
  if tri.shape[0] == 0 or 0 in shape:
    value, change = jnp.zeros(shape, jnp.float32), jnp.zeros((*shape, 2), jnp.float32)
  else:
    library.require()
    slopes = calls.absent() if derivatives is None else derivatives
    value, change = _interpolate(attr, rast, jnp.asarray(tri, jnp.int32), slopes)
  return value if derivatives is None else (value, change)


@jax.custom_vjp
def _interpolate(attr, rast, tri, slopes):
  """`slopes`, and with it the second result, may be absent."""

  def forward(attr, rast, tri, slopes):
    shape = (*rast.shape[:3], attr.shape[-1])
    change = (*shape, 2) if slopes.size else (0,)
    out = (calls.floats(*shape), calls.floats(*change))
    return tuple(calls.handler("interpolate_forward", out, attr, rast, tri, slopes))

  many, wanted = attr.shape[0] == rast.shape[0], slopes.size > 0
  return calls.batch_parallel(
    forward, (attr, rast, tri, slopes), (many, True, False, wanted), (True, wanted)
  )


def _interpolate_fwd(attr, rast, tri, slopes):
  return _interpolate(attr, rast, tri, slopes), (attr, rast, tri, slopes)


def _interpolate_bwd(kept, grads):
  def backward(attr, rast, tri, slopes, value_grad, change_grad):
    args = (attr, rast, tri, slopes, value_grad, change_grad)
    out = tuple(calls.floats(*a.shape) for a in (attr, rast, slopes))
    return tuple(calls.handler("interpolate_backward", out, *args))

  attr, rast, _, slopes = kept
  many, wanted = attr.shape[0] == rast.shape[0], slopes.size > 0
  attr_grad, rast_grad, slopes_grad = calls.batch_parallel(
    backward,
    (*kept, *grads),
    (many, True, False, wanted, True, wanted),
    (many, True, wanted),
  )
  return attr_grad, rast_grad, None, slopes_grad


_interpolate.defvjp(_interpolate_fwd, _interpolate_bwd)
