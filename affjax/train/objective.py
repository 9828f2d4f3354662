"""From a prediction and its batch to the loss terms of a stage."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax import losses
from affjax.geometry import uv
from affjax.losses import LossWeights, Mean
from affjax.models import FeatureNet
from affjax.types import Batch, Prediction, Template

T = TypeVar("T")

# Fewer points than vertices cost less and move alike.
_POSE_POINTS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
  """Where on the maps the loss terms look; constants of a template and a map size.

  Attributes:
    support: bool `[S, S]`, texels of the head and the gutter around its charts.
    skin: float32 `[S, S]`, weight of each texel as skin.
    pose_points: float32 `[P, 3]`, points spread over the head, head space, dm.
  """

  support: np.ndarray
  skin: np.ndarray
  pose_points: np.ndarray


def regions(template: Template, map_size: int) -> Regions:
  """The regions of a template; its masks must have one named "skin"."""
  if "skin" not in template.masks:
    raise ValueError(
      f"template {template.name!r} must have a mask 'skin' for the deviation loss, has "
      f"{', '.join(sorted(template.masks)) or 'none'}"
    )
  support = uv.uv_table(template, map_size).support
  every = max(1, len(template.vertices) // _POSE_POINTS)
  return Regions(
    support=support,
    skin=uv.resize_mask(template.masks["skin"], map_size) * support,
    pose_points=template.vertices[::every].astype(np.float32),
  )


def overlay(prediction: Prediction, batch: Batch) -> Float[Array, "n h w 3"]:
  """The render over the photo, behind whatever the photo shows in front of the head."""
  difference = prediction.render - prediction.alpha * batch.image
  return batch.image + batch.visible * difference


def terms(
  prediction: Prediction,
  batch: Batch,
  weights: LossWeights,
  where: Regions,
  *,
  feature_net: FeatureNet | None = None,
  fake_logits: Sequence[Array] | None = None,
) -> dict[str, Mean]:
  """The loss terms of positive weight, by name.

  Args:
    prediction: of the networks for `batch.image`.
    batch: the photos and what is known of them.
    weights: which terms are wanted.
    where: regions of the maps.
    feature_net: for the perceptual terms.
    fake_logits: of the discriminators for the overlay, for the adversarial term.

  Raises:
    ValueError: a wanted term lacks its network.
  """
  p, b = prediction, batch
  support, skin = jnp.asarray(where.support), jnp.asarray(where.skin)
  points = jnp.asarray(where.pose_points)
  net = lambda: _given(feature_net, "feature_net", "a perceptual loss")
  fake = lambda: _given(fake_logits, "fake_logits", "the adversarial loss")
  compute = {
    "image_l1": lambda: losses.image_l1(p.render, p.alpha, b.image, b.visible),
    "position_l1": lambda: losses.position_l1(p.position, b.position, support),
    "perceptual": lambda: losses.perceptual(overlay(p, b), b.image, net()),
    "symmetry": lambda: losses.symmetry(p.diffuse, support),
    "deviation": lambda: losses.deviation(p.diffuse, skin),
    "variation": lambda: losses.variation(p.light),
    "diffuse_l1": lambda: losses.diffuse_l1(
      p.diffuse, b.diffuse, b.has_diffuse, support
    ),
    "diffuse_perceptual": lambda: losses.diffuse_perceptual(
      p.diffuse, b.diffuse, b.has_diffuse, net()
    ),
    "pose_l1": lambda: losses.pose_l1(p.pose, b.pose, b.has_pose, points),
    "adversarial_generator": lambda: losses.adversarial_generator(fake()),
  }
  return {name: compute[name]() for name in weights.active}


def _given(value: T | None, name: str, reason: str) -> T:
  if value is None:
    raise ValueError(f"{reason} needs {name}, got None")
  return value
