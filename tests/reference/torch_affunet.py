"""AffUNet in PyTorch, written from section 3.4.4, over the parameters of ours.

Functions of a nested dict of tensors, images `[N, C, H, W]`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tests.reference import torch_affine_conv

Weights = dict[str, Any]
Form = Callable[[Tensor, Tensor, Tensor, int], Tensor]


def transplanted(params: Weights, *, dtype=torch.float32) -> Weights:
  """Our parameters as tensors; kernels `[K, K, C, O]` become `[O, C, K, K]`."""

  def tensor(value) -> Tensor:
    found = torch.tensor(value, dtype=dtype)
    return found.permute(3, 2, 0, 1).contiguous() if found.ndim == 4 else found

  return {
    name: transplanted(value, dtype=dtype) if isinstance(value, dict) else tensor(value)
    for name, value in params.items()
  }


def affunet(
  weights: Weights,
  images: Tensor,
  *,
  affine: bool = True,
  frame: str = "window",
  form: Form = torch_affine_conv.stacked,
) -> Tensor:
  """The network: `[N, 3, H, W]` to `[N, 3, H, W]`.

  Args:
    weights: of `transplanted`.
    images: in [0, 1].
    affine: whether layers 2 to 4 warp their windows.
    frame: what the predicted matrices act on: "window", or "absolute" as the paper
      writes them.
    form: of the affine convolution.
  """
  encoder = weights["encoder"]
  warped = functools.partial(_affine_block, frame=frame, form=form)
  down = warped if affine else _down_block
  full = _block(encoder["layer1"], images)
  half = down(encoder["layer2"], full)
  quarter = down(encoder["layer3"], half)
  x = _block(weights["layer5"], down(encoder["layer4"], quarter))
  for skip, first, second in ((quarter, 6, 7), (half, 8, 9)):
    x = _block(weights[f"layer{first}"], _joined(x, skip))
    x = _block(weights[f"layer{second}"], x)
  x = _block(weights["layer10"], _joined(x, full))
  return _convolved(weights["layer11"], x)


def _joined(x: Tensor, skip: Tensor) -> Tensor:
  up = functional.interpolate(x, scale_factor=2, mode="nearest")
  up = up[:, :, : skip.shape[2], : skip.shape[3]]
  return torch.cat([up, skip], 1)


def _convolved(weights: Weights, x: Tensor, stride: int = 1) -> Tensor:
  kernel = weights["kernel"]
  size = kernel.shape[-1]
  padding = (size - 1) // 2
  if size % 2 == 0:  # reaches one further right and down
    x = functional.pad(x, (0, 1, 0, 1))
  return functional.conv2d(x, kernel, weights["bias"], stride=stride, padding=padding)


def _activated(weights: Weights, x: Tensor) -> Tensor:
  norm, channels = weights["norm"], x.shape[1]
  groups = channels // math.gcd(8, channels)
  x = functional.group_norm(x, groups, norm["scale"], norm["bias"], eps=1e-5)
  return functional.leaky_relu(x, 0.1)


def _block(weights: Weights, x: Tensor) -> Tensor:
  return _activated(weights, _convolved(weights["conv"], x))


def _down_block(weights: Weights, x: Tensor) -> Tensor:
  return _activated(weights, _convolved(weights["conv"], x, 2))


def _affine_block(weights: Weights, x: Tensor, *, frame: str, form: Form) -> Tensor:
  layer = weights["conv"]
  six = _convolved(layer["predictor"], x, 2)
  # Coordinates need more digits than bfloat16 has.
  six = six.to(torch.promote_types(six.dtype, torch.float32))
  theta = six.permute(0, 2, 3, 1).unflatten(-1, (2, 3))
  if frame == "absolute":
    theta = torch_affine_conv.window_form(theta, x.shape[2], x.shape[3], 2)
  y = form(x, theta, layer["kernel"], 2) + layer["bias"][:, None, None]
  return _activated(weights, y)
