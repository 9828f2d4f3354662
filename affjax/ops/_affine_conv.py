"""Affine convolution (AffUNet, section 3.2): a convolution whose window is warped.

Every output pixel has a matrix of its own that moves the taps of the kernel before they
read the input, bilinearly, the same for all channels. Deformable convolution, in which
taps are moved one by one, is the same computation and served by the same code.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.native import dispatch
from affjax.ops import _affine_literal, _affine_native, _affine_xla

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "literal": _affine_literal.affine_conv,
  "xla": _affine_xla.affine_conv,
  "cpp": functools.partial(_affine_native.affine_conv, platform="cpu"),
  "cuda": functools.partial(_affine_native.affine_conv, platform="cuda"),
}
_NAMES = ("auto", *_BACKENDS)


def affine_conv(
  x: Float[Array, "n h w c"],
  theta: Float[Array, "n i j 2 3"],
  kernel: Float[Array, "k k c o"],
  *,
  stride: int = 1,
  prior: Float[Array, "n i j 2 3"] | None = None,
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
    prior: matrices of the form of `theta` that place the windows that `theta` has
      warped, such as those of a geometric alignment (`theta.compose`).
    backend: "literal" = the equation spelled out, slow; "xla" = gathers and one matmul;
      "cpp" and "cuda" = kernels that sample and multiply in cache; "auto" = the fastest
      that is available on the platform that the program runs on.

  Returns:
    The result in the dtype of `x`, accumulated in float32. Coordinates and bilinear
    weights are float32 always. On a CPU all gradients have the same bits every time for
    the same number of threads; on CUDA the gradient by `x` is summed by atomics unless
    the environment says AFFJAX_DETERMINISTIC=1.

  Raises:
    ValueError: on shapes, dtypes or options that do not fit.
    RuntimeError: a kernel that was asked for by name is not available.
  """
  expected = check(x, kernel, stride, backend)
  _check_coords("theta", theta, (*expected, 2, 3), x.shape, stride)
  if prior is not None:
    _check_coords("prior", prior, (*expected, 2, 3), x.shape, stride)
  return _backend(backend)(x, theta, prior, kernel, stride)


def deformable_conv(
  x: Float[Array, "n h w c"],
  offsets: Float[Array, "n i j k2 2"],
  kernel: Float[Array, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with windows whose taps are displaced one by one.

  Deformable convolution (Dai et al. 2017, without modulation): affine convolution with
  2 K² free numbers a pixel in the place of six.

  Args:
    x: float32 or bfloat16.
    offsets: float32 `(x, y)` of each tap, row by row, from its regular place, px.
    kernel: as for `affine_conv`.
    stride: as for `affine_conv`.
    backend: as for `affine_conv`.

  Raises:
    ValueError: on shapes, dtypes or options that do not fit.
    RuntimeError: a kernel that was asked for by name is not available.
  """
  expected = (*check(x, kernel, stride, backend), kernel.shape[0] ** 2, 2)
  _check_coords("offsets", offsets, expected, x.shape, stride)
  return _backend(backend)(x, offsets, None, kernel, stride)


def _backend(name: str) -> Callable[..., jax.Array]:
  if name != "auto":
    return _BACKENDS[name]
  if dispatch.ready_platforms(_affine_native.LIBRARY):
    return _affine_native.affine_conv
  return _affine_xla.affine_conv


def check(
  x, kernel, stride: int, backend: str, backends: tuple[str, ...] = _NAMES
) -> tuple[int, int, int]:
  """Raises ValueError on arguments of a convolution that do not fit.

  Returns:
    N, Ho, Wo of its result.
  """
  if backend not in backends:
    raise ValueError(f"backend must be one of {list(backends)}, got {backend!r}")
  if not isinstance(stride, int) or stride < 1:
    raise ValueError(f"stride must be an int >= 1, got {stride!r}")
  if x.ndim != 4 or min(x.shape[1:]) < 1:
    raise ValueError(f"x must be [N, H, W, C] with H, W, C >= 1, got shape {x.shape}")
  if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or min(kernel.shape) < 1:
    raise ValueError(
      f"kernel must be [K, K, C, O] with K, O >= 1, got shape {kernel.shape}"
    )
  if kernel.shape[2] != x.shape[3]:
    raise ValueError(
      f"kernel takes {kernel.shape[2]} channels but x has {x.shape[3]}: got shapes "
      f"{kernel.shape} and {x.shape}"
    )
  if x.dtype not in (jnp.float32, jnp.bfloat16) or kernel.dtype != x.dtype:
    raise ValueError(
      "x and kernel must both be float32 or both bfloat16, got "
      f"{x.dtype} and {kernel.dtype}"
    )
  if (x.shape[1] + 2) * (x.shape[2] + 2) >= 2**31:
    raise ValueError(f"x must have fewer than 2^31 pixels, got shape {x.shape}")
  return x.shape[0], -(-x.shape[1] // stride), -(-x.shape[2] // stride)


def _check_coords(name: str, coords, expected, shape, stride: int) -> None:
  if coords.shape != expected:
    raise ValueError(
      f"{name} must have shape {expected} for x of shape {shape} and stride {stride}, "
      f"got {coords.shape}"
    )
  if coords.dtype != jnp.float32:
    raise ValueError(
      f"{name} must be float32, as coordinates need its digits, got {coords.dtype}"
    )
