"""Layers: convolution, affine and deformable convolution, and a dense layer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from affjax.nn import _initializers
from affjax.ops import affine_conv, conv, deformable_conv, theta
from affjax.types import ArrayLike

_RELU = _initializers.Normal(2.0**0.5)
_FRAMES = ("window", "absolute")


class Conv(nnx.Module):
  """A convolution, `[N, H, W, C]` -> `[N, ceil(H / s), ceil(W / s), O]`.

  The input is padded with zeros by half the kernel, so that output pixel (i, j) looks
  at input pixel (s i, s j): the grid of affine convolution.

  Args:
    in_features: Number C of input channels.
    out_features: Number O of output channels.
    kernel_size: Side K of the kernel `[K, K, C, O]`, px.
    stride: Stride s.
    padding: "half", or "valid" for none.
    dilation: Distance of neighboring taps, px.
    backend: Backend of `affjax.ops.affine_conv`, which a call with a prior uses.
    kernel_init: Initializer of the kernel.
    bias_init: Initializer of the bias; `None` = no bias.
    dtype: Type of the arithmetic; parameters are float32.
    out_dtype: Type of the result; default: `dtype`.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    padding: str = "half",
    dilation: int = 1,
    backend: str = "auto",
    kernel_init: _initializers.Normal = _RELU,
    bias_init: _initializers.Values | None = _initializers.Values(),  # noqa: B008
    dtype: str = "float32",
    out_dtype: str | None = None,
    rngs: nnx.Rngs,
  ):
    if padding not in ("half", "valid"):
      raise ValueError(f"padding must be 'half' or 'valid', got {padding!r}")
    shape = (kernel_size, kernel_size, in_features, out_features)
    self.kernel = _initializers.parameter(shape, kernel_init, rngs)
    self.bias = _bias(out_features, bias_init, rngs)
    self.padding = padding
    self.dilation = dilation
    self.stride = stride
    self.backend = backend
    self.dtype = dtype
    self.out_dtype = out_dtype or dtype

  def __call__(
    self,
    x: Float[ArrayLike, "n h w c"],
    *,
    prior: Float[ArrayLike, "n i j 2 3"] | None = None,
  ) -> Float[Array, "n i j o"]:
    """Applies the layer.

    Args:
      x: Features.
      prior: Window-form matrices that place the windows, for a layer with half padding
        and without dilation.
    """
    x, kernel = jnp.asarray(x, self.dtype), self.kernel[...].astype(self.dtype)
    if prior is not None:
      y = affine_conv(x, prior, kernel, stride=self.stride, backend=self.backend)
    elif (self.padding, self.dilation) == ("half", 1):
      y = conv(x, kernel, stride=self.stride)
    else:
      y = self._by_xla(x, kernel)
    return _shifted(y.astype(self.out_dtype), self.bias)

  def _by_xla(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution where our own one does not do it."""
    reach = self.dilation * (kernel.shape[0] - 1)
    pads = (reach // 2, reach - reach // 2) if self.padding == "half" else (0, 0)
    return lax.conv_general_dilated(
      x,
      kernel,
      (self.stride, self.stride),
      (pads, pads),
      rhs_dilation=(self.dilation, self.dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


class AffineConv(nnx.Module):
  """Affine convolution: a convolution whose extra convolution warps its windows.

  The extra convolution, `predictor`, sees the same windows and gives each output pixel
  six numbers, an affine matrix (equation 1). It starts with a zero kernel and the
  identity as bias, so that the layer starts as a plain convolution.

  Args:
    in_features: Number C of input channels.
    out_features: Number O of output channels.
    kernel_size: Side K of the kernel and of the predictor's kernel, px.
    stride: Stride s.
    frame: Coordinates that the predicted matrix acts on. "window": offsets from the
      window's center, px. "absolute": places in the input normalized to [-1, 1], the
      paper's `[C 1] A`; it trains only if `predictor` learns at a tenth of the rate.
    reach: Largest shift of a window that can be predicted, as a share of the input's
      larger side; `None` = any. A window that a prior has placed well stays there.
    backend: Backend of `affjax.ops.affine_conv`.
    kernel_init: Initializer of the kernel.
    bias_init: Initializer of the bias; `None` = no bias.
    dtype: Type of the arithmetic on features; parameters and coordinates are float32.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    frame: str = "window",
    reach: float | None = None,
    backend: str = "auto",
    kernel_init: _initializers.Normal = _RELU,
    bias_init: _initializers.Values | None = _initializers.Values(),  # noqa: B008
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    if frame not in _FRAMES:
      raise ValueError(f"frame must be one of {_FRAMES}, got {frame!r}")
    shape = (kernel_size, kernel_size, in_features, out_features)
    self.kernel = _initializers.parameter(shape, kernel_init, rngs)
    self.bias = _bias(out_features, bias_init, rngs)
    self.predictor = Conv(
      in_features,
      6,
      kernel_size=kernel_size,
      stride=stride,
      kernel_init=_initializers.Normal(0.0),
      bias_init=_initializers.Values(sum(theta.IDENTITY, ())),
      dtype=dtype,
      out_dtype="float32",
      rngs=rngs,
    )
    self.stride = stride
    self.frame = frame
    self.reach = reach
    self.backend = backend
    self.dtype = dtype

  def __call__(
    self,
    x: Float[ArrayLike, "n h w c"],
    *,
    prior: Float[ArrayLike, "n i j 2 3"] | None = None,
  ) -> Float[Array, "n i j o"]:
    """Applies the layer.

    Args:
      x: Features.
      prior: Window-form matrices that are known beforehand; they place the windows
        that the predicted ones have warped.
    """
    matrices = self.theta(x)
    x, kernel = jnp.asarray(x, self.dtype), self.kernel[...].astype(self.dtype)
    y = affine_conv(
      x, matrices, kernel, stride=self.stride, prior=prior, backend=self.backend
    )
    return _shifted(y, self.bias)

  def theta(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j 2 3"]:
    """Returns the predicted matrices in window form."""
    six = self.predictor(x)
    matrices = six.reshape((*six.shape[:-1], 2, 3))
    if self.frame == "absolute":
      matrices = theta.from_absolute(matrices, x.shape[1], x.shape[2], self.stride)
    if self.reach is not None:
      limit = self.reach * max(x.shape[1:3])
      shift = limit * jnp.tanh(matrices[..., 2:] / limit)
      matrices = jnp.concatenate([matrices[..., :2], shift], -1)
    return matrices


class DeformableConv(nnx.Module):
  """Deformable convolution (Dai et al. 2017): each tap has a free offset.

  It is affine convolution with 2 K² numbers a window in place of six, and starts as a
  plain convolution, too.

  Args:
    in_features: Number C of input channels.
    out_features: Number O of output channels.
    kernel_size: Side K of the kernel and of the predictor's kernel, px.
    stride: Stride s.
    backend: Backend of `affjax.ops.deformable_conv`.
    dtype: Type of the arithmetic on features; parameters and coordinates are float32.
    rngs: Random streams for parameter initialization.
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    backend: str = "auto",
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ):
    shape = (kernel_size, kernel_size, in_features, out_features)
    self.kernel = _initializers.parameter(shape, _RELU, rngs)
    self.bias = _initializers.parameter((out_features,), _initializers.Values(), rngs)
    self.predictor = Conv(
      in_features,
      2 * kernel_size**2,
      kernel_size=kernel_size,
      stride=stride,
      kernel_init=_initializers.Normal(0.0),
      dtype=dtype,
      out_dtype="float32",
      rngs=rngs,
    )
    self.stride = stride
    self.backend = backend
    self.dtype = dtype

  def __call__(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j o"]:
    x, kernel = jnp.asarray(x, self.dtype), self.kernel[...].astype(self.dtype)
    y = deformable_conv(
      x, self.offsets(x), kernel, stride=self.stride, backend=self.backend
    )
    return y + _row(self.bias[...], y.ndim, self.dtype)

  def offsets(self, x: Float[ArrayLike, "n h w c"]) -> Float[Array, "n i j k2 2"]:
    """Returns the predicted displacement (x, y) of each tap, px."""
    found = self.predictor(x)
    return found.reshape((*found.shape[:3], self.kernel.shape[0] ** 2, 2))


class Dense(nnx.Module):
  """A matrix product and a bias over the last axis, in float32."""

  def __init__(
    self,
    in_features: int,
    out_features: int,
    *,
    kernel_init: _initializers.Normal = _RELU,
    rngs: nnx.Rngs,
  ):
    shape = (in_features, out_features)
    self.kernel = _initializers.parameter(shape, kernel_init, rngs)
    self.bias = _initializers.parameter((out_features,), _initializers.Values(), rngs)

  def __call__(self, x: Float[ArrayLike, "*b c"]) -> Float[Array, "*b o"]:
    y = jnp.matmul(x.astype(jnp.float32), self.kernel[...])
    return y + _row(self.bias[...], y.ndim, "float32")


def _bias(
  features: int, initializer: _initializers.Values | None, rngs: nnx.Rngs
) -> nnx.Param[Any] | None:
  """Returns a bias, or `None` without an initializer for it."""
  if initializer is None:
    return None
  return _initializers.parameter((features,), initializer, rngs)


def _shifted(y: jax.Array, bias: nnx.Param[Any] | None) -> jax.Array:
  """Returns features with their bias, if there is one."""
  return y if bias is None else y + _row(bias[...], y.ndim, str(y.dtype))


def _row(bias: jax.Array, ndim: int, dtype: str) -> jax.Array:
  """Returns a bias shaped to be added to the last of `ndim` axes."""
  return bias.astype(dtype).reshape((1,) * (ndim - 1) + (-1,))
