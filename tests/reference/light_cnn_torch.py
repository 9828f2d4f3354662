"""Light CNN 29 and its version 2 in PyTorch, with the names of its checkpoints."""

import torch
from torch import nn
from torch.nn import functional


class MaxFeatureMap(nn.Module):
  """A convolution or linear layer, and the larger half of its outputs."""

  def __init__(self, inputs, outputs, size=0):
    super().__init__()
    if size:
      self.filter = nn.Conv2d(inputs, 2 * outputs, size, padding=size // 2)
    else:
      self.filter = nn.Linear(inputs, 2 * outputs)

  def forward(self, x):
    first, second = self.filter(x).chunk(2, 1)
    return torch.max(first, second)


class Residual(nn.Module):
  """Two layers added to their input."""

  def __init__(self, channels):
    super().__init__()
    self.conv1 = MaxFeatureMap(channels, channels, 3)
    self.conv2 = MaxFeatureMap(channels, channels, 3)

  def forward(self, x):
    return self.conv2(self.conv1(x)) + x


class Group(nn.Module):
  """A 1 x 1 layer and a 3 x 3 layer."""

  def __init__(self, inputs, outputs):
    super().__init__()
    self.conv_a = MaxFeatureMap(inputs, inputs, 1)
    self.conv = MaxFeatureMap(inputs, outputs, 3)

  def forward(self, x):
    return self.conv(self.conv_a(x))


class Network(nn.Module):
  """Gray faces `[N, 1, 128, 128]` to 256 features."""

  def __init__(self, second_version, classes=5):
    super().__init__()
    self.second_version = second_version
    self.conv1 = MaxFeatureMap(1, 48, 5)
    self.block1 = nn.Sequential(Residual(48))
    self.group1 = Group(48, 96)
    self.block2 = nn.Sequential(*(Residual(96) for _ in range(2)))
    self.group2 = Group(96, 192)
    self.block3 = nn.Sequential(*(Residual(192) for _ in range(3)))
    self.group3 = Group(192, 128)
    self.block4 = nn.Sequential(*(Residual(128) for _ in range(4)))
    self.group4 = Group(128, 128)
    if second_version:
      self.fc = nn.Linear(8 * 8 * 128, 256)
    else:
      self.fc = MaxFeatureMap(8 * 8 * 128, 256)
    self.fc2 = nn.Linear(256, classes, bias=not second_version)

  def pool(self, x):
    if self.second_version:
      return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
    return functional.max_pool2d(x, 2, 2, ceil_mode=True)

  def forward(self, x):
    x = self.pool(self.conv1(x))
    x = self.pool(self.group1(self.block1(x)))
    x = self.pool(self.group2(self.block2(x)))
    x = self.group3(self.block3(x))
    x = self.pool(self.group4(self.block4(x)))
    return self.fc(x.flatten(1))
