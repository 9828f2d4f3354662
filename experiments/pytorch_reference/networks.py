"""The networks of sections 3.1, 3.3.5 and 3.4.4 of the paper as PyTorch modules.

Every network takes photos `[N, H, W, 3]` in [0, 1] and returns maps `[N, H, W, C]`;
inside, tensors are `[N, C, H, W]`. Submodules and parameters have the names of affjax's
networks, up to PyTorch's "weight" for a kernel and a scale (`weights.py`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.pytorch_reference import affine_conv

Form = Callable[[Tensor, Tensor, Tensor, int], Tensor]

_RELU_GAIN = 2**0.5
# softplus(_ONE) = 1: light starts as if there were none to explain.
_ONE = math.log(math.e - 1)
# Scale and bound of a pose: rotation (radians), translation (dm).
_POSE_SCALE = (0.5, 0.5, 0.5, 0.3, 0.3, 1.0)
_POSE_LIMIT = (3.2, 3.2, 3.2, 4.0, 4.0, 6.0)


class Conv(nn.Conv2d):
  """A convolution padded by half its kernel.

  Output pixel (i, j) looks at input pixel (s i, s j), for a stride of s. A kernel of
  even size reaches one pixel further right and down than left and up.
  """

  def __init__(
    self, channels: int, features: int, size=3, stride=1, gain: float = _RELU_GAIN
  ):
    super().__init__(channels, features, size, stride, padding=(size - 1) // 2)
    nn.init.normal_(self.weight, std=gain / math.sqrt(channels * size * size))
    nn.init.zeros_(self.bias)
    self._even = size % 2 == 0

  def forward(self, x: Tensor) -> Tensor:
    return super().forward(functional.pad(x, (0, 1, 0, 1)) if self._even else x)


class Linear(nn.Linear):
  """A fully connected layer, started like the convolutions."""

  def __init__(self, channels: int, features: int, gain: float = _RELU_GAIN):
    super().__init__(channels, features)
    nn.init.normal_(self.weight, std=gain / math.sqrt(channels))
    nn.init.zeros_(self.bias)


class AffineConv(nn.Module):
  """Affine convolution (section 3.2): the predictor warps the window of each output.

  Args:
    frame: The coordinates that the predicted matrices act on: "window", offsets from
      the window's center in pixels, or "absolute", places in the input scaled to
      [-1, 1], as equation 2 prints it.
    form: The way in which the convolution is computed, one of `affine_conv.forms()`.
  """

  def __init__(
    self,
    channels: int,
    features: int,
    size: int = 3,
    stride: int = 2,
    *,
    frame: str = "window",
    form: Form = affine_conv.stacked,
  ):
    super().__init__()
    self.weight = nn.Parameter(torch.empty(features, channels, size, size))
    self.bias = nn.Parameter(torch.zeros(features))
    nn.init.normal_(self.weight, std=_RELU_GAIN / math.sqrt(channels * size * size))
    # Starts as a plain convolution: all matrices are the identity.
    self.predictor = Conv(channels, 6, size, stride, gain=0.0)
    self.predictor.bias.data = torch.tensor([1.0, 0, 0, 0, 1, 0])
    self.stride, self.frame, self.form = stride, frame, form

  def forward(self, x: Tensor) -> Tensor:
    y = self.form(x, self.theta(x), self.weight, self.stride)
    return y + self.bias[:, None, None]

  def theta(self, x: Tensor) -> Tensor:
    """Returns the matrices `[N, Ho, Wo, 2, 3]` in the window frame."""
    six = self.predictor(x)
    # Coordinates need more digits than bfloat16 has.
    six = six.to(torch.promote_types(six.dtype, torch.float32))
    theta = six.permute(0, 2, 3, 1).unflatten(-1, (2, 3))
    if self.frame == "absolute":
      theta = affine_conv.window_form(theta, x.shape[2], x.shape[3], self.stride)
    return theta


class Block(nn.Module):
  """A convolution, a group normalization (8 channels a group) and a leaky ReLU."""

  def __init__(self, conv: nn.Module, features: int):
    super().__init__()
    self.conv = conv
    self.norm = nn.GroupNorm(features // math.gcd(8, features), features, eps=1e-5)

  def forward(self, x: Tensor) -> Tensor:
    return functional.leaky_relu(self.norm(self.conv(x)), 0.1)


def plain(channels: int, features: int, size: int = 3, stride: int = 1) -> Block:
  """Returns a block around a plain convolution."""
  return Block(Conv(channels, features, size, stride), features)


class Encoder(nn.Module):
  """Layers 1 to 4: one plain convolution, then three of stride 2, affine by default."""

  def __init__(
    self, width: int, *, affine: bool, frame: str, kernel_size: int, form: Form
  ):
    super().__init__()

    def down(channels: int, features: int) -> Block:
      if not affine:
        return plain(channels, features, kernel_size, 2)
      layer = AffineConv(channels, features, kernel_size, frame=frame, form=form)
      return Block(layer, features)

    self.layer1 = plain(3, width, kernel_size)
    self.layer2 = down(width, 2 * width)
    self.layer3 = down(2 * width, 4 * width)
    self.layer4 = down(4 * width, 8 * width)

  def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns the features at 1, 1/2, 1/4 and 1/8 of the resolution."""
    full = self.layer1(x)
    half = self.layer2(full)
    quarter = self.layer3(half)
    return full, half, quarter, self.layer4(quarter)


