"""Losses of samples that come with a true diffuse map (paper, section 3.4.1)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.losses import _feature_space, _mean
from affjax.losses._mean import Mean
from affjax.models import FeatureNet


def diffuse_l1(
  diffuse: Float[Array, "n s s 3"],
  target: Float[Array, "n s s 3"],
  has_diffuse: Float[Array, " n"],
  support: Float[Array, "s s"] | Bool[Array, "s s"] | None = None,
) -> Mean:
  """L1 between predicted and true diffuse map.

  Args:
    diffuse: predicted, in [0, 1].
    target: true map; only read where `has_diffuse` is positive.
    has_diffuse: weight of each sample.
    support: texels that count; `None` = all.
  """
  _mean.require_same_shape("diffuse", diffuse, "target", target)
  weight = has_diffuse[:, None, None, None]
  if support is not None:
    weight = weight * support.astype(weight.dtype)[None, :, :, None]
  return _mean.masked_l1(diffuse, target, weight)


def diffuse_perceptual(
  diffuse: Float[Array, "n s s 3"],
  target: Float[Array, "n s s 3"],
  has_diffuse: Float[Array, " n"],
  feature_net: FeatureNet,
) -> Mean:
  """Perceptual loss between predicted and true diffuse map, where there is one.

  The feature network is run for every sample: skip the call where none has a map.
  """
  _mean.require_same_shape("diffuse", diffuse, "target", target)
  known = (has_diffuse > 0)[:, None, None, None]
  target = jnp.where(known, target, 0.0)
  return _feature_space.perceptual(diffuse, target, feature_net, has_diffuse)
