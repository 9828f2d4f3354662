"""Affine convolution in PyTorch, written from the paper's equation 2.

The forms that a PyTorch user could put together. All take images `[N, C, H, W]`, in
either memory format, matrices `[N, Ho, Wo, 2, 3]` in window form, and a weight
`[O, C, K, K]`; they return `[N, O, Ho, Wo]`. Coordinates are computed in the precision
of `theta`; an image in half precision is sampled in theirs and rounded back, as
PyTorch's autocast does.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

try:
  from torchvision.ops import deform_conv2d
except ImportError:
  deform_conv2d = None


def _windows(count: int, stride: int, like: Tensor) -> Tensor:
  """Centers of `ceil(count / stride)` windows along one axis, px."""
  return torch.arange(0, count, stride, dtype=like.dtype, device=like.device)


def _offsets(size: int, like: Tensor) -> Tensor:
  """A kernel's taps along one axis, counted from its middle one, px."""
  line = torch.arange(size, dtype=like.dtype, device=like.device)
  return line - (size - 1) // 2


def places(
  theta: Tensor, size: int, height: int, width: int, stride: int
) -> tuple[Tensor, Tensor]:
  """Columns and rows, px, that the taps read: two tensors `[N, Ho, Wo, K, K]`."""
  line = _offsets(size, theta)
  dy, dx = torch.meshgrid(line, line, indexing="ij")
  homogeneous = torch.stack([dx, dy, torch.ones_like(dx)], -1)
  moved = torch.einsum("nijrd,abd->nijabr", theta, homogeneous)
  column = moved[..., 0] + _windows(width, stride, theta)[:, None, None]
  row = moved[..., 1] + _windows(height, stride, theta)[:, None, None, None]
  return column, row


def window_form(absolute: Tensor, height: int, width: int, stride: int) -> Tensor:
  """`theta` of matrices that act as the paper writes it, `[C 1] A`.

  There a tap's place in the photo, scaled so that the outermost pixel centers are -1
  and 1, is mapped to the place that is read, scaled alike.
  """
  half = torch.tensor([width - 1, height - 1], dtype=absolute.dtype) / 2
  half = half.clamp(min=0.5).to(absolute.device)

  def reads(dx: float, dy: float) -> Tensor:
    """Returns where a tap at `(dx, dy)` reads, relative to its window's center."""
    column = _windows(width, stride, absolute)
    row = _windows(height, stride, absolute)[:, None].expand(-1, len(column))
    center = torch.stack([column.expand_as(row), row], -1)
    at = (center + torch.tensor([dx, dy]).to(half)) / half - 1
    at = torch.cat([at, torch.ones_like(at[..., :1])], -1)
    return (torch.einsum("nijrd,ijd->nijr", absolute, at) + 1) * half - center

  origin = reads(0, 0)
  return torch.stack([reads(1, 0) - origin, reads(0, 1) - origin, origin], -1)


def _sampled(x: Tensor, column: Tensor, row: Tensor) -> Tensor:
  """Bilinear samples `[N, C, P, Q]` at places `[N, P, Q]`, zero outside."""
  height, width = x.shape[2:]
  # Scaled by pixel edges: `align_corners=True` divides by zero for one pixel.
  grid = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
  sample = functional.grid_sample(
    x.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False
  )
  return sample.to(x.dtype)


def tap_by_tap(x: Tensor, theta: Tensor, weight: Tensor, stride: int) -> Tensor:
  """K² calls of `grid_sample`, each multiplied and added up."""
  size, (height, width) = weight.shape[2], x.shape[2:]
  column, row = places(theta, size, height, width, stride)
  taps = [(a, b) for a in range(size) for b in range(size)]

  def term(a: int, b: int) -> Tensor:
    sample = _sampled(x, column[..., a, b], row[..., a, b])
    return functional.conv2d(sample, weight[:, :, a : a + 1, b : b + 1])

  out = term(*taps[0])
  for tap in taps[1:]:
    out = out + term(*tap)
  return out


def one_grid(x: Tensor, theta: Tensor, weight: Tensor, stride: int) -> Tensor:
  """One `grid_sample` on `[Ho K, Wo K]` places, then a convolution of stride K."""
  size, (height, width) = weight.shape[2], x.shape[2:]
  column, row = (
    v.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    for v in places(theta, size, height, width, stride)
  )
  return functional.conv2d(_sampled(x, column, row), weight, stride=size)


