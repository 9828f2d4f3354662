"""Plain convolution on the grid of affine convolution."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.native import dispatch
from affjax.ops import _affine_conv, _conv_native, _conv_xla
from affjax.types import ArrayLike

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "xla": _conv_xla.conv,
  "cpp": functools.partial(_conv_native.conv, platform="cpu"),
}


def conv(
  x: Float[ArrayLike, "n h w c"],
  kernel: Float[ArrayLike, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with zero padding of half the kernel.

  The result is that of `affine_conv` with identity matrices. On CPUs a kernel in C++
  computes it and its gradients (times: `experiments/benchmarks/conv.py`), by Winograd's
  algorithm for 3 x 3 px and stride 1. This rounds differently from a sum over the
  window, by 3e-6 of the largest value as measured, and an infinity or NaN in `x`
  reaches results up to 5 px away.

  Args:
    x: Input, float32 or bfloat16.
    kernel: Weights in the dtype of `x`.
    stride: Distance of neighboring windows, px.
    backend: "xla", "cpp", or "auto" for the faster one on the platform where the
      program runs.

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
  if "cpu" in dispatch.ready_platforms(_conv_native.LIBRARY):
    return _conv_native.conv(x, kernel, stride)
  return _conv_xla.conv(x, kernel, stride)
