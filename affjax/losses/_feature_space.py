"""The perceptual loss: differences in the feature space of a pretrained network."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.models import FeatureNet, extract_features
from affjax.types import ArrayLike


def perceptual(
  images: Float[ArrayLike, "n h w 3"],
  targets: Float[ArrayLike, "n h w 3"],
  feature_net: FeatureNet,
  sample_weight: Float[ArrayLike, " n"] | None = None,
) -> Mean:
  """Returns the perceptual loss (paper, eq. 5): the L1 of features, summed over layers.

  Args:
    images: Predictions in [0, 1]. For photos, the overlay: where the render does not
      cover the photo, or something hides the head, both sides hold the photo itself,
      so that no mask is needed.
    targets: Images to resemble; no gradient flows to them.
    feature_net: The network and its layers.
    sample_weight: Weight of each sample, >= 0; `None` = all ones.
  """
  _mean.require_same_shape("images", images, "targets", targets)
  # Two passes: a joint one would send gradients through the targets' half, too.
  wanted = extract_features(feature_net, jax.lax.stop_gradient(targets))
  found = extract_features(feature_net, images)
  layers = [
    jnp.mean(jnp.abs(a - b), (1, 2, 3)) for a, b in zip(found, wanted, strict=True)
  ]
  return _mean.masked_mean(jnp.sum(jnp.stack(layers), 0), sample_weight)
