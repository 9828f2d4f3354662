"""The feature network of the perceptual losses: VGG up to a layer, frozen."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from affjax.models import FeatureNet


class Features(nn.Module):
  """A stack of 3 x 3 convolutions with the weights of affjax's `FeatureNet`."""

  def __init__(self, net: FeatureNet):
    super().__init__()
    self.layers = net.layers
    # Numbers of the convolutions before which pictures are halved.
    self.halved = tuple(1 + sum(net.blocks[:k]) for k in range(1, len(net.blocks)))
    self.count = len(net.kernels)
    for number, (kernel, bias) in enumerate(
      zip(net.kernels, net.biases, strict=True), start=1
    ):
      weight = np.array(kernel).transpose(3, 2, 0, 1)
      self.register_buffer(f"weight{number}", torch.tensor(weight))
      self.register_buffer(f"bias{number}", torch.tensor(np.array(bias)))
    for name in ("mean", "std"):
      value = torch.tensor(np.array(getattr(net, name)))
      self.register_buffer(name, value[:, None, None])

  def forward(self, images: Tensor) -> list[Tensor]:
    """Returns the wanted layers after their ReLU of images `[N, H, W, 3]`."""
    x = (images.permute(0, 3, 1, 2) - self.mean) / self.std
    found = []
    for number in range(1, self.count + 1):
      if number in self.halved:
        x = functional.max_pool2d(x, 2)
      weight, bias = getattr(self, f"weight{number}"), getattr(self, f"bias{number}")
      x = functional.conv2d(x, weight, bias, padding=1).relu()
      if number in self.layers:
        found.append(x)
    return found
