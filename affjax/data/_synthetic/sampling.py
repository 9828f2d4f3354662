"""Draws the parameters of a scene.

A sample is a function of `(seed, split, index)` alone, which are the key of NumPy's
counter-based Philox generator: a sample does not depend on those before it, and two
splits share no random stream.
"""

import zlib
from typing import Any

import numpy as np

from affjax.data._synthetic import palette
from affjax.data._synthetic.parameters import (
  Backdrop,
  Hair,
  Light,
  Occluders,
  Outfit,
  PhotoLens,
  Scene,
  Skin,
)
from affjax.heads import MorphableModel, sample_expression, sample_identity

_SHAPES = 12


def generator(seed: int, split: str, index: int) -> np.random.Generator:
  """Returns the random generator of one sample."""
  stream = (zlib.crc32(split.encode()) << 32) | index
  key = np.array([seed % 2**64, stream], np.uint64)
  return np.random.Generator(np.random.Philox(key=key))


def scene(
  rng: np.random.Generator, model: MorphableModel, *, occluders: float = 0.35
) -> Scene:
  """Draws a scene; every leaf is a float32 or uint32 array.

  Args:
    rng: Random generator, read in a fixed order.
    model: Head model, whose identity and expression are drawn.
    occluders: Chance of an occluder; loose strands of hair have their own.
  """
  melanin = float(rng.uniform(0, 1) ** 1.25)
  hair_color, beard_color = palette.hair_colors(rng, melanin)
  bald = rng.random() < 0.1
  angles, translation = _pose(rng)
  drawn = Scene(
    identity=sample_identity(rng, model, 1)[0],
    expression=sample_expression(rng, model, 1)[0],
    angles_deg=angles,
    translation=translation,
    skin=_skin(rng, melanin, hair_color, beard_color, bald),
    light=_light(rng, melanin),
    hair=_hair(rng, hair_color, bald),
    outfit=_outfit(rng),
    occluders=_occluders(rng, occluders, melanin),
    backdrop=_backdrop(rng),
    lens=_lens(rng),
  )
  return _as_arrays(drawn)


def of_person(drawn: Scene, person: Scene) -> Scene:
  """Returns a scene with the head, skin and hair of another one."""
  return drawn._replace(identity=person.identity, skin=person.skin, hair=person.hair)


def _pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  """Draws angles and translation; most people look roughly at the camera."""
  yaw = rng.normal(0, 16) if rng.random() < 0.55 else rng.uniform(-60, 60)
  angles = np.clip(
    [yaw, rng.normal(0, 9), rng.normal(0, 7)], (-60, -25, -20), (60, 25, 20)
  )
  moved = rng.normal(0, (0.06, 0.06, 0.35))
  return angles, np.clip(moved, (-0.15, -0.15, -0.8), (0.15, 0.15, 0.8))


def _skin(
  rng: np.random.Generator,
  melanin: float,
  hair_color: np.ndarray,
  beard_color: np.ndarray,
  bald: bool,
) -> Skin:
  adult = rng.random() < 0.5  # these may grow a beard, the others may wear make-up
  age = rng.beta(1.3, 1.8)
  freckled = rng.random() < (0.3 if melanin < 0.4 else 0.06)
  painted = (not adult) and rng.random() < 0.6
  paint = lambda chance: float(painted and rng.random() < chance)
  lip_hue = np.array(
    [rng.uniform(0.2, 0.6), rng.uniform(0.01, 0.12), rng.uniform(0.02, 0.16)]
  )
  brow_width = rng.uniform(0.03, 0.055) if adult else rng.uniform(0.02, 0.045)
  return Skin(
    seed=_seed(rng),
    melanin=np.float64(melanin),
    blood=rng.uniform(0.18, 0.5),
    oxygen=rng.uniform(-0.6, 1),
    mottle=rng.uniform(0.15, 1),
    freckles=rng.uniform(0.15, 1) * freckled,
    moles=rng.beta(1, 3),
    pores=rng.uniform(0.2, 1),
    blush=rng.beta(1.2, 2) + 0.5 * paint(0.4),
    nose_red=rng.beta(1.2, 2.5),
    bags=rng.beta(1.5, 2),
    age=age,
    lip_blood=rng.uniform(0.25, 1),
    lip_paint=rng.uniform(0.2, 0.95) * paint(0.7),
    lip_color=lip_hue,
    lid_paint=rng.uniform(0.1, 0.8) * paint(0.5),
    lid_color=rng.uniform(0, 0.35, 3) * rng.choice([0.2, 1.0]),
    lashes=rng.uniform(0.25, 0.7) + 0.3 * painted,
    brow=np.array(
      [
        rng.uniform(0.35, 1),
        brow_width,
        rng.normal(0, 0.02),
        rng.normal(0, 0.015),
        rng.beta(1, 4) * adult,
      ]
    ),
    beard=_beard(rng, adult),
    beard_grain=rng.uniform(0, 1),
    scalp=rng.uniform(0, 0.3) if bald else rng.uniform(0.75, 1),
    hairline=np.clip(rng.normal(0.02, 0.06), -0.1, 0.25) + 0.1 * adult * age,
    hair_color=hair_color,
    beard_color=beard_color,
    iris_color=palette.iris_color(rng, melanin),
    iris=np.array([rng.uniform(0.46, 0.54), rng.uniform(0.15, 0.26)]),
    sclera=rng.uniform(0, 1, 2) * (0.6, 0.8),
    teeth=np.array([0.62, 0.55, 0.44])
    * rng.uniform(0.7, 1.15)
    * (1, 1, rng.uniform(0.8, 1.1)),
  )


