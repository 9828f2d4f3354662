"""Occluders of the face: hands, microphones, glasses, masks, strands of hair, blobs."""

from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.data._synthetic import noise, palette, solids
from affjax.data._synthetic.hair import Skull
from affjax.data._synthetic.parameters import Occluders
from affjax.data._synthetic.skin import smoothstep
from affjax.data._synthetic.solids import Point

_FAR = 9.0


def hand_distance(point: Point, occluders: Occluders) -> Float[Array, "*b"]:
  """Returns the distance to a hand, world space."""
  present, x, y, angle, size = occluders.hand
  q = _local(point, x, y, angle, size)
  fingers = jnp.full(q.x.shape, _FAR)
  for k, long in enumerate((0.72, 0.82, 0.78, 0.6)):
    side = (k - 1.5) * 0.19
    finger = solids.capsule(q, (side, 0.0, 0.0), (side * 1.15, long, -0.12), 0.088)
    fingers = solids.smooth_union(fingers, finger, 0.04)
  palm = solids.ellipsoid(solids.moved(q, 0.0, -0.42, -0.02), (0.42, 0.52, 0.16))
  thumb = solids.capsule(q, (0.34, -0.45, 0.0), (0.62, 0.08, 0.05), 0.1)
  wrist = solids.capsule(q, (0.0, -0.8, -0.03), (0.0, -3.0, 0.0), 0.27)
  hand = solids.smooth_union(fingers, palm, 0.1)
  hand = solids.smooth_union(solids.smooth_union(hand, thumb, 0.1), wrist, 0.15)
  return hand * size + _FAR * (1 - present)


def stick_distance(point: Point, occluders: Occluders) -> Float[Array, "*b"]:
  """Returns the distance to a microphone (ball and handle), world space."""
  present, x, y, angle, size = occluders.stick
  q = _local(point, x, y, angle, size)
  ball = solids.length(*q) - 0.24
  handle = solids.capsule(q, (0.0, -0.2, 0.0), (0.0, -2.5, 0.1), 0.13)
  return jnp.minimum(ball, handle) * size + _FAR * (1 - present)


def _local(
  point: Point,
  x: Float[Array, ""],
  y: Float[Array, ""],
  angle: Float[Array, ""],
  size: Float[Array, ""],
) -> Point:
  """Returns points in the frame of an object in front of the face, with axis y."""
  c, s = jnp.cos(angle), jnp.sin(angle)
  a, b = point.x - x, point.y - y
  return Point((c * a + s * b) / size, (c * b - s * a) / size, (point.z - 1.35) / size)


def solid_color(
  point: Point, is_hand: Float[Array, "*b"], occluders: Occluders
) -> Float[Array, "*b 3"]:
  """Returns the linear reflectance of hand or microphone at world points."""
  place = point.stacked()
  wave = noise.fractal(place, 77, frequency=3.0, octaves=3)
  skin = palette.skin(
    jnp.clip(occluders.hand_melanin + 0.04 * wave, 0, 1),
    0.45 * (1 + 0.5 * wave),
    jnp.float32(0.3),
  )
  grain = jnp.exp(0.4 * noise.fractal(place, 78, frequency=14.0, octaves=2))
  stick = jnp.stack([occluders.stick_color[k] * grain for k in range(3)], -1)
  return stick + (skin - stick) * is_hand[..., None]


