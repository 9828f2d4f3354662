"""Plain convolution on the grid of affine convolution."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.native import dispatch
from affjax.ops import _affine_conv, _affine_native, _conv_xla
from affjax.types import ArrayLike

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "xla": _conv_xla.conv,
  "cpp": functools.partial(_affine_native.conv, platform="cpu"),
}


def conv(
  x: Float[ArrayLike, "n h w c"],
  kernel: Float[ArrayLike, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with zero padding of half the kernel.

  The result is that of `affine_conv` with identity matrices. XLA computes it; on CPUs
  the kernel of affine convolution computes the gradients, in at most half of XLA's time
  (`experiments/benchmarks/affine_conv.py`).

  Args:
    x: Input, float32 or bfloat16.
    kernel: Weights in the dtype of `x`.
    stride: Distance of neighboring windows, px.
    backend: Implementation of the gradients: "xla", "cpp", or "auto" for the faster one
      on the platform where the program runs.

  Returns:
    The result `[N, ceil(H / stride), ceil(W / stride), O]` in the dtype of `x`.

  Raises:
    ValueError: A shape, a dtype or an option is not as described.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  _affine_conv.check(x, kernel, stride, backend, ("auto", *_BACKENDS))
  x, kernel = jnp.asarray(x), jnp.asarray(kernel)
  if backend != "auto":
    return _BACKENDS[backend](x, kernel, stride)
  if "cpu" in dispatch.ready_platforms(_affine_native.LIBRARY):
    return _affine_native.conv(x, kernel, stride)
  return _conv_xla.conv(x, kernel, stride)
