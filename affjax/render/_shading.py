"""The light model of the paper: a light map multiplies the diffuse map."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.ops import resize_bilinear


def light_texture(
  light_map: Float[Array, "n l l 1"], light_color: Float[Array, "n 3"], size: int
) -> Float[Array, "n s s 3"]:
  """Returns the light of each texel: the light map, enlarged bilinearly, in its color.

  Args:
    light_map: Light map >= 0.
    light_color: Global color of the light.
    size: Side S of the result.
  """
  return resize_bilinear(light_map, (size, size)) * light_color[:, None, None, :]


def shade(
  diffuse: Float[Array, "n s s 3"],
  light_map: Float[Array, "n l l 1"],
  light_color: Float[Array, "n 3"],
) -> Float[Array, "n s s 3"]:
  """Returns the texture, diffuse map times light, in [0, 1].

  Args:
    diffuse: Diffuse map in [0, 1].
    light_map: As for `light_texture`.
    light_color: As for `light_texture`.
  """
  light = light_texture(light_map, light_color, diffuse.shape[1])
  return jnp.clip(diffuse * light, 0.0, 1.0)
