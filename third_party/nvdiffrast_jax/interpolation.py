"""nvdiffrast's attribute interpolation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.render import check_triangles
from affjax.types import ArrayLike

from . import calls, library


def interpolate(
  attr: Float[ArrayLike, "b_or_1 v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[ArrayLike, "t 3"],
) -> Float[Array, "b h w a"]:
  """Interpolates vertex attributes, as `affjax.render.interpolate` does.

  Args:
    attr: Attributes, float32, one row per vertex; a batch of 1 is shared by all images.
    rast: The raster that `rasterize` returned.
    tri: Triangles as indices into `attr`.

  Returns:
    Attributes `[B, H, W, A]`, zero where the raster is empty; differentiable in `attr`
    and `rast`.

  Raises:
    ValueError: A shape or a dtype is not as described.
    ImportError: nvdiffrast is not installed.
    RuntimeError: nvdiffrast cannot be compiled or JAX sees no CUDA device.
  """
  return _checked(attr, rast, tri, None)[0]


def interpolate_with_derivatives(
  attr: Float[ArrayLike, "b_or_1 v a"],
  rast: Float[Array, "b h w 4"],
  tri: Int[ArrayLike, "t 3"],
  derivatives: Float[Array, "b h w 4"],
) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a 2"]]:
  """Interpolates as `interpolate` does and also returns screen-space derivatives.

  Args:
    attr: As for `interpolate`.
    rast: As for `interpolate`.
    tri: As for `interpolate`.
    derivatives: The derivatives that `rasterize_with_derivatives` returned.

  Returns:
    The attributes, and their derivatives `[B, H, W, A, 2]` per pixel to the right and
    down; differentiable in all float arguments.

  Raises:
    ValueError: As for `interpolate`.
    ImportError: As for `interpolate`.
    RuntimeError: As for `interpolate`.
  """
  return _checked(attr, rast, tri, derivatives)


def _checked(
  attr: ArrayLike, rast: Array, tri: ArrayLike, derivatives: Array | None
) -> tuple[jax.Array, ...]:
  calls.expect("rast", rast, None, None, None, 4)
  shared = attr.shape[0] == 1
  calls.expect("attr", attr, 1 if shared else rast.shape[0], None, None)
  if derivatives is not None:
    calls.expect("derivatives", derivatives, *rast.shape)
  check_triangles("tri", tri, attr.shape[1], "vertices of attr")
  shape = (*rast.shape[:3], attr.shape[-1])
  if tri.shape[0] == 0 or 0 in shape:
    return jnp.zeros(shape, jnp.float32), jnp.zeros((*shape, 2), jnp.float32)
  library.require()
  slopes = calls.absent() if derivatives is None else derivatives
  tri = jnp.asarray(tri, jnp.int32)
  return _interpolate(jnp.asarray(attr), rast, tri, slopes)


@jax.custom_vjp
def _interpolate(attr: Array, rast: Array, tri: Array, slopes: Array):
  """Calls the kernel; an empty `slopes` leaves the second result empty as well."""

  def forward(attr: Array, rast: Array, tri: Array, slopes: Array):
    shape = (*rast.shape[:3], attr.shape[-1])
    change = (*shape, 2) if slopes.size else (0,)
    out = (calls.floats(*shape), calls.floats(*change))
    return tuple(calls.handler("interpolate_forward", out, attr, rast, tri, slopes))

  many, wanted = attr.shape[0] == rast.shape[0], slopes.size > 0
  return calls.batch_parallel(
    forward, (attr, rast, tri, slopes), (many, True, False, wanted), (True, wanted)
  )


def _interpolate_fwd(attr: Array, rast: Array, tri: Array, slopes: Array):
  return _interpolate(attr, rast, tri, slopes), (attr, rast, tri, slopes)


def _interpolate_bwd(kept: tuple[Array, ...], grads: tuple[Array, Array]):
  def backward(
    attr: Array,
    rast: Array,
    tri: Array,
    slopes: Array,
    value_grad: Array,
    change_grad: Array,
  ):
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
