"""The perceptual distance of pictures and UV maps."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.models import FeatureNet, extract_features, load_features
from affjax.types import ArrayLike


def perceptual_distance(
  image: Float[ArrayLike, "n h w 3"],
  target: Float[ArrayLike, "n h w 3"],
  mask: Float[ArrayLike, "n h w 1"],
  net: FeatureNet | None = None,
) -> Float[Array, " n"]:
  """Mean absolute difference of VGG features over the mask, summed over layers.

  With a full mask it is the perceptual loss of training (paper, eq. 5). Outside the
  mask both pictures get the target's values, so that a feature whose window reaches
  beyond the mask sees no difference there; at each layer features are weighted with
  the mask's mean over their pixel. Visible and hidden texels are two masks, two calls.

  Args:
    image: Pictures or diffuse maps in [0, 1].
    target: Ground truth in [0, 1].
    mask: Weights in [0, 1] of the pixels that count.
    net: The network and its layers; default: `load_features()`.

  Returns:
    The distance of each picture, >= 0, without unit; 0 for equal pictures, NaN for an
    empty mask. With the embedded network, whose layers have a mean activation of about
    one, a portrait is 1.0 from itself at 80 % of the brightness, 5.0 from a flat gray
    and 6.7 from its mirror image (`experiments/tables/perceptual.py`). A table needs
    a baseline, such as the plain diffuse map, beside it.

  Raises:
    ValueError: The shapes do not fit, or the pictures are smaller than 8 px.
  """
  net = net or _embedded()
  image, target, mask = (jnp.asarray(x) for x in (image, target, mask))
  if image.shape != target.shape or mask.shape != (*image.shape[:3], 1):
    raise ValueError(
      "image, target and mask must be [n, h, w, 3], [n, h, w, 3] and [n, h, w, 1], "
      f"got {image.shape}, {target.shape} and {mask.shape}"
    )
  return _distance(net, image, target, mask)


@jax.jit
def _distance(net: FeatureNet, image: Array, target: Array, mask: Array) -> Array:
  image = jnp.where(mask > 0, image, target)
  layers = zip(extract_features(net, image), extract_features(net, target), strict=True)
  return sum(
    (_layer_distance(a, b, mask) for a, b in layers), start=jnp.zeros(len(image))
  )


def _layer_distance(found: Array, wanted: Array, mask: Array) -> Array:
  difference = jnp.abs(found - wanted).mean(-1, keepdims=True)
  # A pooling halves the height and drops an odd row: the ratio is 2^k or a bit more.
  factor = 1 << ((mask.shape[1] // found.shape[1]).bit_length() - 1)
  weight = _reduced(mask, factor)
  return (difference * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def _reduced(mask: Array, factor: int) -> Array:
  """Returns the means over blocks, without the rows and columns that are left over."""
  n, height, width, _ = mask.shape
  rows, columns = height // factor, width // factor
  mask = mask[:, : rows * factor, : columns * factor]
  return mask.reshape(n, rows, factor, columns, factor, 1).mean((2, 4))


@functools.cache
def _embedded() -> FeatureNet:
  return load_features()
