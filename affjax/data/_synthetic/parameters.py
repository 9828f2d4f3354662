"""The random parameters of a synthetic photo.

`sampling` draws them, and the other modules paint from them. Colors are linear RGB
unless noted, lengths are in dm.
"""

from typing import Any, NamedTuple, TypeAlias

# NumPy arrays when drawn, JAX arrays inside the compiled scene. A union of the two
# would need a cast at every use.
Numbers: TypeAlias = Any


class Skin(NamedTuple):
  """Parameters of the diffuse map; amounts are in [0, 1] unless noted."""

  seed: Numbers  # seed of all noise on the skin
  melanin: Numbers  # 0 = palest, 1 = darkest human skin
  blood: Numbers  # hemoglobin density, about 0.2–0.6
  oxygen: Numbers  # tint of the blood, -1 = bluish, 1 = orange
  mottle: Numbers  # large-scale variation of melanin and blood
  freckles: Numbers
  moles: Numbers
  pores: Numbers
  blush: Numbers  # extra blood in cheeks
  nose_red: Numbers
  bags: Numbers  # dark rings below the eyes
  age: Numbers  # wrinkles and folds
  lip_blood: Numbers
  lip_paint: Numbers  # opacity of a lipstick
  lip_color: Numbers  # [3] linear
  lid_paint: Numbers  # opacity of eye make-up
  lid_color: Numbers  # [3] linear
  lashes: Numbers
  brow: Numbers  # density, half width dm, arch dm, lift dm, join [5]
  beard: Numbers  # density of moustache, chin, jaw and cheek, neck [4]
  beard_grain: Numbers  # 0 = shaved shadow, 1 = long hair
  scalp: Numbers  # density of the short hair on the scalp
  hairline: Numbers  # recession, dm
  hair_color: Numbers  # [3] linear
  beard_color: Numbers  # [3] linear
  iris_color: Numbers  # [3] linear
  iris: Numbers  # iris radius and pupil radius, radians on the eyeball [2]
  sclera: Numbers  # yellow and red tint [2]
  teeth: Numbers  # [3] linear


class Light(NamedTuple):
  """Smooth illumination: a sky, its reflection from below, four directional lights."""

  direction: Numbers  # [4, 3] unit vectors towards the lights, world space
  intensity: Numbers  # [4] linear irradiance
  wrap: Numbers  # [4] 0 = a point, 0.5 = a large soft lamp
  sky: Numbers  # linear irradiance from above
  ground: Numbers  # linear irradiance from below
  shadow: Numbers  # strength of self-shadow
  color: Numbers  # [3] global color, sRGB-encoded, largest component 1
  gloss: Numbers  # strength of the highlight, which the renderer does not model


class Hair(NamedTuple):
  """Hair that stands off the head."""

  amount: Numbers  # 0 = none
  thickness: Numbers
  length: Numbers  # from the center of the skull down
  opening: Numbers  # half width, height and slant of the face opening [3]
  bangs: Numbers  # reach of the hair into the forehead
  parting: Numbers  # x of the parting
  wave: Numbers  # amplitude and frequency of waves [2]
  frizz: Numbers
  color: Numbers  # [3] linear
  seed: Numbers


class Outfit(NamedTuple):
  """Clothes below the neck."""

  color: Numbers  # [2, 3] linear
  pattern: Numbers  # amount and frequency of stripes, angle [3]
  collar: Numbers  # height, width dm [2]
  hat: Numbers  # presence, height over the brow, brim [3]
  hat_color: Numbers  # [3]
  twist: Numbers  # share of the head's yaw that the shoulders follow
  seed: Numbers


class Occluders(NamedTuple):
  """Occluders of the face; each starts with its presence, 0 or 1."""

  glasses: Numbers  # presence, half width, half height, thickness, tint [5]
  glasses_color: Numbers  # [3]
  mask: Numbers  # presence, top [2]
  mask_color: Numbers  # [3]
  hand: Numbers  # presence, x, y, angle, size [5]
  hand_melanin: Numbers
  stick: Numbers  # a microphone: presence, x, y, angle, size [5]
  stick_color: Numbers  # [3]
  patch: Numbers  # a soft blob: presence, x, y, width, height, angle [6]
  patch_color: Numbers  # [3]
  strands: Numbers  # loose strands over the face: presence, x, slant, width [4]


class Backdrop(NamedTuple):
  """The background, in image coordinates in [-1, 1], y down."""

  colors: Numbers  # [4, 3] linear colors of the corners of a gradient
  shapes: Numbers  # [12, 6] x, y, half width, half height, angle, roundness
  shape_colors: Numbers  # [12, 4] linear color and opacity
  stripes: Numbers  # opacity, frequency, angle [3]
  noise: Numbers  # amount and frequency [2]
  blur: Numbers  # softness of all edges
  seed: Numbers


class PhotoLens(NamedTuple):
  """The effects of the camera on the encoded picture."""

  blur: Numbers  # standard deviation as a share of the picture's width
  noise: Numbers  # read noise and shot noise [2]
  gamma: Numbers
  contrast: Numbers
  saturation: Numbers
  balance: Numbers  # [3] gains
  blocks: Numbers  # strength of JPEG-like quantization
  seed: Numbers


class Scene(NamedTuple):
  """All random parameters of one photo; every leaf is a NumPy array."""

  identity: Numbers  # [K] in standard deviations
  expression: Numbers  # [E] in [0, 1]
  angles_deg: Numbers  # yaw, pitch, roll
  translation: Numbers  # [3] dm
  skin: Skin
  light: Light
  hair: Hair
  outfit: Outfit
  occluders: Occluders
  backdrop: Backdrop
  lens: PhotoLens