def _beard(rng: np.random.Generator, grown: bool) -> np.ndarray:
  """Draws the densities of moustache, chin, jaw and throat."""
  beard = np.zeros(4)
  style = rng.random() if grown else 1.0
  if style < 0.18:  # full
    beard = rng.uniform(0.5, 1.0) * np.array([1, 1, rng.uniform(0.7, 1), 0.5])
  elif style < 0.30:  # goatee
    beard = rng.uniform(0.5, 1.0) * np.array([1, 1, rng.uniform(0, 0.3), 0.1])
  elif style < 0.38:  # moustache
    beard = rng.uniform(0.5, 1.0) * np.array([1, rng.uniform(0, 0.3), 0.05, 0])
  elif style < 0.75:  # stubble or a shaved shadow
    beard = rng.uniform(0.05, 0.45) * np.array([0.9, 1, 0.8, 0.6])
  return beard


def _light(rng: np.random.Generator, melanin: float) -> Light:
  """Draws a key light with fill, rim and top lights."""
  azimuth = rng.uniform(-1.9, 1.9) if rng.random() < 0.45 else rng.normal(0, 0.6)
  height = np.clip(rng.normal(0.5, 0.4), -0.5, 1.4)
  spread = rng.uniform(-np.pi, np.pi, 3)
  angles = np.array([azimuth, -azimuth, *spread[:2]])
  heights = np.array([height, *rng.normal(0.4, 0.5, 3)])
  direction = np.stack(
    [
      np.sin(angles) * np.cos(heights),
      np.sin(heights),
      np.cos(angles) * np.cos(heights),
    ],
    -1,
  )
  key = rng.uniform(0.3, 1.3)
  fill = rng.uniform(0, 0.35)
  intensity = key * np.array(
    [1, fill, *(rng.uniform(0, 0.5, 2) * (rng.random(2) < 0.5))]
  )
  # Photographers make faces bright enough.
  exposure = rng.uniform(0.95, 1.6) if rng.random() < 0.85 else rng.uniform(0.35, 2.0)
  exposure = exposure * (0.85 + 0.75 * melanin)
  sky = (1.05 - key * (0.65 + 0.3 * fill)) * rng.uniform(0.45, 0.95)
  # The brightest spot of a face is rarely overexposed.
  brightest = key * (1 + 0.3 * fill) + max(sky, 0.08)
  exposure = min(exposure, (1.15 + 1.2 * melanin) / brightest)
  warm = rng.normal(0, 1)
  color = np.exp(np.array([0.05, 0, -0.07]) * warm + rng.normal(0, 0.025, 3))
  if rng.random() < 0.08:
    color = color * rng.uniform(0.75, 1, 3)
  return Light(
    direction=direction,
    intensity=intensity * exposure,
    wrap=rng.uniform(0.02, 0.5, 4),
    sky=np.float64(max(sky, 0.08) * exposure),
    ground=max(sky, 0.08) * exposure * rng.uniform(0.3, 0.8),
    shadow=rng.uniform(0.4, 1),
    color=color / color.max(),
    gloss=rng.beta(1.5, 2),
  )


def _hair(rng: np.random.Generator, color: np.ndarray, bald: bool) -> Hair:
  present = (not bald) and rng.random() < 0.72
  long = rng.random() < 0.5
  return Hair(
    amount=np.float64(present),
    thickness=rng.uniform(0.08, 0.3) if not long else rng.uniform(0.1, 0.26),
    length=rng.uniform(0.9, 2.2) if long else rng.uniform(-0.3, 0.5),
    opening=np.array(
      [rng.uniform(-0.14, 0.12), rng.uniform(-0.06, 0.12), rng.normal(0, 0.1)]
    ),
    bangs=rng.uniform(0.1, 0.42) if rng.random() < 0.3 else 0.0,
    parting=rng.normal(0, 0.3),
    wave=np.array([rng.beta(1, 2.5) * 0.12, rng.uniform(2, 7)]),
    frizz=rng.beta(1.2, 3),
    color=color,
    seed=_seed(rng),
  )


def _outfit(rng: np.random.Generator) -> Outfit:
  return Outfit(
    color=np.stack([palette.cloth(rng), palette.cloth(rng)]),
    pattern=np.array(
      [rng.random() * (rng.random() < 0.35), rng.uniform(3, 20), rng.uniform(0, 3.1)]
    ),
    collar=np.array([rng.uniform(-0.3, 0.35), rng.uniform(0.03, 0.3)]),
    hat=np.array([rng.random() < 0.07, rng.uniform(0.05, 0.4), rng.random() < 0.5]),
    hat_color=palette.cloth(rng),
    twist=rng.uniform(0.1, 0.8),
    seed=_seed(rng),
  )


