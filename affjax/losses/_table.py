"""The table of losses. To add a loss, write its function and add a row here."""

import dataclasses
import enum
from collections.abc import Callable

import jax.numpy as jnp

from affjax.losses import (
  _adversarial,
  _auxiliary,
  _confident,
  _feature_space,
  _geometry,
  _photometric,
  _regularization,
)
from affjax.losses._context import Context
from affjax.losses._mean import Mean


class Need(enum.Flag):
  """Needs of a term beside the predicted maps and their pseudo ground truth."""

  NOTHING = 0
  RENDER = enum.auto()
  FEATURES = enum.auto()
  DISCRIMINATOR = enum.auto()
  KNOWN_DIFFUSE = enum.auto()
  KNOWN_POSE = enum.auto()


@dataclasses.dataclass(frozen=True)
class Term:
  """One row of the table.

  Attributes:
    name: Name in configs, logs and `LossWeights`.
    weight: Default weight; the paper's (section 3.4.4) where it names one.
    function: Computes the term.
    stages: Stages of training that use the term.
    needs: The needs of the term.
    help: One line for people.
  """

  name: str
  weight: float
  function: Callable[[Context], Mean]
  stages: tuple[str, ...]
  needs: Need = Need.NOTHING
  help: str = ""


_LATER = ("stage2", "stage3")
_UNSUP3D = ("unsup3d",)


def _colors_of_face(which: int) -> Callable[[Context], Mean]:
  """Returns the L1 term of Unsup3D's face (0) or of its mirror image (1)."""
  return lambda c: _confident.confident_l1(
    c.scene.render[which], c.batch.image, c.scene.sigma[which], c.scene.mask
  )


def _features_of_face(which: int) -> Callable[[Context], Mean]:
  """Returns the same in feature space."""
  return lambda c: _confident.confident_perceptual(
    c.scene.render[which],
    c.batch.image,
    c.scene.feature_sigma[which],
    c.scene.mask,
    c.features,
  )


# The order is that of the sum.
TERMS = (
  Term(
    "image_l1",
    1.0,
    lambda c: _photometric.image_l1(
      c.prediction.render, c.prediction.alpha, c.batch.image, c.batch.visible
    ),
    stages=_LATER,
    needs=Need.RENDER,
    help="λ_l1d: overlay against photo",
  ),
  # Stage 1 is the paper's L_rec without its image term: while pose, light and diffuse
  # are untrained, a rendered picture says nothing about the shape.
  Term(
    "position_l1",
    3.0,
    lambda c: _geometry.position_l1(
      c.prediction.position, c.batch.position, jnp.asarray(c.regions.support)
    ),
    stages=("stage1", "stage3"),
    help="λ_l1p: position map against its pseudo ground truth",
  ),
  Term(
    "perceptual",
    1.0,
    lambda c: _feature_space.perceptual(c.overlay, c.batch.image, c.features),
    stages=_LATER,
    needs=Need.RENDER | Need.FEATURES,
    help="λ_perc: overlay against photo in feature space",
  ),
  Term(
    "deviation",
    1.0,
    lambda c: _regularization.deviation(
      c.prediction.diffuse, jnp.asarray(c.regions.skin)
    ),
    stages=_LATER,
    help="λ_std: color of the skin",
  ),
  Term(
    "variation",
    0.3,
    lambda c: _regularization.variation(c.prediction.light),
    stages=_LATER,
    help="λ_tv: slope of the light map",
  ),
  Term(
    "symmetry",
    0.3,
    lambda c: _regularization.symmetry(
      c.prediction.diffuse, jnp.asarray(c.regions.support), c.regions.mirror
    ),
    stages=_LATER,
    help="λ_sym: blurred diffuse map against its mirror image",
  ),
  Term(
    "adversarial_generator",
    0.01,
    lambda c: _adversarial.adversarial_generator(c.fake_logits),
    stages=("stage3",),
    needs=Need.RENDER | Need.DISCRIMINATOR,
    help="λ_adv: overlay called real by the discriminator",
  ),
  # The paper names no weights for known diffuse maps: those of eqs. 3 and 5.
  Term(
    "diffuse_l1",
    1.0,
    lambda c: _auxiliary.diffuse_l1(
      c.prediction.diffuse,
      c.batch.diffuse,
      c.batch.has_diffuse,
      jnp.asarray(c.regions.support),
    ),
    stages=_LATER,
    needs=Need.KNOWN_DIFFUSE,
    help="diffuse map against a known one",
  ),
  Term(
    "diffuse_perceptual",
    1.0,
    lambda c: _auxiliary.diffuse_perceptual(
      c.prediction.diffuse, c.batch.diffuse, c.batch.has_diffuse, c.features
    ),
    stages=_LATER,
    needs=Need.FEATURES | Need.KNOWN_DIFFUSE,
    help="the same in feature space",
  ),
  # Unsup3D's weights: 1, and lambda_flip = 0.5 for the mirrored face (equation 4).
  Term(
    "unsup3d_l1",
    1.0,
    _colors_of_face(0),
    stages=_UNSUP3D,
    help="Unsup3D: render against photo, by confidence",
  ),
  Term(
    "unsup3d_mirrored_l1",
    0.5,
    _colors_of_face(1),
    stages=_UNSUP3D,
    help="Unsup3D: render of the mirrored face against photo",
  ),
  Term(
    "unsup3d_perceptual",
    1.0,
    _features_of_face(0),
    stages=_UNSUP3D,
    needs=Need.FEATURES,
    help="Unsup3D: render against photo in feature space",
  ),
  Term(
    "unsup3d_mirrored_perceptual",
    0.5,
    _features_of_face(1),
    stages=_UNSUP3D,
    needs=Need.FEATURES,
    help="Unsup3D: the same of the mirrored face",
  ),
  Term(
    "pose_l1",
    0.0,
    lambda c: _geometry.pose_l1(
      c.prediction.pose,
      c.batch.pose,
      c.batch.has_pose,
      jnp.asarray(c.regions.pose_points),
    ),
    stages=("stage1", "stage2", "stage3"),
    needs=Need.KNOWN_POSE,
    help="pose against a known one; not in the paper, hence 0",
  ),
)
