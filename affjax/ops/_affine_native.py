"""Affine convolution by kernels in C++ and CUDA, without a matrix of columns.

Both directions are FFI calls; of plain convolution the backward one is. What they do is
defined in portable XLA, which also stands in on platforms without a kernel and gives
second derivatives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.native import dispatch, library
from affjax.ops import _affine_xla, _conv_xla

LIBRARY = "affine_conv"

# An argument that is not there.
_NONE = np.zeros(0, np.float32)


def affine_conv(
  x: Float[Array, "n h w c"],
  coords: Float[Array, "n i j *m"],
  prior: Float[Array, "n i j 2 3"] | None,
  kernel: Float[Array, "k k c o"],
  stride: int,
  platform: str | None = None,
) -> Float[Array, "n i j o"]:
  """As `_affine_xla.affine_conv`, by a kernel.

  Args:
    x: float32 or bfloat16.
    coords: matrices or offsets.
    prior: or None.
    kernel: of the dtype of `x`.
    stride: px.
    platform: "cpu" or "cuda" insists on that kernel; None takes what the platform has.

  Raises:
    RuntimeError: the kernel of `platform` is not available; says why.
  """
  if platform is not None:
    library.require(LIBRARY, platform)
  prior = jnp.asarray(_NONE) if prior is None else prior
  return _conv(*dispatch.vary_alike(x, coords, prior, kernel), stride, platform)


def conv(
  x: Float[Array, "n h w c"],
  kernel: Float[Array, "k k c o"],
  stride: int,
  platform: str | None = None,
) -> Float[Array, "n i j o"]:
  """As `_conv_xla.conv`, with gradients by the kernel on CPUs.

  Arguments and errors as of `affine_conv`.
  """
  if platform is not None:
    library.require(LIBRARY, platform)
  args = dispatch.vary_alike(x, jnp.asarray(_NONE), jnp.asarray(_NONE), kernel)
  return _conv(*args, stride, platform)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _conv(x, coords, prior, kernel, stride: int, platform: str | None):
  if not _there(coords):
    return _conv_xla.conv(x, kernel, stride)
  run = _dispatched(_call_forward, _forward, stride, platform, coords)
  flags = (True, True, _there(prior), False)
  (result,) = dispatch.batch_parallel(run, flags, (True,))(x, coords, prior, kernel)
  return result


def _conv_forward(x, coords, prior, kernel, stride, platform):
  inputs = (x, coords, prior, kernel)
  return _conv(*inputs, stride, platform), inputs


def _conv_backward(stride, platform, inputs, grad):
  return tuple(_grads(*inputs, grad, stride, platform))


_conv.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _grads(x, coords, prior, kernel, grad, stride: int, platform: str | None):
  """Gradients by x, coords, prior and kernel."""
  run = _dispatched(_call_backward, _backward, stride, platform, coords)
  flags = (True, _there(coords), _there(prior), False)
  call = dispatch.batch_parallel(run, (*flags, True), flags)
  return call(x, coords, prior, kernel, grad)


def _grads_forward(x, coords, prior, kernel, grad, stride, platform):
  inputs = (x, coords, prior, kernel, grad)
  return _grads(*inputs, stride, platform), inputs


def _grads_backward(stride, platform, inputs, grads):
  del platform
  return jax.vjp(functools.partial(_backward, stride), *inputs)[1](grads)


_grads.defvjp(_grads_forward, _grads_backward)


def _call_forward(stride: int, x, coords, prior, kernel):
  n, height, width, _ = x.shape
  shape = (n, -(-height // stride), -(-width // stride), kernel.shape[3])
  return dispatch.ffi_call(
    "affjax_affine_conv_forward",
    ((shape, x.dtype),),
    *(x, coords, prior, kernel),
    stride=np.int64(stride),
  )


def _call_backward(stride: int, *args):
  like = [(a.shape, a.dtype) for a in args[:4]]
  return dispatch.ffi_call(
    "affjax_affine_conv_backward", like, *args, stride=np.int64(stride)
  )


def _dispatched(native, portable, stride: int, platform: str | None, coords):
  native = functools.partial(native, stride)
  if platform is not None:
    return native
  platforms = ("cpu", "cuda") if _there(coords) else ("cpu",)
  portable = functools.partial(portable, stride)
  return dispatch.per_platform(LIBRARY, native, portable, platforms)


def _there(argument: jax.Array) -> bool:
  return argument.ndim > 1


def _forward(stride: int, x, coords, prior, kernel):
  if not _there(coords):
    return (_conv_xla.conv(x, kernel, stride),)
  prior = prior if _there(prior) else None
  return (_affine_xla.affine_conv(x, coords, prior, kernel, stride),)


def _backward(stride: int, x, coords, prior, kernel, grad):
  _, pull = jax.vjp(functools.partial(_forward, stride), x, coords, prior, kernel)
  return pull((grad,))
