"""Affine convolution (AffUNet, section 3.2): a convolution whose window is warped.

Every output pixel has a matrix of its own that moves the taps of the kernel before they
read the input, bilinearly, the same for all channels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import _affine_literal, _affine_xla

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "literal": _affine_literal.affine_conv,
  "xla": _affine_xla.affine_conv,
}


def affine_conv(
  x: Float[Array, "n h w c"],
  theta: Float[Array, "n i j 2 3"],
  kernel: Float[Array, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with windows warped by an affine matrix for each output pixel.

  With `d = (dx, dy)` a tap's offset from the middle of the kernel, output pixel (i, j)
  is the sum over taps of `kernel[tap] . x at (stride j, stride i) + theta . (d, 1)`:
  equation 2, with coordinates relative to the window's centre. Samples are bilinear,
  zero outside the input; a NaN in `theta` makes its own output pixel NaN and no other.

  Args:
    x: float32 or bfloat16.
    theta: float32, in window coordinates, rows (x, y), columns (dx, dy, 1);
      `[[1, 0, 0], [0, 1, 0]]` is a plain convolution with a padding of half the
      kernel. The output is `ceil(h / stride)` by `ceil(w / stride)`.
    kernel: of the dtype of `x`. The middle tap of an even size K is (K - 1) // 2.
    stride: distance of neighbouring windows, px.
    backend: "literal" = the equation spelled out, slow; "xla" = gathers and one matmul;
      "auto" = the fastest that is available.

  Returns:
    The result in the dtype of `x`, accumulated in float32. Coordinates and bilinear
    weights are float32 always.

  Raises:
    ValueError: on shapes, dtypes or options that do not fit.
  """
  if backend != "auto" and backend not in _BACKENDS:
    raise ValueError(f"backend must be one of {['auto', *_BACKENDS]}, got {backend!r}")
  if not isinstance(stride, int) or stride < 1:
    raise ValueError(f"stride must be an int >= 1, got {stride!r}")
  _check_shapes(x, theta, kernel, stride)
  if x.dtype not in (jnp.float32, jnp.bfloat16) or kernel.dtype != x.dtype:
    raise ValueError(
      "x and kernel must both be float32 or both bfloat16, got "
      f"{x.dtype} and {kernel.dtype}"
    )
  if theta.dtype != jnp.float32:
    raise ValueError(
      f"theta must be float32, as coordinates need its digits, got {theta.dtype}"
    )
  run = _BACKENDS["xla" if backend == "auto" else backend]
  return run(x, theta, kernel, stride)


def _check_shapes(x, theta, kernel, stride: int) -> None:
  if x.ndim != 4 or min(x.shape[1:]) < 1:
    raise ValueError(f"x must be [N, H, W, C] with H, W, C >= 1, got shape {x.shape}")
  if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] < 1:
    raise ValueError(f"kernel must be [K, K, C, O], got shape {kernel.shape}")
  if kernel.shape[2] != x.shape[3]:
    raise ValueError(
      f"kernel takes {kernel.shape[2]} channels but x has {x.shape[3]}: got shapes "
      f"{kernel.shape} and {x.shape}"
    )
  expected = (x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride), 2, 3)
  if theta.shape != expected:
    raise ValueError(
      f"theta must have shape {expected} for x of shape {x.shape} and stride {stride}, "
      f"got {theta.shape}"
    )
