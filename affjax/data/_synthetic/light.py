"""Illumination by a sky, a ground and wrapped directional lights, in linear units.

The light map is single-channel and sRGB-encoded like the diffuse map it multiplies; the
color of the light is one global factor.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.data._synthetic import occlusion, palette
from affjax.data._synthetic.parameters import Light
from affjax.types import ArrayLike


def irradiance(
  normal: Float[Array, "*b 3"],
  light: Light,
  *,
  openness: Float[Array, "*b"] | float = 1.0,
  shadow: Float[Array, "*b 4"] | float = 1.0,
) -> Float[Array, "*b"]:
  """Returns the linear irradiance on surfaces.

  Args:
    normal: Unit normals, world space.
    light: Lights.
    openness: Share of the sky that the surface sees.
    shadow: Share of each directional light that arrives.
  """
  cosine = normal @ light.direction.T
  wrap = light.wrap.reshape((1,) * (normal.ndim - 1) + (4,))
  lit = jnp.clip((cosine + wrap) / (1 + wrap), 0, None) ** (1 + wrap)
  direct = (lit * shadow) @ light.intensity
  up = 0.5 + 0.5 * normal[..., 1]
  return direct + openness * (light.ground + (light.sky - light.ground) * up)


def vertex_light(
  normal: Float[Array, "v 3"],
  matrix: Float[Array, "3 3"],
  visibility: Float[Array, "v 16"],
  light: Light,
) -> Float[Array, " v"]:
  """Returns the linear irradiance at the vertices of a head, with soft self-shadow.

  Args:
    normal: Unit normals, world space.
    matrix: Rotation of the head, by which the lights are brought to head space.
    visibility: Coefficients, as `occlusion.visibility` returns them.
    light: Lights, world space.
  """
  seen = occlusion.towards(visibility, light.direction @ matrix)
  mean = jnp.clip(visibility[:, 0] * (0.282095 / 0.5), 0, 1)
  soft = 1 - light.shadow * (1 - seen)
  return irradiance(normal, light, openness=mean**1.7, shadow=soft)


def light_map(
  vertex_value: Float[Array, " v"],
  corners: Int[ArrayLike, "s s 3"],
  weights: Float[ArrayLike, "s s 3"],
  support: Float[ArrayLike, "s s"],
) -> Float[Array, "l l 1"]:
  """Returns encoded light at an eighth of the map size, filled outside the charts.

  Args:
    vertex_value: Linear irradiance at the vertices.
    corners: Vertices of each texel, as in `uv.UVTable`; S is a multiple of 8.
    weights: Weights of those vertices.
    support: 1 where the map has surface.
  """
  support = jnp.asarray(support)
  full = jnp.sum(vertex_value[corners] * weights, -1) * support
  size = full.shape[0] // 8
  cells = lambda array: array.reshape(size, 8, size, 8).mean((1, 3))
  value, count = cells(full), cells(support)
  # Cells without surface take the mean of their neighbors, near ones first.
  total, weight = value, count
  for _ in range(4):
    value, count = _spread(value), _spread(count)
    total, weight = total + 1e-3 * value, weight + 1e-3 * count
    value, count = value * 0.2, count * 0.2
  mean = jnp.sum(full) / jnp.maximum(jnp.sum(support), 1)
  total, weight = total + 1e-7 * mean, weight + 1e-7
  return palette.to_srgb(total / weight)[..., None]


def _spread(value: Float[Array, "l l"]) -> Float[Array, "l l"]:
  """Applies a 3 x 3 binomial filter; edges are repeated."""
  for _ in range(2):
    padded = jnp.pad(value, [(1, 1), (0, 0)], "edge")
    value = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    value = value.T
  return value
