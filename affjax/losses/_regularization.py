"""Losses that regularize diffuse and light maps without any ground truth."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from affjax.geometry.mirror import flip_map
from affjax.losses import _mean
from affjax.losses._mean import Mean
from affjax.ops import gaussian_blur
from affjax.types import ArrayLike

# Light maps of the paper; `variation` is measured in steps between its texels.
_PAPER_LIGHT_SIZE = 64


def blurred(diffuse: Float[ArrayLike, "n s s c"]) -> Float[Array, "n s s c"]:
  """Applies the blur G of eqs. 6 and 7: sigma S/32, kernel S/8 + 1, as in MeInGame."""
  return gaussian_blur(diffuse, sigma=diffuse.shape[-2] / 32)


def symmetry(
  diffuse: Float[ArrayLike, "n s s 3"],
  support: Float[ArrayLike, "s s"] | Bool[ArrayLike, "s s"] | None = None,
  texels: Int[np.ndarray, "s s"] | None = None,
) -> Mean:
  """Returns the L1 of the blurred diffuse map against its mirror image (paper, eq. 6).

  Args:
    diffuse: Diffuse maps in [0, 1].
    support: Texels that count; `None` = all, as in the paper.
    texels: Mirror image of each texel, as `geometry.mirror.flip_map` takes it. `None` =
      the layout mirrors about u = 0.5, and the flip is of columns.

  Returns:
    The mean absolute difference of a channel.
  """
  # The kernel is symmetric: the flip of the blurred map is the blurred flip.
  soft = blurred(diffuse)
  mask = None if support is None else support[None, :, :, None]
  return _mean.masked_l1(soft, flip_map(soft, texels), mask)


def deviation(
  diffuse: Float[ArrayLike, "n s s 3"],
  skin: Float[ArrayLike, "s s"] | Bool[ArrayLike, "s s"],
) -> Mean:
  """Returns the standard deviation of the skin's color (paper, eq. 7).

  The paper subtracts the mean color of the diffuse map; here it is the mean of the
  blurred map over the same mask (MeInGame's code), so that the value is a true standard
  deviation. The square is averaged over the channels.

  Args:
    diffuse: Diffuse maps in [0, 1].
    skin: Weight of each texel, `template.masks["skin"]` at size S. An empty mask gives
      zero.

  Returns:
    The standard deviation of each image's skin in units of color, averaged.
  """
  soft = blurred(diffuse)
  weight = skin.astype(soft.dtype)[None, :, :, None]
  count = jnp.sum(weight)
  weight = weight / jnp.where(count > 0, count, 1.0)
  color = jnp.sum(soft * weight, (1, 2), keepdims=True)
  variance = jnp.sum((soft - color) ** 2 * weight, (1, 2)).mean(-1)
  # The root has an infinite slope at zero: no gradient for a map of one color.
  flat = variance < 1e-12
  return _mean.masked_mean(jnp.sqrt(jnp.where(flat, 1.0, variance)) * ~flat)


def variation(light: Float[ArrayLike, "n l l c"]) -> Mean:
  """Returns the total variation of the light map (paper, eq. 8), as a mean.

  Eq. 8 prints a sum. Summed over a 64 x 64 map, a gentle shading from 0.5 to 1 across
  the face (0.008 a texel) is 33 x 0.3 = 10: a hundred times the image loss, and the
  light net would learn a constant. The paper's eqs. 3 and 6 are printed as sums and
  meant as means; so is this. A mean of differences between neighbors would
  halve at twice the resolution, so they are multiplied by L/64: at the paper's size the
  value is the plain mean of |g_x| + |g_y|, and the same light gives the same value at
  any other size.

  Args:
    light: Light maps, at least 2 x 2.

  Raises:
    ValueError: The map is smaller than 2 x 2.
  """
  _, height, width, _ = light.shape
  if min(height, width) < 2:
    raise ValueError(f"light must be at least 2 x 2 to have a slope, got {light.shape}")
  vertical = jnp.abs(jnp.diff(light, axis=1)).mean((1, 2, 3)) * height
  horizontal = jnp.abs(jnp.diff(light, axis=2)).mean((1, 2, 3)) * width
  return _mean.masked_mean((vertical + horizontal) / _PAPER_LIGHT_SIZE)