def mask_alpha(
  point: Float[Array, "*b 3"],
  occluders: Occluders,
  landmarks: Float[Array, "68 3"],
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
  """Returns opacity and shade of a cloth mask and its loops.

  Args:
    point: Point of the mean shape that each pixel shows.
    occluders: Parameters.
    landmarks: The 68 landmarks of the mean shape.
  """
  present, raised = occluders.mask
  x, y, z = jnp.abs(point[..., 0]), point[..., 1], point[..., 2]
  bridge, cheek = landmarks[28], jnp.abs(landmarks[2])
  top = bridge[1] - 0.12 + raised - 0.35 * smoothstep(0.1, 0.75, x)
  bottom = landmarks[8, 1] - 0.12 + 0.35 * smoothstep(0.2, 0.75, x)
  side = smoothstep(cheek[0] + 0.02, cheek[0] - 0.03, x) * (z > -0.15)
  cloth = (
    smoothstep(bottom - 0.03, bottom, y) * smoothstep(top + 0.02, top - 0.02, y) * side
  )
  loops = jnp.minimum(
    jnp.abs(y - top + 0.1 - 0.3 * (x - cheek[0])), jnp.abs(y - bottom - 0.1)
  )
  loop = smoothstep(0.025, 0.01, loops) * smoothstep(cheek[0] - 0.05, cheek[0], x)
  pleat = 1 - 0.18 * smoothstep(0.6, 1.0, jnp.sin(y * 22)) + 0.1 * jnp.sin(y * 22)
  return jnp.maximum(cloth, loop * (z > -0.2)) * present, pleat


def glasses(
  origin: Point, ray: Point, occluders: Occluders, skull: Skull, pixel: float
) -> tuple[Float[Array, "h w"], Float[Array, "h w"], Float[Array, "h w"]]:
  """Intersects rays with rims and lenses in the plane before the eyes, head space.

  Returns:
    Opacity, the share of it that is rim, and the distance along the ray.
  """
  present, wide, high, thick, tint = occluders.glasses
  plane = jnp.mean(skull.eyes[:, 2]) + 0.2
  t = (plane - origin.z) / jnp.minimum(ray.z, -1e-3)
  x, y = origin.x + ray.x * t, origin.y + ray.y * t
  reach = 0.5 * (skull.eyes[1, 0] - skull.eyes[0, 0])
  middle = jnp.mean(skull.eyes[:, 1]) - 0.03
  a, b = jnp.abs(jnp.abs(x) - reach) / wide, jnp.abs(y - middle) / high
  inside = ((a**3.2 + b**3.2 + 1e-9) ** (1 / 3.2) - 1) * jnp.minimum(wide, high)
  bridge = jnp.maximum(jnp.abs(y - middle - 0.35 * high), jnp.abs(x) - reach + wide)
  frame = jnp.minimum(
    jnp.abs(inside), jnp.where(jnp.abs(x) < reach - wide, bridge, 9.0)
  )
  soft = pixel
  rim = jnp.clip(0.5 + (thick - frame) / soft, 0, 1)
  lens = tint * jnp.clip(0.5 - inside / soft, 0, 1)
  alpha = jnp.maximum(rim, lens) * present
  return alpha, rim, t


def temples(
  origin: Point, ray: Point, occluders: Occluders, skull: Skull, pixel: float
) -> Iterator[tuple[Float[Array, "h w"], Float[Array, "h w"]]]:
  """Yields opacity and distance of the two arms of the glasses, head space.

  The arm on -x comes first; arms reach from hinge to ear.
  """
  present, wide, high, thick, _ = occluders.glasses
  reach = 0.5 * (skull.eyes[1, 0] - skull.eyes[0, 0]) + wide
  plane = jnp.mean(skull.eyes[:, 2]) + 0.2
  height = jnp.mean(skull.eyes[:, 1]) - 0.03 + 0.4 * high
  for side in (-1.0, 1.0):
    hinge = (side * reach, height, plane)
    ear = (side * (skull.ear[0] + 0.02), height - 0.03, skull.ear[2])
    gap, t = solids.ray_to_segment(origin, ray, hinge, ear)
    yield jnp.clip(0.5 + (1.2 * thick - gap) / pixel, 0, 1) * present, t


def loose_strands(
  x: Float[Array, "h w"], y: Float[Array, "h w"], occluders: Occluders
) -> Float[Array, "h w"]:
  """Returns the opacity of a few strands of hair; x right, y down, in [-1, 1]."""
  present, start, slant, width = occluders.strands
  total = jnp.zeros_like(x)
  for k in range(5):
    bend = 0.06 * jnp.sin(3.1 * y + 1.7 * k) + 0.15 * y * y * jnp.sin(2.4 * k)
    path = start + slant * (y + 1) + bend + 0.06 * jnp.sin(5.3 * k)
    w = width * (0.25 + 0.3 * (k % 3))
    line = jnp.exp(-(((x - path) / w) ** 2)) * smoothstep(0.55, 0.0, y - 0.1 * k)
    total = jnp.maximum(total, line)
  return 0.9 * total * present


def patch_alpha(
  x: Float[Array, "h w"], y: Float[Array, "h w"], occluders: Occluders
) -> Float[Array, "h w"]:
  """Returns the opacity of a soft blob; x right, y down, in [-1, 1]."""
  present, cx, cy, wide, high, angle = occluders.patch
  c, s = jnp.cos(angle), jnp.sin(angle)
  a = (c * (x - cx) + s * (y - cy)) / wide
  b = (c * (y - cy) - s * (x - cx)) / high
  return smoothstep(1.05, 0.92, (a**4 + b**4 + 1e-9) ** 0.25) * present
