"""Affine convolution (AffUNet, section 3.2): a convolution with warped windows.

Each output pixel has its own matrix. The matrix moves the taps of the kernel before
they read the input bilinearly, in the same way for all channels. Deformable
convolution, which moves each tap by itself, is the same computation with the same code.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.native import dispatch
from affjax.ops import _affine_literal, _affine_native, _affine_xla
from affjax.types import ArrayLike

_BACKENDS: dict[str, Callable[..., jax.Array]] = {
  "literal": _affine_literal.affine_conv,
  "xla": _affine_xla.affine_conv,
  "cpp": functools.partial(_affine_native.affine_conv, platform="cpu"),
  "cuda": functools.partial(_affine_native.affine_conv, platform="cuda"),
}
AFFINE_BACKENDS = ("auto", *_BACKENDS)
"""Names of the backends of `affine_conv` and `deformable_conv`."""


def affine_conv(
  x: Float[ArrayLike, "n h w c"],
  theta: Float[ArrayLike, "n i j 2 3"],
  kernel: Float[ArrayLike, "k k c o"],
  *,
  stride: int = 1,
  prior: Float[ArrayLike, "n i j 2 3"] | None = None,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with windows that an affine matrix warps at each output pixel.

  With `d = (dx, dy)` a tap's offset from the middle of the kernel, output pixel (i, j)
  is the sum over taps of `kernel[tap] . x[(stride j, stride i) + theta . (d, 1)]`. This
  is equation 2 with coordinates relative to the window's center. Samples are bilinear,
  and zero outside the input. A NaN in `theta` makes only its own output pixel NaN.

  Args:
    x: Input, float32 or bfloat16.
    theta: Matrices, float32, in window coordinates, with rows (x, y) and columns
      (dx, dy, 1), one for each of `ceil(h / stride)` by `ceil(w / stride)` output
      pixels. `[[1, 0, 0], [0, 1, 0]]` everywhere gives a plain convolution, padded by
      half the kernel.
    kernel: Weights in the dtype of `x`. The middle tap of an even size K has index
      (K - 1) // 2.
    stride: Distance of neighboring windows, px.
    prior: Matrices like `theta` that are applied after it, such as those of a geometric
      alignment (`ops.theta.compose`).
    backend: "literal" for the equation as written, which is slow; "xla" for gathers and
      one matrix product; "cpp" or "cuda" for kernels that sample and multiply in cache;
      "auto" for the fastest of these on the platform where the program runs.

  Returns:
    The result in the dtype of `x`, accumulated in float32. Coordinates and bilinear
    weights are always float32. On a CPU, all gradients have the same bits at each call
    with the same number of threads. On CUDA, atomics add the gradient of `x` unless the
    environment variable AFFJAX_DETERMINISTIC is 1.

  Raises:
    ValueError: A shape, a dtype or an option is not as described.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  expected = check(x, kernel, stride, backend)
  _check_coords("theta", theta, (*expected, 2, 3), x.shape, stride)
  if prior is not None:
    _check_coords("prior", prior, (*expected, 2, 3), x.shape, stride)
    prior = jnp.asarray(prior)
  x, theta, kernel = (jnp.asarray(v) for v in (x, theta, kernel))
  return _backend(backend)(x, theta, prior, kernel, stride)


def deformable_conv(
  x: Float[ArrayLike, "n h w c"],
  offsets: Float[ArrayLike, "n i j k2 2"],
  kernel: Float[ArrayLike, "k k c o"],
  *,
  stride: int = 1,
  backend: str = "auto",
) -> Float[Array, "n i j o"]:
  """Convolves with windows whose taps are displaced one by one.

  This is deformable convolution (Dai et al. 2017) without modulation: affine
  convolution with 2 K² free numbers per output pixel instead of six.

  Args:
    x: As for `affine_conv`.
    offsets: Displacement (x, y) of each tap, row by row, from its regular place, px;
      float32.
    kernel: As for `affine_conv`.
    stride: As for `affine_conv`.
    backend: As for `affine_conv`.

  Returns:
    As for `affine_conv`.

  Raises:
    ValueError: A shape, a dtype or an option is not as described.
    RuntimeError: The kernel that `backend` names is not available here.
  """
  expected = (*check(x, kernel, stride, backend), kernel.shape[0] ** 2, 2)
  _check_coords("offsets", offsets, expected, x.shape, stride)
  x, offsets, kernel = (jnp.asarray(v) for v in (x, offsets, kernel))
  return _backend(backend)(x, offsets, None, kernel, stride)


def _backend(name: str) -> Callable[..., jax.Array]:
  if name != "auto":
    return _BACKENDS[name]
  if dispatch.ready_platforms(_affine_native.LIBRARY):
    return _affine_native.affine_conv
  return _affine_xla.affine_conv


def check(
  x: ArrayLike,
  kernel: ArrayLike,
  stride: int,
  backend: str,
  backends: tuple[str, ...] = AFFINE_BACKENDS,
) -> tuple[int, int, int]:
  """Raises ValueError for arguments of a convolution that do not fit each other.

  Args:
    x: The input.
    kernel: The weights.
    stride: The stride.
    backend: The name that the user gave.
    backends: The valid names.

  Returns:
    The sizes N, Ho and Wo of the result.
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


def _check_coords(
  name: str,
  coords: ArrayLike,
  expected: tuple[int, ...],
  shape: tuple[int, ...],
  stride: int,
) -> None:
  if coords.shape != expected:
    raise ValueError(
      f"{name} must have shape {expected} for x of shape {shape} and stride {stride}, "
      f"got {coords.shape}"
    )
  if coords.dtype != jnp.float32:
    raise ValueError(
      f"{name} must be float32, because coordinates need its precision, got "
      f"{coords.dtype}"
    )
