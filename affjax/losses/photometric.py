"""Render against photo, pixel by pixel."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.losses import mean
from affjax.losses.mean import Mean


def image_l1(
  render: Float[Array, "n h w 3"],
  alpha: Float[Array, "n h w 1"],
  image: Float[Array, "n h w 3"],
  visible: Float[Array, "n h w 1"],
) -> Mean:
  """Pixel-wise L1 between the photo and the overlaid render (paper, eq. 3).

  The overlay is `image (1 - alpha) + render` with a render over black, so its
  difference from the photo is `render - alpha image`: the alpha is in it already, and
  the sum below is the sum of alpha x visible x |colour difference|. It is divided by
  the sum of alpha x visible, where the paper's code takes the whole image: a small face
  in the frame weighs as much as a large one, and a head cannot lower its loss by
  shrinking. No gradient is stopped: through the silhouette it says "grow where the
  residual is below the average, shrink where it is above".

  Args:
    render: the head over black, in [0, 1].
    alpha: coverage of the render in [0, 1].
    image: the photo, in [0, 1].
    visible: 1 where the photo shows the head's surface.

  Returns:
    The mean absolute difference of a channel, in [0, 1].
  """
  mean.require_same_shape("render", render, "image", image)
  mean.require_same_shape("alpha", alpha, "visible", visible)
  weight = jnp.sum(alpha * visible) * render.shape[-1]
  return Mean(mean.masked_l1(render, alpha * image, visible).total, weight)
