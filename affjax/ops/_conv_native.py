"""Plain convolution by a kernel in C++.

Convolution is bilinear: with `y` the result for `x` and `kernel`, the sum of `y g` over
all places is linear in each of `x`, `kernel` and `g`. Its derivatives by `g`, `x` and
`kernel` are the three passes below, and the gradients of each pass are the other two.
Each is an FFI call of its own, which XLA drops where its result is not used.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.native import dispatch, library
from affjax.ops import _conv_xla
from affjax.types import ArrayLike

LIBRARY = "conv"


class _Sizes(NamedTuple):
  """The sizes of a convolution that the shapes of two of its arrays may not tell."""

  height: int
  width: int
  kernel: int
  stride: int


def conv(
  x: Float[ArrayLike, "n h w c"],
  kernel: Float[ArrayLike, "k k c o"],
  stride: int,
  platform: str | None = None,
) -> Float[Array, "n i j o"]:
  """Computes `_conv_xla.conv`, and its gradients of any order, by the kernel.

  Args:
    x: Input, float32 or bfloat16; the arithmetic is in float32.
    kernel: Weights in the dtype of `x`.
    stride: Distance of neighboring windows, px.
    platform: "cpu" to require the kernel; None for portable XLA where there is none.

  Raises:
    RuntimeError: The kernel of `platform` is not available here.
  """
  if platform is not None:
    library.require(LIBRARY, platform)
  x, kernel = dispatch.vary_alike(jnp.asarray(x), jnp.asarray(kernel))
  sizes = _Sizes(x.shape[1], x.shape[2], kernel.shape[0], stride)
  return _run(x, kernel, 0, sizes, platform)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _run(a: Array, b: Array, index: int, sizes: _Sizes, platform: str | None) -> Array:
  """Runs a pass: (x, kernel) to y, (kernel, grad) to x, or (grad, x) to the kernel."""
  native = functools.partial(_native, _NAMES[index], _SHAPES[index], sizes)
  portable = functools.partial(_PORTABLE[index], sizes)
  run = native
  if platform is None:
    run = dispatch.per_platform(LIBRARY, native, portable, ("cpu",))
  batched = (index != 1, index != 0)
  (result,) = dispatch.batch_parallel(run, batched, (index != 2,))(a, b)
  return result


def _run_forward(
  a: Array, b: Array, index: int, sizes: _Sizes, platform: str | None
) -> tuple[Array, tuple[Array, Array]]:
  return _run(a, b, index, sizes, platform), (a, b)


def _run_backward(
  index: int,
  sizes: _Sizes,
  platform: str | None,
  inputs: tuple[Array, Array],
  c: Array,
) -> tuple[Array, Array]:
  a, b = inputs
  following = _run(b, c, (index + 1) % 3, sizes, platform)
  return following, _run(c, a, (index + 2) % 3, sizes, platform)


_run.defvjp(_run_forward, _run_backward)


def _native(
  name: str,
  shape: Callable[[_Sizes, Array, Array], tuple[int, ...]],
  sizes: _Sizes,
  a: Array,
  b: Array,
) -> tuple[Array, ...]:
  (out,) = dispatch.ffi_call(
    f"affjax_conv_{name}",
    ((shape(sizes, a, b), jnp.float32),),
    *(a.astype(jnp.float32), b.astype(jnp.float32)),
    stride=np.int64(sizes.stride),
  )
  return (out.astype(a.dtype),)


def _y_shape(sizes: _Sizes, x: Array, kernel: Array) -> tuple[int, ...]:
  rows, columns = (-(-n // sizes.stride) for n in (sizes.height, sizes.width))
  return x.shape[0], rows, columns, kernel.shape[3]


def _x_shape(sizes: _Sizes, kernel: Array, grad: Array) -> tuple[int, ...]:
  return grad.shape[0], sizes.height, sizes.width, kernel.shape[2]


def _kernel_shape(sizes: _Sizes, grad: Array, x: Array) -> tuple[int, ...]:
  return sizes.kernel, sizes.kernel, x.shape[3], grad.shape[3]


def _portable_y(sizes: _Sizes, x: Array, kernel: Array) -> tuple[Array, ...]:
  return (_conv_xla.conv(x, kernel, sizes.stride),)


def _portable_x(sizes: _Sizes, kernel: Array, grad: Array) -> tuple[Array, ...]:
  like = jax.ShapeDtypeStruct(_x_shape(sizes, kernel, grad), grad.dtype)
  run = lambda x: _conv_xla.conv(x, kernel, sizes.stride)
  return jax.linear_transpose(run, like)(grad)


def _portable_kernel(sizes: _Sizes, grad: Array, x: Array) -> tuple[Array, ...]:
  like = jax.ShapeDtypeStruct(_kernel_shape(sizes, grad, x), grad.dtype)
  run = lambda kernel: _conv_xla.conv(x, kernel, sizes.stride)
  return jax.linear_transpose(run, like)(grad)


# The passes by their index.
_NAMES = ("forward", "input_gradient", "kernel_gradient")
_SHAPES = (_y_shape, _x_shape, _kernel_shape)
_PORTABLE = (_portable_y, _portable_x, _portable_kernel)
