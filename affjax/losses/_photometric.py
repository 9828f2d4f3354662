"""The image loss: the render against the photo, pixel by pixel."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.types import ArrayLike


def image_l1(
  render: Float[ArrayLike, "n h w 3"],
  alpha: Float[ArrayLike, "n h w 1"],
  image: Float[ArrayLike, "n h w 3"],
  visible: Float[ArrayLike, "n h w 1"],
) -> Mean:
  """Returns the L1 difference between photo and overlaid render (paper, eq. 3).

  The overlay is `image (1 - alpha) + render` with a render over black, so its
  difference from the photo is `render - alpha image`: the alpha is in it already, and
  the sum below is one of alpha x visible x |color difference|. For each image it is
  divided by the sum of alpha x visible, where the paper's code takes the whole image:
  so the face's share of the photo does not matter. No gradient is stopped: through an
  antialiased silhouette it says "grow where the residual is below this head's average,
  shrink where it is above". Divided by a constant it would only ever say "shrink": a
  head of one color, as every head is at first, left its place by a decimeter in 120
  steps, where this one stayed.

  Args:
    render: The head over black, in [0, 1].
    alpha: Coverage of the render in [0, 1].
    image: The photo, in [0, 1].
    visible: 1 where the photo shows the head's surface.

  Returns:
    The mean absolute difference of a channel, in [0, 1], averaged over the images that
    show a head.
  """
  _mean.require_same_shape("render", render, "image", image)
  _mean.require_same_shape("alpha", alpha, "visible", visible)

  def of_one(
    render: Float[ArrayLike, "h w 3"],
    alpha: Float[ArrayLike, "h w 1"],
    image: Float[ArrayLike, "h w 3"],
    visible: Float[ArrayLike, "h w 1"],
  ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    difference = _mean.masked_l1(render, alpha * image, visible).total
    area = jnp.sum(alpha * visible) * render.shape[-1]
    return Mean(difference, area).value, area > 0

  values, shown = jax.vmap(of_one)(render, alpha, image, visible)
  return _mean.masked_mean(values, shown)