def stacked(x: Tensor, theta: Tensor, weight: Tensor, stride: int) -> Tensor:
  """One `grid_sample` with the taps one under the other, then one matrix product."""
  size, (height, width) = weight.shape[2], x.shape[2:]
  n, out_height, out_width = theta.shape[:3]
  column, row = (
    v.permute(0, 3, 4, 1, 2).reshape(n, size * size * out_height, out_width)
    for v in places(theta, size, height, width, stride)
  )
  columns = _sampled(x, column, row)
  columns = columns.reshape(n, weight[0].numel(), out_height * out_width)
  product = torch.matmul(weight.flatten(1), columns)
  return product.reshape(n, len(weight), out_height, out_width)


def gathered(x: Tensor, theta: Tensor, weight: Tensor, stride: int) -> Tensor:
  """Four gathers of pixels' channel vectors, then one matrix product."""
  n, channels, height, width = x.shape
  column, row = places(theta, weight.shape[2], height, width, stride)
  left, top = column.floor(), row.floor()
  pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
  image = torch.arange(n, device=x.device).reshape(n, 1, 1, 1, 1) * (height * width)
  columns = 0
  for below in (0, 1):
    for right in (0, 1):
      at_column, at_row = left + right, top + below
      share = (1 - (column - at_column).abs()) * (1 - (row - at_row).abs())
      inside = (at_column >= 0) & (at_column < width) & (at_row >= 0)
      share = torch.where(inside & (at_row < height), share, 0).to(x.dtype)
      index = at_row.clamp(0, height - 1) * width + at_column.clamp(0, width - 1)
      index = (index.long() + image).flatten()
      columns = columns + share.reshape(-1, 1) * pixels.index_select(0, index)
  columns = columns.reshape(-1, weight[0].numel())
  flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
  out = torch.matmul(columns, flat.T).reshape(*theta.shape[:3], len(weight))
  return out.permute(0, 3, 1, 2)


def deformable(x: Tensor, theta: Tensor, weight: Tensor, stride: int) -> Tensor:
  """torchvision's deformable convolution, each tap's offset taken from its matrix.

  Raises:
    RuntimeError: if torchvision is missing.
  """
  if deform_conv2d is None:
    raise RuntimeError("deform_conv2d needs torchvision, which is not installed")
  size, (height, width) = weight.shape[2], x.shape[2:]
  column, row = places(theta, size, height, width, stride)
  line = _offsets(size, theta)
  column = column - _windows(width, stride, theta)[:, None, None] - line
  row = row - _windows(height, stride, theta)[:, None, None, None] - line[:, None]
  offset = torch.stack([row, column], -1).permute(0, 3, 4, 5, 1, 2)
  offset = offset.reshape(len(x), -1, *theta.shape[1:3])
  return deform_conv2d(
    # An even kernel reaches one further right and down.
    functional.pad(x, (0, 1 - size % 2, 0, 1 - size % 2)),
    offset.to(x.dtype),
    weight,
    stride=stride,
    padding=(size - 1) // 2,
  )


GRID_SAMPLE_FORMS: dict[str, Callable[..., Tensor]] = {
  "tap by tap": tap_by_tap,
  "one grid": one_grid,
  "stacked": stacked,
  "gathered": gathered,
}


def forms() -> dict[str, Callable[..., Tensor]]:
  """All forms that can run here."""
  found = dict(GRID_SAMPLE_FORMS)
  if deform_conv2d is not None:
    found["deform_conv2d"] = deformable
  return found


def image(x, *, dtype=torch.float64, channels_last: bool = True) -> Tensor:
  """A tensor `[N, C, H, W]` of an array `[N, H, W, C]`."""
  # Copied: arrays of JAX are read-only.
  moved = torch.tensor(x, dtype=dtype).permute(0, 3, 1, 2)
  layout = torch.channels_last if channels_last else torch.contiguous_format
  return moved.contiguous(memory_format=layout)


def weight(kernel, *, dtype=torch.float64) -> Tensor:
  """A weight `[O, C, K, K]` of a kernel `[K, K, C, O]`."""
  return torch.tensor(kernel, dtype=dtype).permute(3, 2, 0, 1).contiguous()
