"""Losses for samples with a known diffuse map (paper, section 3.4.1)."""

import jax.numpy as jnp
from jaxtyping import Bool, Float

from affjax.losses import _feature_space, _mean
from affjax.losses._mean import Mean
from affjax.models import FeatureNet
from affjax.types import ArrayLike


def diffuse_l1(
  diffuse: Float[ArrayLike, "n s s 3"],
  target: Float[ArrayLike, "n s s 3"],
  has_diffuse: Float[ArrayLike, " n"],
  support: Float[ArrayLike, "s s"] | Bool[ArrayLike, "s s"] | None = None,
) -> Mean:
  """Returns the L1 difference between predicted and known diffuse maps.

  Args:
    diffuse: Predicted maps in [0, 1].
    target: Known maps; read only where `has_diffuse` is positive.
    has_diffuse: Weight of each sample.
    support: Texels that count; `None` = all.
  """
  _mean.require_same_shape("diffuse", diffuse, "target", target)
  weight = has_diffuse[:, None, None, None]
  if support is not None:
    weight = weight * support.astype(weight.dtype)[None, :, :, None]
  return _mean.masked_l1(diffuse, target, weight)


def diffuse_perceptual(
  diffuse: Float[ArrayLike, "n s s 3"],
  target: Float[ArrayLike, "n s s 3"],
  has_diffuse: Float[ArrayLike, " n"],
  feature_net: FeatureNet,
) -> Mean:
  """Returns the perceptual loss between predicted and known diffuse maps.

  The feature network runs for every sample, also for those without a known map.
  """
  _mean.require_same_shape("diffuse", diffuse, "target", target)
  known = (has_diffuse > 0)[:, None, None, None]
  target = jnp.where(known, target, 0.0)
  return _feature_space.perceptual(diffuse, target, feature_net, has_diffuse)
