"""Differences in the feature space of a pretrained network."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.models import FeatureNet, extract_features


def perceptual(
  images: Float[Array, "n h w 3"],
  targets: Float[Array, "n h w 3"],
  feature_net: FeatureNet,
  sample_weight: Float[Array, " n"] | None = None,
) -> Mean:
  """Perceptual loss (paper, eq. 5): L1 of features, a mean for each layer, added up.

  Args:
    images: predictions in [0, 1]. For photos the overlay made with alpha x visible:
      what the render does not cover, and what hides the head, is the photo itself on
      both sides, so no mask is needed.
    targets: what they should look like; no gradient flows here.
    feature_net: the network and its layers.
    sample_weight: weight of each sample, >= 0; `None` = all ones.
  """
  _mean.require_same_shape("images", images, "targets", targets)
  # Two passes: a joint one would send gradients through the targets' half, too.
  wanted = extract_features(feature_net, jax.lax.stop_gradient(targets))
  found = extract_features(feature_net, images)
  layers = [
    jnp.mean(jnp.abs(a - b), (1, 2, 3)) for a, b in zip(found, wanted, strict=True)
  ]
  return _mean.masked_mean(jnp.sum(jnp.stack(layers), 0), sample_weight)