class GlobalContext(nn.Module):
  """A fully connected path beside the bottleneck; affjax's addition to the paper."""

  features = 32

  def __init__(self, channels: int, size: int, width: int):
    super().__init__()
    self.squeeze = Conv(channels, width, 1)
    self.dense1 = Linear(width * size * size, 128)
    self.dense2 = Linear(128, self.features * size * size)
    self.size = size

  def forward(self, x: Tensor) -> Tensor:
    cells = (self.size, self.size)
    y = functional.leaky_relu(self.squeeze(x), 0.1)
    y = resized(y, cells, antialias=True)
    # The weights count channels last.
    y = functional.leaky_relu(self.dense1(y.permute(0, 2, 3, 1).flatten(1)), 0.1)
    y = self.dense2(y).unflatten(1, (*cells, self.features)).permute(0, 3, 1, 2)
    return resized(y, x.shape[2:])


class AffUNet(nn.Module):
  """The position and the diffuse network (section 3.4.4): photo to three channels."""

  def __init__(
    self,
    width: int = 32,
    *,
    affine: bool = True,
    frame: str = "window",
    kernel_size: int = 3,
    global_context: bool = False,
    context_size: int = 8,
    context_width: int = 16,
    form: Form = affine_conv.stacked,
  ):
    super().__init__()
    w = width
    options = {"affine": affine, "frame": frame, "kernel_size": kernel_size}
    self.encoder = Encoder(w, **options, form=form)
    self.context, extra = None, 0
    if global_context:
      self.context = GlobalContext(8 * w, context_size, context_width)
      extra = GlobalContext.features
    self.layer5 = plain(8 * w + extra, 8 * w)
    self.layer6 = plain(12 * w, 4 * w)
    self.layer7 = plain(4 * w, 4 * w)
    self.layer8 = plain(6 * w, 2 * w)
    self.layer9 = plain(2 * w, 2 * w)
    self.layer10 = plain(3 * w, w)
    self.layer11 = Conv(w, 3, gain=0.3)

  def forward(self, images: Tensor) -> Tensor:
    full, half, quarter, x = self.encoder(images.permute(0, 3, 1, 2))
    if self.context is not None:
      x = torch.cat([x, self.context(x)], 1)
    x = self.layer5(x)
    x = self.layer7(self.layer6(_up_and_join(x, quarter)))
    x = self.layer9(self.layer8(_up_and_join(x, half)))
    x = self.layer11(self.layer10(_up_and_join(x, full)))
    return x.permute(0, 2, 3, 1)


def affunet_like(state: Mapping[str, Tensor], *, frame: str, form: Form) -> AffUNet:
  """Returns the AffUNet whose state dict has the names and shapes of `state`."""
  options = _encoder_options(state)
  if "context.squeeze.weight" in state:
    width = len(state["context.squeeze.weight"])
    cells = state["context.dense1.weight"].shape[1] // width
    options |= {"context_width": width, "context_size": math.isqrt(cells)}
    options["global_context"] = True
  return AffUNet(**options, frame=frame, form=form)


def light_like(state: Mapping[str, Tensor], *, frame: str, form: Form) -> "LightNet":
  """Returns the light network whose state dict has the names and shapes of `state`."""
  color = "output_color.weight" in state
  return LightNet(**_encoder_options(state), color=color, frame=frame, form=form)


def _encoder_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
  width, _, size, _ = state["encoder.layer1.conv.weight"].shape
  affine = "encoder.layer2.conv.predictor.weight" in state
  return {"width": width, "kernel_size": size, "affine": affine}


