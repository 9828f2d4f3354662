"""Unsup3D's losses: differences that weigh less where they were expected to be large.

A network says how far each pixel may be off. The loss is the negative logarithm of the
likelihood of the difference, up to a constant: a large scale excuses a difference, and
costs its logarithm (Wu et al. 2020, equations 3 and 5).
"""

import jax.numpy as jnp
from jaxtyping import Float

from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.models import FeatureNet, extract_features
from affjax.ops import average_pool
from affjax.types import ArrayLike

_EPSILON = 1e-7


def confident_l1(
  images: Float[ArrayLike, "n s s 3"],
  targets: Float[ArrayLike, "n s s 3"],
  sigma: Float[ArrayLike, "n s s 1"],
  mask: Float[ArrayLike, "n s s 1"],
) -> Mean:
  """Returns the mean of `sqrt(2) d / sigma + log sigma` over a mask.

  Differences `d` are those of colors in [-1, 1], as in Unsup3D: twice those of colors
  in [0, 1].

  Args:
    images: Renders, colors in [0, 1].
    targets: Photos.
    sigma: Standard deviation of a Laplacian, > 0, in the unit of `d`.
    mask: Weight of each pixel, >= 0.
  """
  _mean.require_same_shape("images", images, "targets", targets)
  scale = jnp.asarray(sigma) + _EPSILON
  apart = 2 * jnp.abs(images - jnp.asarray(targets))
  return _mean.masked_mean(2**0.5 * apart / scale + jnp.log(scale), mask)


def confident_perceptual(
  images: Float[ArrayLike, "n s s 3"],
  targets: Float[ArrayLike, "n s s 3"],
  sigma: Float[ArrayLike, "n t t 1"],
  mask: Float[ArrayLike, "n s s 1"],
  feature_net: FeatureNet,
) -> Mean:
  """Returns the mean of `d^2 / (2 sigma^2) + log sigma` over the features of a layer.

  Args:
    images: Renders, colors in [0, 1].
    targets: Photos.
    sigma: Standard deviation of a Gaussian, > 0, for each place of the layer.
    mask: Weight of each pixel; a place has the mean of its pixels.
    feature_net: Network with one layer of features; Unsup3D's is the seventh
      convolution of VGG16, whose features have a quarter of the size.

  Raises:
    ValueError: The network gives several layers, or one of another size than `sigma`.
  """
  _mean.require_same_shape("images", images, "targets", targets)
  if len(feature_net.layers) != 1:
    raise ValueError(
      f"feature_net must give one layer of features, got {feature_net.layers}; "
      "Unsup3D's is config.features.layers=(7,)"
    )
  (found,), (wanted,) = (extract_features(feature_net, x) for x in (images, targets))
  if found.shape[:3] != sigma.shape[:3]:
    raise ValueError(
      f"sigma must have the size of the features, {found.shape[1:3]}, got "
      f"{sigma.shape[1:3]}: choose one of the layers 5, 6 and 7 of VGG16"
    )
  sigma = jnp.asarray(sigma)
  square = (found - wanted) ** 2 / (2 * sigma**2 + _EPSILON)
  weight = average_pool(mask, mask.shape[1] // found.shape[1])
  return _mean.masked_mean(square + jnp.log(sigma + _EPSILON), weight)
