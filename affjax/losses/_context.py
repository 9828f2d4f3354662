"""The one object from which every loss term is computed."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from affjax.geometry import mirror, uv
from affjax.models import FeatureNet
from affjax.models.unsup3d import Scene
from affjax.types import Batch, Prediction, Template

# Fewer points than vertices cost less and move alike.
_POSE_POINTS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
  """The regions of the maps that loss terms look at, for one template and map size.

  Attributes:
    support: Texels of the head's charts and the gutter around them.
    skin: Weight of each texel as skin, in [0, 1].
    pose_points: Points spread over the head, head space, dm.
    mirror: The texel of the mirrored place of each texel; None where a flip of the
      columns is the mirror image.
    template: The head.
  """

  support: Bool[np.ndarray, "s s"]
  skin: Float[np.ndarray, "s s"]
  pose_points: Float[np.ndarray, "p 3"]
  mirror: Int[np.ndarray, "s s"] | None = None
  template: Template | None = None


def make_regions(template: Template, map_size: int) -> Regions:
  """Returns the regions of a template.

  Args:
    template: A head with a mask named "skin".
    map_size: Side of the UV maps, texels.

  Raises:
    ValueError: The template has no mask "skin".
  """
  if "skin" not in template.masks:
    raise ValueError(
      f"template {template.name!r} must have a mask 'skin' for the deviation loss, has "
      f"{', '.join(sorted(template.masks)) or 'none'}"
    )
  support = uv.uv_table(template, map_size).support
  symmetric = mirror.is_symmetric(template)
  every = max(1, len(template.vertices) // _POSE_POINTS)
  return Regions(
    support=support,
    skin=uv.resize_mask(template.masks["skin"], map_size) * support,
    pose_points=template.vertices[::every].astype(np.float32),
    mirror=None if symmetric else mirror.mirror_texels(template, map_size),
    template=template,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class Context:
  """A result of networks, its batch, and the networks that losses need.

  Attributes:
    result: The networks' result for `batch.image`: the head of a stage of the paper, or
      the scene of Unsup3D.
    batch: The photos and their ground truth.
    regions: The regions of the maps.
    feature_net: Network of the terms that need `Need.FEATURES`.
    discriminator: Images -> logits of each scale, for `Need.DISCRIMINATOR`.
  """

  result: Prediction | Scene
  batch: Batch
  regions: Regions
  feature_net: FeatureNet | None = None
  discriminator: Callable[[Array], Sequence[Array]] | None = None

  @property
  def prediction(self) -> Prediction:
    """The predicted head; an error where the networks give something else."""
    if not isinstance(self.result, Prediction):
      raise ValueError(f"the term needs a head, got a {type(self.result).__name__}")
    return self.result

  @property
  def scene(self) -> Scene:
    """The scene of Unsup3D; an error where the networks give something else."""
    if not isinstance(self.result, Scene):
      raise ValueError(f"the term needs a scene, got a {type(self.result).__name__}")
    return self.result

  @functools.cached_property
  def overlay(self) -> Float[Array, "n h w 3"]:
    """The render over the photo, behind whatever the photo shows in front of it."""
    image = self.batch.image
    difference = self.prediction.render - self.prediction.alpha * image
    return image + self.batch.visible * difference

  @property
  def features(self) -> FeatureNet:
    """The feature network; an error without one."""
    if self.feature_net is None:
      raise ValueError("a term in feature space needs feature_net, got None")
    return self.feature_net

  @functools.cached_property
  def fake_logits(self) -> Sequence[Float[Array, "n _ _ 1"]]:
    """The discriminator's logits for the overlay, one map a scale."""
    if self.discriminator is None:
      raise ValueError("an adversarial term needs discriminator, got None")
    return self.discriminator(self.overlay)