class LightNet(nn.Module):
  """The light network: photo to a gray map of an eighth of its size, and a color."""

  def __init__(
    self,
    width: int = 16,
    *,
    affine: bool = True,
    frame: str = "window",
    kernel_size: int = 3,
    color: bool = False,
    form: Form = affine_conv.stacked,
  ):
    super().__init__()
    options = {"affine": affine, "frame": frame, "kernel_size": kernel_size}
    self.encoder = Encoder(width, **options, form=form)
    self.layer5 = plain(8 * width, 8 * width)
    self.output = Conv(8 * width, 1, gain=0.1)
    self.output_color = Linear(8 * width, 3, gain=0.1) if color else None

  def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the light map `[N, H/8, W/8, 1]` and the color `[N, 3]`, both > 0."""
    x = self.layer5(self.encoder(images.permute(0, 3, 1, 2))[-1])
    light = functional.softplus(self.output(x) + _ONE).permute(0, 2, 3, 1)
    if self.output_color is None:
      return light, torch.ones_like(light[:, 0, 0]).expand(-1, 3)
    return light, functional.softplus(self.output_color(x.mean((2, 3))) + _ONE)


class PoseNet(nn.Module):
  """The pose network: strides of 2 down to at most 4 x 4, then a convolution as large.

  Args:
    width: Channels of the first layer; each stage doubles them, up to eightfold.
    size: Side of the photos, px.
  """

  def __init__(self, width: int = 16, *, size: int):
    super().__init__()
    features, channels, side, depth = width, 3, size, 0
    while side > 4:
      for stride in (2,) if depth == 0 else (2, 1):
        depth += 1
        setattr(self, f"layer{depth}", plain(channels, features, 3, stride))
        channels = features
      side = -(-side // 2)
      features = min(2 * features, 8 * width)
    self.output = nn.Conv2d(channels, 6, side)
    nn.init.normal_(self.output.weight, std=0.1 / math.sqrt(channels * side * side))
    nn.init.zeros_(self.output.bias)
    self.depth = depth

  def forward(self, images: Tensor) -> Tensor:
    """Returns axis-angle rotations (radians) and translations (dm), `[N, 6]`."""
    x = images.permute(0, 3, 1, 2)
    for number in range(1, self.depth + 1):
      x = getattr(self, f"layer{number}")(x)
    limit = images.new_tensor(_POSE_LIMIT)
    raw = self.output(x)[:, :, 0, 0] * images.new_tensor(_POSE_SCALE)
    return limit * torch.tanh(raw / limit)


class PatchDiscriminator(nn.Module):
  """The discriminator of one scale: an image to a map of logits, one a patch."""

  def __init__(self, width: int, depth: int):
    super().__init__()
    self.layer1 = Conv(3, width, 4, 2)
    channels = width
    for number in range(2, depth + 2):
      stride = 2 if number <= depth else 1
      setattr(self, f"layer{number}", plain(channels, 2 * channels, 4, stride))
      channels *= 2
    self.output = Conv(channels, 1, 4)
    self.depth = depth

  def forward(self, x: Tensor) -> Tensor:
    x = functional.leaky_relu(self.layer1(x), 0.1)
    for number in range(2, self.depth + 2):
      x = getattr(self, f"layer{number}")(x)
    return self.output(x)


class Discriminator(nn.Module):
  """Discriminators of the image at 1, 1/2, 1/4, ... of its size (section 3.3.5)."""

  def __init__(self, width: int = 64, depth: int = 3, scales: int = 3):
    super().__init__()
    for scale in range(scales):
      setattr(self, f"scale{scale}", PatchDiscriminator(width, depth))
    self.scales = scales

  def forward(self, images: Tensor) -> list[Tensor]:
    """Returns maps of logits `[N, i, j, 1]`, the finest scale first."""
    x = images.permute(0, 3, 1, 2)
    return [
      getattr(self, f"scale{k}")(functional.avg_pool2d(x, 2**k)).permute(0, 2, 3, 1)
      for k in range(self.scales)
    ]


def resized(x: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
  """Resizes `[N, C, H, W]` bilinearly; outer edges stay in place."""
  if x.shape[2:] == size:
    return x
  return functional.interpolate(
    x, size, mode="bilinear", align_corners=False, antialias=antialias
  )


def _up_and_join(x: Tensor, skip: Tensor) -> Tensor:
  up = functional.interpolate(x, scale_factor=2, mode="nearest")
  return torch.cat([up[:, :, : skip.shape[2], : skip.shape[3]], skip], 1)
