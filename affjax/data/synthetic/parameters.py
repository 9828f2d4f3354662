"""Everything that is random about a synthetic photo, as plain numbers.

Drawn by `affjax.data.synthetic.sampling`, consumed by the modules that draw. Colours
are linear RGB unless said otherwise, lengths in dm.
"""

from typing import NamedTuple

import numpy as np


class Skin(NamedTuple):
  """What the diffuse map is made of. Amounts are in [0, 1] unless said otherwise."""

  seed: np.ndarray  # of all noise on the skin
  melanin: np.ndarray  # 0 = palest, 1 = darkest human skin
  blood: np.ndarray  # haemoglobin density, about 0.2–0.6
  oxygen: np.ndarray  # tint of the blood, -1 = bluish, 1 = orange
  mottle: np.ndarray  # large-scale variation of both
  freckles: np.ndarray
  moles: np.ndarray
  pores: np.ndarray
  blush: np.ndarray  # extra blood in cheeks
  nose_red: np.ndarray
  bags: np.ndarray  # dark rings below the eyes
  age: np.ndarray  # wrinkles and folds
  lip_blood: np.ndarray
  lip_paint: np.ndarray  # opacity of a lipstick
  lip_color: np.ndarray  # [3] linear
  lid_paint: np.ndarray  # opacity of eye make-up
  lid_color: np.ndarray  # [3] linear
  lashes: np.ndarray
  brow: np.ndarray  # density, half width dm, arch dm, lift dm, join [5]
  beard: np.ndarray  # density of moustache, chin, jaw and cheek, neck [4]
  beard_grain: np.ndarray  # 0 = shaved shadow, 1 = long hair
  scalp: np.ndarray  # density of the short hair on the scalp
  hairline: np.ndarray  # recession, dm
  hair_color: np.ndarray  # [3] linear
  beard_color: np.ndarray  # [3] linear
  iris_color: np.ndarray  # [3] linear
  iris: np.ndarray  # iris radius and pupil radius, radians on the eyeball [2]
  sclera: np.ndarray  # yellow and red tint [2]
  teeth: np.ndarray  # [3] linear


class Light(NamedTuple):
  """Smooth illumination: a sky, its reflection from below, four directions."""

  direction: np.ndarray  # [4, 3] unit vectors towards the lights, world space
  intensity: np.ndarray  # [4] linear irradiance
  wrap: np.ndarray  # [4] 0 = a point, 0.5 = a large soft lamp
  sky: np.ndarray  # linear irradiance from above
  ground: np.ndarray  # and from below
  shadow: np.ndarray  # strength of self-shadow
  color: np.ndarray  # [3] global colour, sRGB-encoded, largest component 1
  gloss: np.ndarray  # strength of the unmodelled highlight on skin


class Hair(NamedTuple):
  """Hair that stands off the head; lengths in dm."""

  amount: np.ndarray  # 0 = none
  thickness: np.ndarray
  length: np.ndarray  # from the centre of the skull down
  opening: np.ndarray  # half width and height of the face opening, its top's slant [3]
  bangs: np.ndarray  # how far hair falls into the forehead
  parting: np.ndarray  # x of the parting
  wave: np.ndarray  # amplitude and frequency of waves [2]
  frizz: np.ndarray
  color: np.ndarray  # [3] linear
  seed: np.ndarray


class Outfit(NamedTuple):
  """Clothes below the neck."""

  color: np.ndarray  # [2, 3] linear
  pattern: np.ndarray  # amount and frequency of stripes, angle [3]
  collar: np.ndarray  # height, width dm [2]
  hat: np.ndarray  # presence, height over the brow, brim [3]
  hat_color: np.ndarray  # [3]
  twist: np.ndarray  # share of the head's yaw that the shoulders follow
  seed: np.ndarray


class Occluders(NamedTuple):
  """Things before the face; each starts with its presence 0 or 1."""

  glasses: np.ndarray  # presence, half width, half height, thickness, tint [5]
  glasses_color: np.ndarray  # [3]
  mask: np.ndarray  # presence, top [2]
  mask_color: np.ndarray  # [3]
  hand: np.ndarray  # presence, x, y, angle, size [5]
  hand_melanin: np.ndarray
  stick: np.ndarray  # a microphone: presence, x, y, angle, size [5]
  stick_color: np.ndarray  # [3]
  patch: np.ndarray  # a soft blob: presence, x, y, width, height, angle [6]
  patch_color: np.ndarray  # [3]
  strands: np.ndarray  # loose strands over the face: presence, x, slant, width [4]


class Backdrop(NamedTuple):
  """What is behind the head, in image coordinates [-1, 1], y down."""

  colors: np.ndarray  # [4, 3] linear corners of a gradient
  shapes: np.ndarray  # [12, 6] x, y, half width, half height, angle, roundness
  shape_colors: np.ndarray  # [12, 4] linear colour and opacity
  stripes: np.ndarray  # opacity, frequency, angle [3]
  noise: np.ndarray  # amount and frequency [2]
  blur: np.ndarray  # softness of all edges
  seed: np.ndarray


class Lens(NamedTuple):
  """The camera, applied to the encoded picture."""

  blur: np.ndarray  # standard deviation as a share of the picture's width
  noise: np.ndarray  # read noise and shot noise [2]
  gamma: np.ndarray
  contrast: np.ndarray
  saturation: np.ndarray
  balance: np.ndarray  # [3] gains
  blocks: np.ndarray  # strength of JPEG-like quantisation
  seed: np.ndarray


class Scene(NamedTuple):
  """One photo's worth of randomness; every leaf is a NumPy array."""

  identity: np.ndarray  # [K] in standard deviations
  expression: np.ndarray  # [E] in [0, 1]
  angles_deg: np.ndarray  # yaw, pitch, roll
  translation: np.ndarray  # [3] dm
  skin: Skin
  light: Light
  hair: Hair
  outfit: Outfit
  occluders: Occluders
  backdrop: Backdrop
  lens: Lens
