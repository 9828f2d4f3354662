"""Deep3DFaceRecon's network in PyTorch, with the names that its checkpoints use."""

import torch
from torch import nn


class Bottleneck(nn.Module):
  """1 x 1, 3 x 3 with the stride, 1 x 1, each with a batch norm."""

  def __init__(self, channels, width, stride, project):
    super().__init__()
    self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
    self.bn3 = nn.BatchNorm2d(4 * width)
    self.downsample = nn.Identity()
    if project:
      self.downsample = nn.Sequential(
        nn.Conv2d(channels, 4 * width, 1, stride, bias=False),
        nn.BatchNorm2d(4 * width),
      )

  def forward(self, x):
    y = self.bn1(self.conv1(x)).relu()
    y = self.bn2(self.conv2(y)).relu()
    return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


class Backbone(nn.Module):
  """ResNet up to its average pooling."""

  def __init__(self, width, depths):
    super().__init__()
    self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    channels = width
    for stage, depth in enumerate(depths):
      middle = width * 2**stage
      blocks = []
      for block in range(depth):
        stride = 2 if stage > 0 and block == 0 else 1
        blocks.append(Bottleneck(channels, middle, stride, block == 0))
        channels = 4 * middle
      setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
    self.stages = len(depths)

  def forward(self, x):
    x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
    for stage in range(self.stages):
      x = getattr(self, f"layer{stage + 1}")(x)
    return nn.functional.adaptive_avg_pool2d(x, 1)


class Network(nn.Module):
  """The backbone and a layer for each group of coefficients."""

  def __init__(self, width=64, depths=(3, 4, 6, 3)):
    super().__init__()
    self.backbone = Backbone(width, depths)
    features = 4 * width * 2 ** (len(depths) - 1)
    counts = (80, 64, 80, 3, 27, 2, 1)
    self.final_layers = nn.ModuleList(nn.Conv2d(features, n, 1) for n in counts)

  def forward(self, x):
    x = self.backbone(x)
    return torch.cat([layer(x) for layer in self.final_layers], 1).flatten(1)


def randomized(network, seed=0):
  """In evaluation mode, with batch norms that do something."""
  torch.manual_seed(seed)
  for module in network.modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.weight, 0.5, 1.0)
      nn.init.normal_(module.bias, std=0.2)
      nn.init.normal_(module.running_mean, std=0.2)
      nn.init.uniform_(module.running_var, 0.5, 2.0)
  return network.eval()
