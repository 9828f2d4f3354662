"""Backgrounds of gradients, blurred shapes, stripes and noise at many scales."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.data._synthetic import noise, palette
from affjax.data._synthetic.parameters import Backdrop


def image_grid(size: int) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
  """Returns x (right) and y (down) of pixel centers, in [-1, 1] from edge to edge."""
  line = (jnp.arange(size) + 0.5) * (2 / size) - 1
  y, x = jnp.meshgrid(line, line, indexing="ij")
  return x, y


def background(backdrop: Backdrop, size: int) -> Float[Array, "h w 3"]:
  """Returns an sRGB-encoded picture in [0, 1]."""
  x, y = image_grid(size)
  u, v = ((x + 1) / 2)[..., None], ((y + 1) / 2)[..., None]
  c = backdrop.colors[:, None, None]
  color = (c[0] * (1 - u) + c[1] * u) * (1 - v) + (c[2] * (1 - u) + c[3] * u) * v
  color = _stripes(color, x, y, backdrop)
  plane = jnp.stack([x, y, jnp.full_like(x, 0.5)], -1)
  warp = noise.fractal(plane, backdrop.seed + 1, frequency=1.5, octaves=2)
  color = jax.lax.fori_loop(
    0,
    backdrop.shapes.shape[0],
    lambda k, below: _shape(below, x, y, warp, backdrop, k),
    color,
  )
  amount, frequency = backdrop.noise
  finest = size / 4
  texture = noise.fractal(
    plane * frequency,
    backdrop.seed + 2,
    frequency=1.0,
    octaves=5,
    gain=0.65,
    finest=finest,
  )
  tint = 0.5 * noise.fractal(plane, backdrop.seed + 3, frequency=1.2, octaves=2)
  gain = jnp.stack([texture + 0.3 * tint, texture, texture - 0.3 * tint], -1)
  color = color * jnp.exp(1.2 * amount * gain)
  return jnp.clip(palette.to_srgb(color), 0, 1)


def _turn(
  x: Float[Array, "h w"], y: Float[Array, "h w"], angle: Float[Array, ""]
) -> tuple[Float[Array, "h w"], Float[Array, "h w"]]:
  c, s = jnp.cos(angle), jnp.sin(angle)
  return c * x + s * y, c * y - s * x


def _stripes(
  color: Float[Array, "h w 3"],
  x: Float[Array, "h w"],
  y: Float[Array, "h w"],
  backdrop: Backdrop,
) -> Float[Array, "h w 3"]:
  opacity, frequency, angle = backdrop.stripes
  along, _ = _turn(x, y, angle)
  soft = jnp.clip(
    0.5 + jnp.sin(along * frequency * jnp.pi) / (0.05 + 2 * backdrop.blur * frequency),
    0,
    1,
  )
  other = backdrop.shape_colors[0, :3][None, None]
  return color + (other - color) * (opacity * soft)[..., None]


def _shape(
  color: Float[Array, "h w 3"],
  x: Float[Array, "h w"],
  y: Float[Array, "h w"],
  warp: Float[Array, "h w"],
  backdrop: Backdrop,
  k: Int[Array, ""],
) -> Float[Array, "h w 3"]:
  """Paints the k-th soft rectangle or ellipse."""
  cx, cy, wide, high, angle, roundness = backdrop.shapes[k]
  a, b = _turn(x - cx, y - cy, angle)
  p, q = jnp.abs(a) / wide, jnp.abs(b) / high
  box = jnp.maximum((p - 1) * wide, (q - 1) * high)
  ellipse = (jnp.sqrt(p * p + q * q + 1e-9) - 1) * jnp.minimum(wide, high)
  distance = box + (ellipse - box) * roundness + 0.1 * roundness * warp
  inside = jnp.clip(0.5 - distance / backdrop.blur, 0, 1)
  alpha = inside * inside * (3 - 2 * inside) * backdrop.shape_colors[k, 3]
  fill = backdrop.shape_colors[k, :3][None, None]
  return color + (fill - color) * alpha[..., None]