def _occluders(rng: np.random.Generator, chance: float, melanin: float) -> Occluders:
  """Draws at most two occluders; glasses are the most common."""
  covered = rng.random() < chance
  kind = rng.choice(5, p=[0.32, 0.14, 0.2, 0.16, 0.18])
  also = rng.random() < 0.15
  has = lambda which: float(covered and (kind == which or (also and which == 0)))
  spot = lambda: [rng.uniform(-0.8, 0.8), rng.uniform(-0.9, 0.4)]
  return Occluders(
    glasses=np.array(
      [
        has(0),
        rng.uniform(0.2, 0.3),
        rng.uniform(0.13, 0.25),
        rng.uniform(0.008, 0.028),
        rng.uniform(0.6, 0.97) if rng.random() < 0.3 else rng.uniform(0, 0.15),
      ]
    ),
    glasses_color=palette.cloth(rng) * 0.4,
    mask=np.array([has(1), rng.uniform(-0.05, 0.2)]),
    mask_color=np.clip(palette.cloth(rng) * 1.5, 0.02, 0.8),
    hand=np.array([has(2), *spot(), rng.uniform(-1.2, 1.2), rng.uniform(0.8, 1.1)]),
    hand_melanin=melanin if rng.random() < 0.8 else rng.random(),
    stick=np.array([has(3), *spot(), rng.uniform(-1.2, 1.2), rng.uniform(0.7, 1.3)]),
    stick_color=palette.cloth(rng),
    patch=np.array(
      [
        has(4),
        rng.uniform(-0.9, 0.9),
        rng.uniform(-0.9, 0.9),
        rng.uniform(0.12, 0.6),
        rng.uniform(0.08, 0.35),
        rng.uniform(0, 3.1),
      ]
    ),
    patch_color=palette.cloth(rng),
    strands=np.array(
      [
        rng.random() < 0.15,
        rng.uniform(-0.6, 0.6),
        rng.normal(0, 0.3),
        rng.uniform(0.02, 0.1),
      ]
    ),
  )


def _backdrop(rng: np.random.Generator) -> Backdrop:
  base = palette.scenery(rng)
  spread = rng.choice([0.1, 0.4, 0.9])
  near = np.exp(rng.normal(0, spread, (4, 1)) + rng.normal(0, 0.25 * spread, (4, 3)))
  count = rng.integers(0, _SHAPES + 1)
  size = np.exp(rng.normal(-1.0, 0.8, (_SHAPES, 2)))
  upright = rng.random() < 0.5
  angle = rng.normal(0, 0.03, _SHAPES) if upright else rng.uniform(0, 3.1, _SHAPES)
  shapes = np.concatenate(
    [
      rng.uniform(-1.1, 1.1, (_SHAPES, 2)),
      size,
      angle[:, None],
      rng.choice([0.0, 0.1, 1.0], _SHAPES)[:, None],
    ],
    -1,
  )
  fill = np.stack([palette.scenery(rng) for _ in range(_SHAPES)])
  opacity = rng.uniform(0.3, 1, _SHAPES) * (np.arange(_SHAPES) < count)
  return Backdrop(
    colors=np.clip(base * near, 0.003, 0.9),
    shapes=shapes,
    shape_colors=np.concatenate([fill, opacity[:, None]], -1),
    stripes=np.array(
      [
        rng.uniform(0.2, 1) * (rng.random() < 0.18),
        rng.uniform(1.5, 9),
        rng.choice([0, np.pi / 2, rng.uniform(0, 3.1)]),
      ]
    ),
    noise=np.array([0.7 * rng.beta(1, 2.5), np.exp(rng.uniform(0, 2.2))]),
    blur=np.exp(rng.uniform(np.log(0.01), np.log(0.25))),
    seed=_seed(rng),
  )


def _lens(rng: np.random.Generator) -> PhotoLens:
  return PhotoLens(
    blur=max(rng.normal(0.002, 0.0035), 0.0),
    noise=np.array([rng.beta(1, 4) * 0.03, rng.beta(1, 4) * 0.035]),
    gamma=np.exp(rng.normal(0.05, 0.1)),
    contrast=np.exp(rng.normal(0.1, 0.1)),
    saturation=np.exp(np.clip(rng.normal(-0.03, 0.12), -0.5, 0.25))
    if rng.random() < 0.95
    else 0.0,
    balance=np.exp(rng.normal(0, 0.025, 3)),
    blocks=rng.beta(1, 3) * (rng.random() < 0.5),
    seed=_seed(rng),
  )


def _seed(rng: np.random.Generator) -> np.uint32:
  return rng.integers(0, 2**31, dtype=np.uint32)


def _as_arrays(tree: Any) -> Any:
  """Converts leaves to float32, except seeds, which stay uint32."""
  if isinstance(tree, tuple):
    return type(tree)(*(_as_arrays(leaf) for leaf in tree))
  array = np.asarray(tree)
  return array if array.dtype == np.uint32 else array.astype(np.float32)
