"""The loss terms of section 3.3, written from `docs/losses.md`.

Norms that the paper prints as sums are means, as there. Every function returns a
scalar, the mean over the samples.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from experiments.pytorch_reference.features import Features
from experiments.pytorch_reference.head import Head, posed
from experiments.pytorch_reference.model import Prediction


@dataclasses.dataclass(frozen=True)
class Batch:
  """The data of N samples; names as in affjax.

  Attributes:
    image: Photos in [0, 1], `[N, H, W, 3]`.
    visible: 1 where the photo shows the head, `[N, H, W, 1]`.
    position: Position maps, `[N, S, S, 3]`, dm.
    pose: Poses, known where `has_pose` is 1, `[N, 6]`.
    diffuse: Diffuse maps, known where `has_diffuse` is 1, `[N, S, S, 3]`.
    has_pose: 1 or 0, `[N]`.
    has_diffuse: 1 or 0, `[N]`.
  """

  image: Tensor
  visible: Tensor
  position: Tensor
  pose: Tensor
  diffuse: Tensor
  has_pose: Tensor
  has_diffuse: Tensor


@dataclasses.dataclass(frozen=True)
class Context:
  """Everything that a term may look at.

  Attributes:
    prediction: Result of the model for the photos.
    batch: The photos and what is known about them.
    head: Tables of the head.
    features: The feature network, if a term needs it.
    discriminator: Overlays to logits of each scale, if a term needs it.
  """

  prediction: Prediction
  batch: Batch
  head: Head
  features: Features | None = None
  discriminator: Callable[[Tensor], list[Tensor]] | None = None

  @property
  def overlay(self) -> Tensor:
    """The render over the photo, behind what the photo shows in front of it."""
    image, found = self.batch.image, self.prediction
    return image + self.batch.visible * (found.render - found.alpha * image)


def image_l1(c: Context) -> Tensor:
  """Equation 3, over the visible area that the render covers."""
  found, visible = c.prediction, c.batch.visible
  difference = (found.render - found.alpha * c.batch.image).abs() * visible
  area = 3 * (found.alpha * visible).sum((1, 2, 3))
  shown = area > 0
  values = difference.sum((1, 2, 3)) / torch.where(shown, area, 1)
  return mean(values, shown.to(values.dtype))


def position_l1(c: Context) -> Tensor:
  """Equation 4, over the texels of the charts and their gutter, dm."""
  difference = (c.prediction.position - c.batch.position).abs()
  return mean(difference, c.head.support[None, :, :, None])


def perceptual(c: Context) -> Tensor:
  """Equation 5: overlay against photo."""
  return mean(feature_distance(c.features, c.overlay, c.batch.image))


def symmetry(c: Context) -> Tensor:
  """Equation 6: the blurred diffuse map against its mirror image."""
  soft = blurred(c.prediction.diffuse)
  difference = (soft - c.head.mirrored(soft)).abs()
  return mean(difference, c.head.support[None, :, :, None])


def deviation(c: Context) -> Tensor:
  """Equation 7: standard deviation of the blurred diffuse map over the skin."""
  soft = blurred(c.prediction.diffuse)
  weight = (c.head.skin / c.head.skin.sum())[None, :, :, None]
  color = (soft * weight).sum((1, 2), keepdim=True)
  variance = ((soft - color).square() * weight).sum((1, 2)).mean(1)
  # The root has an infinite slope at zero: no gradient for a map of one color.
  flat = variance < 1e-12
  return (torch.where(flat, 1, variance).sqrt() * ~flat).mean()


def variation(c: Context) -> Tensor:
  """Equation 8 as a mean, in steps between the texels of the paper's 64 x 64 map."""
  light = c.prediction.light
  down = light.diff(dim=1).abs().mean() * light.shape[1]
  across = light.diff(dim=2).abs().mean() * light.shape[2]
  return (down + across) / 64


def adversarial_generator(c: Context) -> Tensor:
  """Equation 9 for the overlay, non-saturating, added up over the scales."""
  return called(c.discriminator(c.overlay), real=True)


def diffuse_l1(c: Context) -> Tensor:
  """Diffuse maps against the known ones (section 3.4.1)."""
  difference = (c.prediction.diffuse - c.batch.diffuse).abs()
  known = c.batch.has_diffuse[:, None, None, None]
  return mean(difference, known * c.head.support[None, :, :, None])


def diffuse_perceptual(c: Context) -> Tensor:
  """The same in feature space."""
  target = torch.where(c.batch.has_diffuse[:, None, None, None] > 0, c.batch.diffuse, 0)
  distance = feature_distance(c.features, c.prediction.diffuse, target)
  return mean(distance, c.batch.has_diffuse)


def pose_l1(c: Context) -> Tensor:
  """Distance of the head's points between predicted and known poses, dm; not theirs."""
  found, wanted = (
    posed(c.head.pose_points, p) for p in (c.prediction.pose, c.batch.pose)
  )
  return mean((found - wanted).abs(), c.batch.has_pose[:, None, None])


TERMS = (
  image_l1,
  position_l1,
  perceptual,
  deviation,
  variation,
  symmetry,
  adversarial_generator,
  diffuse_l1,
  diffuse_perceptual,
  pose_l1,
)


def adversarial_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
  """Equation 9 for the discriminator, by its logits for photos and for overlays."""
  return called(real, real=True) + called(fake, real=False)


def called(logits: Sequence[Tensor], *, real: bool) -> Tensor:
  """Returns the cross entropy of calling images real or not, added up over scales."""
  return sum(functional.softplus(-x if real else x).mean() for x in logits)


def feature_distance(features: Features, images: Tensor, targets: Tensor) -> Tensor:
  """Returns the L1 of features of each image, added up over the layers."""
  with torch.no_grad():
    wanted = features(targets)
  pairs = zip(features(images), wanted, strict=True)
  return sum((a - b).abs().mean((1, 2, 3)) for a, b in pairs)


def blurred(maps: Tensor) -> Tensor:
  """Blurs maps `[N, S, S, C]`: sigma S/32, S/8 + 1 taps; the border repeats."""
  size = maps.shape[2]
  sigma = size / 32
  reach = math.ceil(2 * sigma)
  tap = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
  kernel = (-0.5 * (tap / sigma).square()).exp()
  kernel = (kernel / kernel.sum()).expand(maps.shape[3], 1, 1, -1)
  x = functional.pad(maps.permute(0, 3, 1, 2), (reach,) * 4, mode="replicate")
  x = functional.conv2d(x, kernel, groups=len(kernel))
  x = functional.conv2d(x, kernel.transpose(2, 3), groups=len(kernel))
  return x.permute(0, 2, 3, 1)


def mean(values: Tensor, weight: Tensor | None = None) -> Tensor:
  """Returns a weighted mean; 0 where nothing has weight, which may then be NaN."""
  if weight is None:
    return values.mean()
  weight = weight.expand_as(values)
  total = (torch.where(weight > 0, values, 0) * weight).sum()
  return total / weight.sum() if weight.any() else total
