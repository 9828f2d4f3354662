"""Neck, shoulders, clothes and hat."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.data._synthetic import noise, palette, solids
from affjax.data._synthetic.hair import Skull
from affjax.data._synthetic.parameters import Outfit, Skin
from affjax.data._synthetic.solids import Point

_FAR = 9.0


def torso_distance(point: Point, outfit: Outfit) -> Float[Array, "*b"]:
  """Returns the distance to shoulders and collar; the origin is the neck's base."""
  p = Point(jnp.abs(point.x), point.y, point.z)
  slope = solids.capsule(p, (0.0, -0.42, -0.12), (1.75, -0.85, -0.15), 0.42)
  chest = solids.ellipsoid(solids.moved(p, 0.0, -1.6, 0.05), (1.75, 1.15, 0.85))
  cloth = solids.smooth_union(slope, chest, 0.5)
  height, width = outfit.collar
  size = 0.6 + width * 0.3
  ring = solids.torus(
    solids.moved(p, 0.0, 0.5 * height - 0.1, 0.02), size, size + 0.02, width * 0.7
  )
  return solids.smooth_union(cloth, ring, 0.12)


def neck_distance(
  point: Point, top: Float[Array, "3"], radius: Float[Array, ""]
) -> Float[Array, "*b"]:
  """Returns the distance to the neck from `top` to its base, in the body's frame."""
  return solids.capsule(point, top, (0.0, -0.6, -0.05), radius)


def hat_distance(point: Point, outfit: Outfit, skull: Skull) -> Float[Array, "*b"]:
  """Returns the distance to a cap or woolen hat, head space."""
  present, over, brim = outfit.hat
  q = solids.moved(point, *skull.center)
  rim = skull.brow - skull.center[1] + over
  dome = solids.ellipsoid(q, tuple(skull.radii + 0.24))
  dome = solids.smooth_cut(dome, rim - q.y, 0.05)
  ahead = solids.moved(q, 0.0, rim, skull.radii[2] + 0.1)
  visor = solids.ellipsoid(ahead, (0.6, 0.03, 0.5))
  whole = jnp.minimum(dome, visor + _FAR * (1 - brim))
  return whole + _FAR * (1 - present)


def cloth_color(point: Point, outfit: Outfit, finest: float) -> Float[Array, "*b 3"]:
  """Returns the linear reflectance of the clothes, in the body's frame."""
  amount, frequency, angle = outfit.pattern
  across = jnp.cos(angle) * point.x + jnp.sin(angle) * point.y
  fade = jnp.clip(finest / jnp.maximum(frequency, 1e-3) - 0.5, 0, 1)
  stripe = fade * amount * jnp.clip(0.5 + 2.5 * jnp.sin(across * frequency), 0, 1)
  cloth = jnp.stack([point.x, 0.45 * point.y, point.z], -1)
  folds = noise.fractal(cloth, outfit.seed, frequency=2.2, octaves=4, finest=finest)
  shade = jnp.exp(0.5 * folds)
  first, second = outfit.color
  return jnp.stack(
    [(first[k] + (second[k] - first[k]) * stripe) * shade for k in range(3)], -1
  )


def bare_color(point: Point, skin: Skin) -> Float[Array, "*b 3"]:
  """Returns the linear reflectance of the neck's skin."""
  broad = noise.fractal(point.stacked(), skin.seed + 71, frequency=2.0, octaves=3)
  return palette.skin(
    jnp.clip(skin.melanin + 0.03 * broad, 0, 1.2),
    skin.blood * (1.05 + 0.3 * broad),
    skin.oxygen,
  )
