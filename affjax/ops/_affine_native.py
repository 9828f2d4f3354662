"""Affine convolution by kernels in C++ and CUDA that store no matrix of columns.

The forward and the backward pass are FFI calls. Portable XLA defines what they compute,
replaces them on platforms without a kernel, and provides second derivatives.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.native import dispatch, library
from affjax.ops import _affine_xla
from affjax.types import ArrayLike

LIBRARY = "affine_conv"

# The value of an absent argument.
_NONE = np.zeros(0, np.float32)


def affine_conv(
  x: Float[ArrayLike, "n h w c"],
  coords: Float[ArrayLike, "n i j *m"],
  prior: Float[ArrayLike, "n i j 2 3"] | None,
  kernel: Float[ArrayLike, "k k c o"],
  stride: int,
  platform: str | None = None,
) -> Float[Array, "n i j o"]:
  """Computes `_affine_xla.affine_conv` by a kernel.

  Args:
    x: Input, float32 or bfloat16.
    coords: Matrices or offsets.
    prior: Matrices that are applied after those of `coords`, or None.
    kernel: Weights in the dtype of `x`.
    stride: Distance of neighboring windows, px.
    platform: "cpu" or "cuda" to require that kernel; None for the kernel of the
      platform where the program runs, or portable XLA if there is none.

  Raises:
    RuntimeError: The kernel of `platform` is not available here.
  """
  if platform is not None:
    library.require(LIBRARY, platform)
  args = (x, coords, _NONE if prior is None else prior, kernel)
  return _conv(*dispatch.vary_alike(*map(jnp.asarray, args)), stride, platform)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _conv(
  x: Array,
  coords: Array,
  prior: Array,
  kernel: Array,
  stride: int,
  platform: str | None,
) -> Array:
  run = _dispatched(_call_forward, _forward, stride, platform)
  flags = (True, True, _present(prior), False)
  (result,) = dispatch.batch_parallel(run, flags, (True,))(x, coords, prior, kernel)
  return result


def _conv_forward(
  x: Array,
  coords: Array,
  prior: Array,
  kernel: Array,
  stride: int,
  platform: str | None,
) -> tuple[Array, tuple[Array, ...]]:
  inputs = (x, coords, prior, kernel)
  return _conv(*inputs, stride, platform), inputs


def _conv_backward(
  stride: int, platform: str | None, inputs: tuple[Array, ...], grad: Array
) -> tuple[Array, ...]:
  return tuple(_grads(*inputs, grad, stride, platform))


_conv.defvjp(_conv_forward, _conv_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _grads(
  x: Array,
  coords: Array,
  prior: Array,
  kernel: Array,
  grad: Array,
  stride: int,
  platform: str | None,
) -> tuple[Array, ...]:
  """Returns the gradients of x, coords, prior and kernel."""
  run = _dispatched(_call_backward, _backward, stride, platform)
  flags = (True, True, _present(prior), False)
  call = dispatch.batch_parallel(run, (*flags, True), flags)
  return call(x, coords, prior, kernel, grad)


def _grads_forward(
  x: Array,
  coords: Array,
  prior: Array,
  kernel: Array,
  grad: Array,
  stride: int,
  platform: str | None,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
  inputs = (x, coords, prior, kernel, grad)
  return _grads(*inputs, stride, platform), inputs


def _grads_backward(
  stride: int, platform: str | None, inputs: tuple[Array, ...], grads: tuple[Array, ...]
) -> tuple[Array, ...]:
  del platform
  return jax.vjp(functools.partial(_backward, stride), *inputs)[1](grads)


_grads.defvjp(_grads_forward, _grads_backward)


def _call_forward(
  stride: int, x: Array, coords: Array, prior: Array, kernel: Array
) -> tuple[Array, ...]:
  n, height, width, _ = x.shape
  shape = (n, -(-height // stride), -(-width // stride), kernel.shape[3])
  return dispatch.ffi_call(
    "affjax_affine_conv_forward",
    ((shape, x.dtype),),
    *(x, coords, prior, kernel),
    stride=np.int64(stride),
  )


def _call_backward(stride: int, *args: Array) -> tuple[Array, ...]:
  like = [(a.shape, a.dtype) for a in args[:4]]
  return dispatch.ffi_call(
    "affjax_affine_conv_backward", like, *args, stride=np.int64(stride)
  )


def _dispatched(
  native: dispatch.ArrayFunction,
  portable: dispatch.ArrayFunction,
  stride: int,
  platform: str | None,
) -> dispatch.ArrayFunction:
  native = functools.partial(native, stride)
  if platform is not None:
    return native
  portable = functools.partial(portable, stride)
  return dispatch.per_platform(LIBRARY, native, portable)


def _present(argument: jax.Array) -> bool:
  return argument.ndim > 1


def _forward(
  stride: int, x: Array, coords: Array, prior: Array, kernel: Array
) -> tuple[Array, ...]:
  given = prior if _present(prior) else None
  return (_affine_xla.affine_conv(x, coords, given, kernel, stride),)


def _backward(
  stride: int, x: Array, coords: Array, prior: Array, kernel: Array, grad: Array
) -> tuple[Array, ...]:
  _, pull = jax.vjp(functools.partial(_forward, stride), x, coords, prior, kernel)
  return pull((grad,))
