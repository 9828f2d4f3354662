"""Hair that stands off the skull: short hair, long hair, bangs, and their strands."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.data._synthetic import noise, solids
from affjax.data._synthetic.parameters import Hair
from affjax.data._synthetic.skin import smoothstep
from affjax.data._synthetic.solids import Point

_FAR = 9.0


class Skull(NamedTuple):
  """Measures of a person's head, dm, to which hair, glasses and clothes fit.

  Attributes:
    center: center of the box around the scalp.
    radii: half the size of that box.
    brow: y of the brows.
    eyes: centers of the openings of the eyes.
    cheek: half the width of the face at the cheekbones.
    chin: tip of the chin.
    mouth: center of the mouth.
    nose: tip of the nose.
    ear: approximate place of the ear on +x.
  """

  center: Float[Array, "3"]
  radii: Float[Array, "3"]
  brow: Float[Array, ""]
  eyes: Float[Array, "2 3"]
  cheek: Float[Array, ""]
  chin: Float[Array, "3"]
  mouth: Float[Array, "3"]
  nose: Float[Array, "3"]
  ear: Float[Array, "3"]


def measure(landmarks: Float[Array, "68 3"], scalp: Float[Array, "n 3"]) -> Skull:
  """Returns the measures of a head from its landmarks and the vertices of its scalp."""
  low, high = jnp.min(scalp, 0), jnp.max(scalp, 0)
  center, radii = 0.5 * (low + high), 0.5 * (high - low)
  # The scalp reaches down to the nape, but the skull is about as high as it is wide.
  top = high[1]
  radii = jnp.stack([radii[0], jnp.minimum(radii[1], 0.95), radii[2]])
  center = jnp.stack([center[0], top - radii[1], center[2]])
  ear = 0.5 * (landmarks[15] + landmarks[16])
  return Skull(
    center=center,
    radii=radii,
    brow=jnp.mean(landmarks[17:27, 1]),
    eyes=jnp.stack([jnp.mean(landmarks[36:42], 0), jnp.mean(landmarks[42:48], 0)]),
    cheek=0.5 * jnp.abs(landmarks[14, 0] - landmarks[2, 0]),
    chin=landmarks[8],
    mouth=0.5 * (landmarks[51] + landmarks[57]),
    nose=landmarks[30],
    ear=jnp.abs(ear) * jnp.array([1.0, 0, 0]) + ear * jnp.array([0.0, 1, 1]),
  )


def distance(point: Point, hair: Hair, skull: Skull) -> Float[Array, "*b"]:
  """Returns the signed distance to the hair, head space; large without hair."""
  q = solids.moved(point, *skull.center)
  thick = hair.thickness
  radii = (skull.radii[0] + 0.9 * thick, skull.radii[1] + thick, skull.radii[2] + thick)
  body = solids.smooth_union(solids.ellipsoid(q, radii), _curtain(q, hair, radii), 0.25)
  long = hair.length > 0.6
  # Short hair thins out downwards, into the hair that is painted on the scalp.
  thin = smoothstep(0.75, 0.0, q.y + hair.length) * jnp.where(long, 0.0, 1.25)
  body = body + thin * thick
  end = -(q.y + hair.length + jnp.where(long, 0.0, 0.25))
  body = solids.smooth_cut(body, end, 0.1 + 0.1 * jnp.maximum(hair.length, 0.0))
  body = solids.smooth_cut(body, -_opening(q, hair, skull), 0.06)
  return body + _FAR * (1 - hair.amount)


def _curtain(
  q: Point, hair: Hair, radii: Sequence[Float[Array, ""]]
) -> Float[Array, "*b"]:
  """Returns the distance to long hair: an elliptic column that widens downwards."""
  flare = 1 + 0.08 * jnp.clip(-q.y, 0, 2)
  wide, deep = radii[0] * 0.98 * flare, radii[2] * 0.72 * flare
  planar = solids.length(q.x / wide, (q.z + 0.22 * radii[2]) / deep)
  side = (planar - 1) * jnp.minimum(wide, deep) * 0.9
  column = solids.smooth_cut(side, q.y - 0.1, 0.2)
  return column + _FAR * (hair.length < 0.6)


def _opening(q: Point, hair: Hair, skull: Skull) -> Float[Array, "*b"]:
  """Returns the distance to the space in front of the face that hair leaves free."""
  wide, high, slant = hair.opening
  half = skull.cheek + 0.02 + wide
  brow = skull.brow - skull.center[1]
  line = 0.62 * (skull.radii[1] - brow) + 0.35
  swept = smoothstep(0.02, 0.3, jnp.abs(q.x - hair.parting))
  # Waves make the hairline ragged; noise would be slow, since every step of a ray
  # evaluates this.
  wave = 0.5 * jnp.sin(13 * q.x + hair.wave[1]) + 0.3 * jnp.sin(31 * q.x + 5 * wide)
  fringe = (0.02 + 0.1 * hair.bangs) * wave
  half = half + 0.018 * jnp.sin(9 * q.y + 2 * hair.wave[1])
  top = line + high - hair.bangs * swept + slant * q.x + fringe
  top = jnp.maximum(top, 0.2)
  above = jnp.maximum(q.y - brow + 0.35, 0) / top
  planar = solids.length(q.x / half, above)
  carve = (planar - 1) * jnp.minimum(half, top) * 0.8
  return jnp.maximum(carve, (0.05 - q.z) * 0.8)


def strands(
  point: Point, hair: Hair, skull: Skull, finest: float
) -> Float[Array, "*b"]:
  """Returns strand noise in about [-1, 1] at points on the hair, head space."""
  q = solids.moved(point, *skull.center)
  bend = hair.wave[0] * jnp.sin(hair.wave[1] * q.y + 9 * hair.wave[0] * q.x)
  radius = solids.length(q.x, q.z)
  high = smoothstep(0.3, 0.8, q.y)
  around = jnp.arctan2(q.x - hair.parting * high, -q.z + 0.3) * 0.9 + bend
  along = q.y * 0.9 - radius * 0.6
  flow = jnp.stack([around, along * 0.16, radius * 0.12], -1)
  coarse = noise.fractal(flow, hair.seed, frequency=5, octaves=2, finest=finest)
  fine = noise.fractal(
    flow, hair.seed + 5, frequency=20, octaves=2, gain=0.8, finest=finest
  )
  return coarse + 0.9 * fine


def color(
  tilt: Float[Array, "*b"],
  strand: Float[Array, "*b"],
  light: Float[Array, "*b"],
  hair: Hair,
) -> Float[Array, "*b 3"]:
  """Returns the linear color of lit hair.

  Args:
    tilt: y of the normals, world space.
    strand: Strand noise, as `strands` returns it.
    light: Linear irradiance.
    hair: Parameters of the hair.
  """
  sheen = jnp.exp(-(((tilt - 0.45 + 0.2 * strand) / 0.22) ** 2))
  glow = 0.25 * sheen * light * jnp.clip(0.6 + strand, 0, 1.5)
  glow = glow * (0.05 + jnp.mean(hair.color))
  body = jnp.exp(0.75 * strand) * light
  return jnp.stack([body * hair.color[k] + glow for k in range(3)], -1)
