"""Colors of skin, hair, eyes and cloth.

Skin has two layers: light passes the epidermis twice, where melanin absorbs it, and is
scattered back by the dermis, where hemoglobin absorbs (the model of Tsumura et al.
2003 and Claridge et al. 2002, reduced to three wavelengths). The coefficients were
chosen so that the ends and the middle of the range match measured human skin.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Absorption at about 610, 550 and 465 nm relative to green.
_MELANIN = (0.74, 1.0, 1.3)
_BLOOD = (0.08, 0.62, 0.56)
_DERMIS = (0.87, 0.71, 0.56)
_SURFACE = (0.012, 0.0095, 0.009)
_DARKEST = 3.3

_HAIR = np.array(
  [
    [0.012, 0.010, 0.009],  # black
    [0.022, 0.014, 0.010],  # darkest brown
    [0.050, 0.027, 0.015],  # brown
    [0.120, 0.065, 0.032],  # light brown
    [0.330, 0.210, 0.100],  # blond
    [0.520, 0.390, 0.230],  # pale blond
    [0.210, 0.060, 0.018],  # red
    [0.300, 0.300, 0.300],  # gray
    [0.620, 0.620, 0.600],  # white
  ]
)
_IRIS = np.array(
  [
    [0.035, 0.016, 0.008],  # dark brown
    [0.110, 0.050, 0.020],  # brown
    [0.180, 0.110, 0.040],  # hazel
    [0.110, 0.130, 0.060],  # green
    [0.090, 0.160, 0.260],  # blue
    [0.190, 0.230, 0.260],  # gray
  ]
)


def skin(
  melanin: Float[Array, "*b"], blood: Float[Array, "*b"], oxygen: Float[Array, ""]
) -> Float[Array, "*b 3"]:
  """Returns the linear reflectance of skin.

  Args:
    melanin: Amount of melanin, 0 (palest) to 1 (darkest), more in moles.
    blood: Density of hemoglobin: 0.3 on a forehead, 1 in lips.
    oxygen: Tint of the blood, -1 (bluish) to 1 (orange).
  """
  # Equal steps of the argument look like equal steps of lightness.
  depth = _DARKEST * melanin**1.6 * 0.9 + 0.1 * melanin
  tint = jnp.array(_BLOOD) * (1 + oxygen * jnp.array([-0.3, 0.0, 0.12]))
  absorbed = depth[..., None] * _row(_MELANIN, depth) + blood[..., None] * _row(
    tint, depth
  )
  return _row(_DERMIS, depth) * jnp.exp(-absorbed) + _row(_SURFACE, depth)


def to_srgb(linear: Float[Array, "*b"]) -> Float[Array, "*b"]:
  """Encodes linear values by a power of 1 / 2.2.

  The renderer multiplies encoded diffuse and light values. Under a pure power, that
  equals the product of linear values.
  """
  return jnp.maximum(linear, 1e-6) ** (1 / 2.2)


def hair_colors(
  rng: np.random.Generator, melanin: float
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the linear colors of a person's hair and beard."""
  dark = melanin > 0.5
  chances = (
    [0.6, 0.22, 0.06, 0.01, 0.01, 0.0, 0.01, 0.06, 0.03]
    if dark
    else [0.17, 0.17, 0.22, 0.15, 0.1, 0.04, 0.05, 0.06, 0.04]
  )
  hair = _HAIR[rng.choice(len(_HAIR), p=np.array(chances) / sum(chances))]
  hair = hair * np.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.06, 3))
  beard = hair * np.exp(rng.normal(0, 0.25)) * (1.15, 0.98, 0.9)
  if rng.random() < 0.03:
    hair = rng.uniform(0.01, 0.5, 3)
  return np.clip(hair, 0.006, 0.8), np.clip(beard, 0.006, 0.7)


def iris_color(rng: np.random.Generator, melanin: float) -> np.ndarray:
  """Draws the linear color of an iris, more often brown for darker skin."""
  light = rng.random() < (0.62 if melanin < 0.35 else 0.08)
  kind = rng.integers(2, 6) if light else rng.integers(0, 2)
  return _IRIS[kind] * np.exp(rng.normal(0, 0.2)) * np.exp(rng.normal(0, 0.12, 3))


def cloth(rng: np.random.Generator) -> np.ndarray:
  """Draws a linear color of cloth, more often muted than bright."""
  gray = np.exp(rng.uniform(np.log(0.01), np.log(0.8)))
  hue = rng.uniform(0, 1, 3) ** rng.choice([0.5, 1.5, 3.0])
  color = gray * (1 - (vivid := rng.beta(1, 1.5))) + vivid * hue * rng.uniform(0.1, 0.9)
  return np.clip(color, 0.005, 0.85)


_SCENERY = np.array(
  [
    [0.75, 0.74, 0.72],  # white wall
    [0.45, 0.42, 0.38],  # plaster
    [0.18, 0.18, 0.18],  # gray
    [0.03, 0.03, 0.035],  # night, black cloth
    [0.30, 0.20, 0.12],  # wood
    [0.10, 0.05, 0.03],  # dark wood
    [0.05, 0.09, 0.03],  # foliage
    [0.20, 0.30, 0.10],  # grass
    [0.35, 0.52, 0.78],  # sky
    [0.06, 0.10, 0.22],  # dusk
    [0.45, 0.33, 0.20],  # sand, brick
    [0.40, 0.10, 0.07],  # red cloth
  ]
)


def scenery(rng: np.random.Generator) -> np.ndarray:
  """Draws a linear color of walls, plants or skies, and sometimes any color."""
  if rng.random() < 0.15:
    return cloth(rng)
  base = _SCENERY[rng.integers(len(_SCENERY))]
  base = base * np.exp(rng.normal(0, 0.35)) * np.exp(rng.normal(0, 0.15, 3))
  return np.clip(base, 0.004, 0.9)


def _row(
  values: tuple[float, ...] | Float[Array, "3"], like: Float[Array, "*b"]
) -> Float[Array, "..."]:
  """Returns three numbers with as many leading axes of 1 as `like` has."""
  return jnp.asarray(values, jnp.float32).reshape((1,) * like.ndim + (3,))
