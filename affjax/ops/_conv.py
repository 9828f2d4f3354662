"""Plain convolution on the grid of affine convolution."""

import functools
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from affjax.native import dispatch
from affjax.ops import _affine_conv, _affine_native, _conv_xla

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "xla": _conv_xla.conv,
  "cpp": functools.partial(_affine_native.conv, platform="cpu"),
}


def conv(
  x: Float[Array, "n h w c"],
  kernel: Float[Array, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves, padded with zeros by half the kernel.

  What `affine_conv` is where every matrix is the identity. XLA computes it; its
  gradients on CPUs come from the kernel of affine convolution, which takes half the
  time and less (`experiments/benchmarks/affine_conv.py`).

  Args:
    x: float32 or bfloat16.
    kernel: of the dtype of `x`.
    stride: distance of neighbouring windows, px.
    backend: of the gradients: "xla", "cpp", or "auto" for the better one on the
      platform.

  Raises:
    ValueError: on shapes, dtypes or options that do not fit.
    RuntimeError: the kernel was asked for by name and is not available.
  """
  _affine_conv.check(x, kernel, stride, backend, ("auto", *_BACKENDS))
  if backend != "auto":
    return _BACKENDS[backend](x, kernel, stride)
  if "cpu" in dispatch.ready_platforms(_affine_native.LIBRARY):
    return _affine_native.conv(x, kernel, stride)
  return _conv_xla.conv(x, kernel, stride)
