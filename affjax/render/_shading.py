"""The light model of the paper: a light map multiplies the diffuse map."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import resize_bilinear


def shade(
  diffuse: Float[Array, "n s s 3"],
  light_map: Float[Array, "n l l 1"],
  light_color: Float[Array, "n 3"],
) -> Float[Array, "n s s 3"]:
  """Returns the texture: diffuse times enlarged light times its color, in [0, 1].

  Args:
    diffuse: Diffuse map in [0, 1].
    light_map: Light map >= 0; it is enlarged bilinearly to the size of `diffuse`.
    light_color: Global color of the light.
  """
  enlarged = resize_bilinear(light_map, (diffuse.shape[1], diffuse.shape[2]))
  return jnp.clip(diffuse * enlarged * light_color[:, None, None, :], 0.0, 1.0)
