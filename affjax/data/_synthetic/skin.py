"""The diffuse map of a head: skin, brows, beard, lips, make-up, scalp, eyes, teeth.

The map is a function of the mean shape's points in dm, so that a person has the same
skin at every map size; detail that is too fine for a coarse map fades out.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.data._synthetic import noise, palette
from affjax.data._synthetic.layout import Layout
from affjax.data._synthetic.parameters import Skin


def diffuse_map(skin: Skin, layout: Layout) -> Float[Array, "s s 3"]:
  """Returns the diffuse map, encoded by a power of 1 / 2.2, in [0, 1].

  Outside the charts it holds the color of plain skin, so that lookups at the border of
  a chart are not dark.
  """
  finest = layout.point.shape[0] / 10
  color = _bare_skin(skin, layout, finest)
  color = _lips(color, skin, layout, finest)
  color = _make_up(color, skin, layout)
  color = _lines(color, skin, layout)
  color = _hair_on_skin(color, skin, layout, finest)
  inside = layout.skin * (1 - smoothstep(0.02, 0.22, layout.open)) * _front(layout)
  color = mix(color, rgb(0.12, 0.022, 0.02), 0.85 * inside)
  color = jnp.where(layout.eye[..., None] > 0.5, _eyes(skin, layout, finest), color)
  color = jnp.where(layout.teeth[..., None] > 0.5, _teeth(skin, layout), color)
  tongue = rgb(0.36, 0.11, 0.1) * jnp.ones_like(color)
  color = jnp.where(layout.tongue[..., None] > 0.5, tongue, color)
  return jnp.clip(palette.to_srgb(color), 0.0, 1.0)


def mix(
  color: Float[Array, "*b 3"], other: Float[Array, "..."], amount: Float[Array, "*b"]
) -> Float[Array, "*b 3"]:
  """Blends linearly; `other` is a color that broadcasts, or an image."""
  other = jnp.broadcast_to(other, color.shape)
  return color + (other - color) * amount[..., None]


def smoothstep(
  low: float | Array, high: float | Array, value: Float[Array, "*b"]
) -> Float[Array, "*b"]:
  """Returns a smooth step from 0 at `low` to 1 at `high`; `low > high` falls."""
  t = jnp.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def rgb(*values: float | Array) -> Float[Array, "1 1 3"]:
  """Returns a color, or three factors of axes, for arithmetic with maps."""
  return jnp.stack([jnp.float32(value) for value in values])[None, None]


def _front(layout: Layout) -> Float[Array, "s s"]:
  return layout.fields["front"]


def _bare_skin(skin: Skin, layout: Layout, finest: float) -> Float[Array, "s s 3"]:
  point, field, seed = layout.point, layout.fields, skin.seed
  mask = layout.masks
  broad = noise.fractal(point, seed + 1, frequency=1.3, octaves=3, finest=finest)
  blotch = noise.fractal(point, seed + 2, frequency=3.0, octaves=3, finest=finest)
  fine = noise.fractal(
    point, seed + 3, frequency=12, octaves=4, gain=0.85, finest=finest
  )
  sun = 0.3 + 0.7 * jnp.maximum(field["cheek"], field["nose"]) + 0.3 * field["forehead"]
  freckle = noise.spots(
    point, seed + 4, frequency=13, radius=0.42, chance=0.9 * sun * (0.6 + blotch)
  ) * min(finest / 13, 1)
  mole = noise.spots(
    point, seed + 5, frequency=1.7, radius=0.045, chance=0.5 * skin.moles
  )
  age_spot = noise.spots(
    point, seed + 6, frequency=3, radius=0.3, chance=0.3 * skin.age
  )
  melanin = (
    skin.melanin
    + skin.mottle * (0.035 * broad + 0.02 * blotch)
    + (0.16 * skin.freckles * freckle + 0.03 * skin.age * age_spot)
    * (1.2 - skin.melanin)
    + 0.05 * skin.bags * field["bag"]
    + 0.03 * field["eye_span"] * _near(field["lid_upper"], 0.05, 0.06)
    - 0.03 * field["forehead"] * 0.5
    + skin.pores * 0.012 * fine
  )
  blood = skin.blood * (1 + skin.mottle * (0.35 * blotch + 0.25 * broad))
  pimple = noise.spots(
    point, seed + 7, frequency=2.6, radius=0.07, chance=0.3 * skin.moles
  )
  blood = (
    blood
    + 0.42 * skin.blush * field["cheek"] * (1 + blotch)
    + 0.35 * skin.nose_red * field["nose"]
    + 0.3 * mask["ears"] * (0.5 + skin.blush)
    + 0.18 * skin.bags * field["bag"]
    + 0.3 * field["eye_span"] * _near(field["lid_lower"], 0.0, 0.03)
    + 0.5 * pimple
    + skin.pores * 0.06 * fine
  )
  color = palette.skin(
    jnp.clip(melanin, 0.0, 1.3), jnp.clip(blood, 0.03, 3.0), skin.oxygen
  )
  color = mix(color, color * rgb(0.32, 0.2, 0.17), mole)
  shade = 1 + skin.pores * 0.1 * fine
  return color * shade[..., None]


def _near(
  distance: Float[Array, "s s"], center: float, width: float
) -> Float[Array, "s s"]:
  return jnp.exp(-(((distance - center) / width) ** 2))


def _lips(
  color: Float[Array, "s s 3"], skin: Skin, layout: Layout, finest: float
) -> Float[Array, "s s 3"]:
  lips = smoothstep(0.15, 0.75, layout.masks["lips"])
  stretch = layout.point * rgb(1.0, 0.25, 0.25)
  creases = noise.fractal(
    stretch, skin.seed + 11, frequency=22, octaves=2, finest=finest
  )
  natural = palette.skin(
    jnp.clip(skin.melanin * 0.92 + 0.05 + 0.02 * creases, 0, 1.2),
    skin.blood + 1.7 * skin.lip_blood + 0.2 * creases,
    skin.oxygen,
  )
  color = mix(color, natural, 0.9 * lips)
  color = mix(
    color, skin.lip_color * (0.4 + 0.6 * (1 - skin.melanin)), lips * skin.lip_paint
  )
  seam = jnp.exp(-((layout.fields["lip_line"] / 0.018) ** 2)) * layout.fields["mouth"]
  return color * (1 - 0.45 * seam * lips)[..., None]


def _make_up(
  color: Float[Array, "s s 3"], skin: Skin, layout: Layout
) -> Float[Array, "s s 3"]:
  field = layout.fields
  upper = smoothstep(0.0, 0.03, field["lid_upper"]) * smoothstep(
    0.2, 0.06, field["lid_upper"]
  )
  return mix(color, skin.lid_color, 0.6 * skin.lid_paint * upper * field["eye_span"])


def _lines(
  color: Float[Array, "s s 3"], skin: Skin, layout: Layout
) -> Float[Array, "s s 3"]:
  """Darkens lid edges, crease, folds and wrinkles."""
  field, point = layout.fields, layout.point
  wobble = noise.fractal(point, skin.seed + 21, frequency=2, octaves=2)
  span = field["eye_span"]
  edge = jnp.maximum(
    skin.lashes * _near(field["lid_upper"], 0.0, 0.026),
    0.5 * skin.lashes * _near(field["lid_lower"], 0.0, 0.016),
  )
  crease = 0.28 * _near(field["lid_upper"], 0.075, 0.016)
  waves = jnp.sin(point[..., 1] * 62 + 2.5 * wobble) ** 8
  wrinkles = waves * field["forehead"] * smoothstep(-0.2, 0.3, wobble)
  crow = jnp.sin(layout.fields["lid_upper"] * 90 + 2 * wobble) ** 6 * _bump_outer(field)
  fold = jnp.exp(-((field["fold"] / 0.025) ** 2)) * field["front"]
  dark = (
    0.16 * skin.age * (wrinkles + 0.7 * crow) + 0.22 * skin.age * fold + crease * span
  )
  color = color * (1 - jnp.clip(dark, 0, 0.7))[..., None]
  brown = color * rgb(0.25, 0.2, 0.2)
  lash = jnp.clip(edge * smoothstep(0.0, 0.3, span), 0, 1) * field["front"]
  return mix(color, brown, lash)


def _bump_outer(field: dict[str, Array]) -> Float[Array, "s s"]:
  return field["temple"] * _near(field["lid_upper"], 0.0, 0.12)


def _hair_on_skin(
  color: Float[Array, "s s 3"], skin: Skin, layout: Layout, finest: float
) -> Float[Array, "s s 3"]:
  """Adds brows, beard and the short hair of the scalp."""
  point = layout.point
  brow = _brow_density(skin, layout, finest)
  color = mix(color, _brow_color(skin), brow)
  color = mix(color, skin.beard_color, _beard_density(skin, layout, finest))
  stretch = point * rgb(1.0, 0.3, 0.4)
  strand = noise.fractal(
    stretch, skin.seed + 32, frequency=26, octaves=2, gain=0.8, finest=finest
  )
  amount = scalp_density(skin, layout)
  amount = jnp.clip(amount * (1 + 0.2 * strand), 0, 1)
  return mix(
    color, skin.hair_color[None, None] * jnp.exp(0.4 * strand)[..., None], amount
  )


def scalp_density(skin: Skin, layout: Layout) -> Float[Array, "s s"]:
  """Returns the share of the scalp that short hair hides, in [0, 1]."""
  finest = layout.point.shape[0] / 10
  ragged = noise.fractal(
    layout.point, skin.seed + 31, frequency=6, octaves=3, finest=finest
  )
  edge = layout.hairline - skin.hairline * _front(layout) + 0.06 * ragged
  return smoothstep(-0.03, 0.07, edge) * skin.scalp


def _brow_color(skin: Skin) -> Float[Array, "3"]:
  """Returns the color of the brows, darker than fair hair."""
  hair = skin.hair_color * 0.8
  return hair * jnp.minimum(1.0, 0.16 / jnp.max(hair))


def _brow_density(skin: Skin, layout: Layout, finest: float) -> Float[Array, "s s"]:
  field = layout.fields
  density, width, arch, lift, join = skin.brow
  along = field["brow_along"]
  bend = arch * (1 - (2 * along - 1.2) ** 2)
  across = field["brow_across"] - bend - lift
  taper = jnp.clip(1.15 - 0.75 * smoothstep(0.35, 1.1, along), 0.2, 1.2)
  inner = smoothstep(-0.12 - 0.35 * join, 0.06 - 0.3 * join, along)
  shape = inner * smoothstep(1.18, 0.95, along)
  body = jnp.exp(-(jnp.abs(across / (width * taper)) ** 2.5))
  # Strands lean outwards and up.
  x = jnp.abs(layout.point[..., 0]) * jnp.sign(layout.point[..., 0])
  side = jnp.abs(x) - 0.55 * across
  lean = jnp.stack([across * 8 - jnp.abs(x) * 4, side * 90, x * 3], -1)
  strand = noise.value_noise(lean, skin.seed + 41) * min(finest / 50, 1)
  return jnp.clip(density * shape * body * (1.1 + 0.55 * strand), 0, 0.93) * _front(
    layout
  )


def _beard_density(skin: Skin, layout: Layout, finest: float) -> Float[Array, "s s"]:
  field, point = layout.fields, layout.point
  moustache, chin, jaw, throat = skin.beard
  zone = jnp.maximum(moustache * field["moustache"], chin * field["chin"])
  zone = jnp.maximum(zone, jnp.maximum(jaw * field["jaw"], throat * field["throat"]))
  stretch = point * rgb(1.0, 1 - 0.75 * skin.beard_grain, 0.7)
  grain = noise.fractal(
    stretch, skin.seed + 51, frequency=30, octaves=2, gain=1.0, finest=finest
  )
  patchy = noise.fractal(point, skin.seed + 52, frequency=2.5, octaves=3)
  keep = 1 - smoothstep(0.2, 0.7, layout.masks["lips"])
  return jnp.clip(zone * (1.05 + 0.4 * patchy + 0.5 * grain), 0, 0.94) * keep


def _eyes(skin: Skin, layout: Layout, finest: float) -> Float[Array, "s s 3"]:
  """Paints sclera, veins, iris and pupil by the angle from the gaze."""
  gaze = layout.gaze
  angle = jnp.arccos(jnp.clip(gaze[..., 2], -1, 1))
  around = jnp.arctan2(gaze[..., 1], gaze[..., 0])
  yellow, red = skin.sclera
  white = rgb(0.5, 0.465, 0.44) * (1 - yellow * rgb(0.05, 0.1, 0.3))
  vein = noise.fractal(
    gaze * 1.0, skin.seed + 61, frequency=7, octaves=3, gain=0.7, finest=finest * 0.12
  )
  blood = jnp.clip(0.25 * smoothstep(0.6, 1.2, angle) + 0.3 * vein * red, 0, 0.7)
  color = mix(jnp.broadcast_to(white, gaze.shape), rgb(0.55, 0.2, 0.17), blood)
  # Lids shade the upper part of the eyeball.
  shade = (
    1 - 0.5 * smoothstep(0.05, 0.5, gaze[..., 1]) - 0.2 * smoothstep(0.7, 1.1, angle)
  )
  radius, pupil = skin.iris
  fiber = noise.value_noise(
    jnp.stack([jnp.cos(around) * 9, jnp.sin(around) * 9, angle * 5], -1), skin.seed + 62
  )
  ring = angle / radius
  iris = (
    skin.iris_color[None, None]
    * (1 + 0.6 * fiber + 0.5 * smoothstep(0.8, 0.4, ring))[..., None]
  )
  iris = iris * (1 - 0.75 * smoothstep(0.8, 1.0, ring))[..., None]
  soft = jnp.maximum(0.04, 0.8 / (finest * 1.2))
  color = color * shade[..., None]
  color = mix(
    color,
    iris * (0.6 + 0.4 * shade)[..., None],
    smoothstep(radius + soft, radius - soft, angle),
  )
  return mix(
    color, rgb(0.004, 0.004, 0.004), smoothstep(pupil + soft, pupil - soft, angle)
  )


def _teeth(skin: Skin, layout: Layout) -> Float[Array, "s s 3"]:
  """Paints enamel with gaps between teeth, darker towards the back."""
  x, z = layout.point[..., 0], layout.point[..., 2]
  gap = jnp.exp(-(((jnp.abs(x / 0.085 - jnp.round(x / 0.085)) - 0.0) / 0.09) ** 2))
  front = layout.fields["front"]
  back = 0.35 + 0.65 * smoothstep(
    -0.35, 0.0, z - jnp.max(jnp.where(layout.teeth > 0, z, -9))
  )
  shade = back * (1 - 0.35 * gap * front)
  return skin.teeth[None, None] * shade[..., None]
