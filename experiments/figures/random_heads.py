"""Draws `docs/images/random_heads.png`: 48 random people, each from two sides.

    python -m experiments.figures.random_heads [--output FILE] [--seed 0] [--neutral]

A minute on two cores. Identity and expression come from `affjax.heads.random`; colours
are only there to tell lips, brows and eyes from skin.
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax.geometry import camera as cameras
from affjax.geometry import mesh, uv
from affjax.heads import open_head, sample_expression, sample_identity
from affjax.render import composite, render_head
from affjax.types import Camera, Template

OUTPUT = pathlib.Path("docs/images/random_heads.png")
_COUNT, _ROW, _SIZE, _SUPERSAMPLE = 48, 8, 112, 2
_YAW_DEG = 40.0
_CAMERA, _DOWN = Camera(distance=11.6), 0.18
_BACKGROUND = 0.93


def main() -> None:
  """Draws the sheet."""
  parser = argparse.ArgumentParser(description="Draws a sheet of random heads.")
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--neutral", action="store_true", help="no expressions")
  arguments = parser.parse_args()
  model = open_head("embedded")
  rng = np.random.default_rng(arguments.seed)
  identity = sample_identity(rng, model, _COUNT)
  strength = 0.0 if arguments.neutral else 1.0
  expression = sample_expression(rng, model, _COUNT, strength=strength)
  heads = model.vertices(jnp.asarray(identity), jnp.asarray(expression))
  pictures = [_pair(model.template, vertices, rng) for vertices in heads]
  rows = [
    np.concatenate(pictures[k : k + _ROW], 1) for k in range(0, len(pictures), _ROW)
  ]
  sheet = np.clip(np.concatenate(rows), 0, 1)
  image = Image.fromarray((sheet * 255).astype(np.uint8))
  image.quantize(192, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
  print(f"{arguments.output}: {image.size}, {arguments.output.stat().st_size} bytes")


def _pair(template: Template, vertices: jax.Array, rng) -> np.ndarray:
  """One head from the front and, below, from a side."""
  colours = jnp.asarray(_texture(template, rng), jnp.float32)
  pose = np.zeros((2, 6), np.float32)
  pose[1, 1] = np.radians(_YAW_DEG) * rng.choice([-1, 1])
  pose[:, 4] = _DOWN
  views = np.asarray(_views(template, vertices, colours, jnp.asarray(pose)))
  blocks = views.reshape(2 * _SIZE, _SUPERSAMPLE, _SIZE, _SUPERSAMPLE, 3)
  return blocks.mean((1, 3))


@functools.partial(jax.jit, static_argnums=0)
def _views(template: Template, vertices, colours, pose):
  """Shaded pictures, one for each pose, over a plain background."""
  world = cameras.head_to_world(jnp.broadcast_to(vertices, (2, *vertices.shape)), pose)
  light = uv.map_from_vertices(
    _shade(mesh.vertex_normals(world, template.faces)),
    uv.uv_table(template, len(colours)),
  )
  size = _SIZE * _SUPERSAMPLE
  render, alpha = render_head(
    world, light * colours[None], template, _CAMERA, (size, size)
  )
  background = jnp.full_like(render, _BACKGROUND)
  return composite(background, render, alpha)


def _shade(normal):
  """Light from the upper left, a little from the right, and all around."""
  key, fill = jnp.array([-0.45, 0.55, 0.7]), jnp.array([0.9, 0.1, 0.4])
  light = (
    0.4 + 0.6 * jnp.maximum(normal @ key, 0) + 0.15 * jnp.maximum(normal @ fill, 0)
  )
  return light[..., None]


def _texture(template: Template, rng) -> np.ndarray:
  """A flat skin colour with lips, brows, eyes and teeth on it."""
  mask = template.masks
  melanin = rng.random()
  light, dark = np.array([0.94, 0.76, 0.66]), np.array([0.38, 0.24, 0.17])
  skin = light * (1 - melanin) + dark * melanin
  hair = np.array([0.14, 0.1, 0.07]) * rng.uniform(0.5, 2.5)
  texture = np.broadcast_to(skin, (*mask["skin"].shape, 3))
  for name, colour, amount in (
    ("lips", skin * [0.85, 0.6, 0.6], 0.8),
    ("brows", hair, 0.7),
    ("eyes", np.array([0.8, 0.75, 0.73]), 1.0),
    ("mouth", np.array([0.45, 0.2, 0.18]), 1.0),
  ):
    weight = mask[name][..., None] * amount
    texture = texture * (1 - weight) + colour * weight
  return _with_teeth(_with_irises(texture, template, rng))


def _with_irises(texture, template, rng) -> np.ndarray:
  """Paints the irises around the middle of the eyes' islands."""
  iris = np.array([0.3, 0.22, 0.15]) * rng.uniform(0.6, 1.5)
  place = (np.arange(len(texture)) + 0.5) / len(texture)
  x, y = np.meshgrid(place, 1 - place)
  eyes = template.uvs[np.unique(template.faces_uv[template.face_groups == 1])]
  for side in (eyes[eyes[:, 0] > 0.5], eyes[eyes[:, 0] < 0.5]):
    middle, radius = (side.min(0) + side.max(0)) / 2, np.ptp(side[:, 0]) / 2
    distance = np.hypot(x - middle[0], y - middle[1]) / radius
    for size, colour in ((0.25, iris), (0.12, np.full(3, 0.04))):
      weight = np.clip((size - distance) * 25 + 0.5, 0, 1)[..., None]
      texture = texture * (1 - weight) + colour * weight
  return texture


def _with_teeth(texture) -> np.ndarray:
  """Whitens the two strips of teeth, which lie in the topmost twelfth of the square."""
  texture = texture.copy()
  rows, corner = round(len(texture) * 0.081), round(len(texture) * 0.17)
  for columns in (slice(0, corner), slice(-corner, None)):
    island = texture[:rows, columns]
    island[island[..., 0] < 0.46] = [0.85, 0.83, 0.78]
  return texture


if __name__ == "__main__":
  main()
