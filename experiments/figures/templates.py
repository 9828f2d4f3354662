"""Draws `docs/images/templates.png`: one head under three templates.

    python -m experiments.figures.templates [--output FILE] [--seed 5]

Half a minute on two cores. A row is a template: the position map (red, green, blue are
x, y, z; grey is outside the charts), the mesh read back from the map, from two sides,
and the mesh's lines. The head is a random one over the embedded template; the others
follow by `affjax.heads.retargeting`. Needs the folder that $AFFJAX_SHARED names for
MeInGame's head and ICT's (both MIT).
"""

import argparse
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax import render
from affjax.geometry import camera as cameras
from affjax.geometry import mesh, uv
from affjax.heads import Retargeter, open_head, sample_identity
from affjax.types import Camera, Template
from experiments.tables import heads_at_hand

OUTPUT = pathlib.Path("docs/images/templates.png")
_SIZE, _MAP, _SUPERSAMPLE = 288, 512, 3
_YAWS_DEG = (0.0, 38.0)
_CAMERA, _DOWN = Camera(distance=13.5), 0.3
_BACKGROUND = 0.93
_SPAN = 2.4


def main() -> None:
  """Draws the sheet."""
  parser = argparse.ArgumentParser(description="One head under three templates.")
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  parser.add_argument("--seed", type=int, default=5)
  arguments = parser.parse_args()
  model = open_head("embedded")
  rng = np.random.default_rng(arguments.seed)
  identity = sample_identity(rng, model, 1)
  names = list(model.expression_names)
  smile = np.zeros((1, len(names)), np.float32)
  smile[0, [names.index("mouthSmileLeft"), names.index("mouthSmileRight")]] = 0.6
  head = model.vertices(jnp.asarray(identity), jnp.asarray(smile))
  rows = [
    _row(template, Retargeter(model.template, template)(head)[0])
    for template in heads_at_hand.templates().values()
  ]
  image = Image.fromarray((np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8))
  image.quantize(255, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
  print(f"{arguments.output}: {image.size}, {arguments.output.stat().st_size} bytes")


def _row(template: Template, vertices: jax.Array) -> np.ndarray:
  table = uv.uv_table(template, _MAP, "exact")
  position = uv.map_from_vertices(vertices, table)
  shown = np.where(table.support[..., None], 0.5 + position / _SPAN, _BACKGROUND)
  cell = Image.fromarray((np.clip(shown, 0, 1) * 255).astype(np.uint8))
  cell = np.asarray(cell.resize((_SIZE, _SIZE), Image.Resampling.BOX)) / 255
  back = uv.vertices_from_map(position, table)
  views = _views(template, back, False), _views(template, back, True)[:1]
  cells = [_shrunk(np.asarray(view)) for both in views for view in both]
  return np.concatenate([cell, *cells], 1)


def _shrunk(picture: np.ndarray) -> np.ndarray:
  blocks = picture.reshape(_SIZE, _SUPERSAMPLE, _SIZE, _SUPERSAMPLE, 3)
  return blocks.mean((1, 3))


@functools.partial(jax.jit, static_argnums=(0, 2))
def _views(template: Template, vertices: jax.Array, lines: bool) -> jax.Array:
  """The mesh in clay, from the front and from a side; or with its lines."""
  pose = np.zeros((len(_YAWS_DEG), 6), np.float32)
  pose[:, 1], pose[:, 4] = np.radians(_YAWS_DEG), _DOWN
  many = jnp.broadcast_to(vertices, (len(pose), *vertices.shape))
  world = cameras.head_to_world(many, jnp.asarray(pose))
  pos = cameras.world_to_clip(world, _CAMERA)
  size = _SIZE * _SUPERSAMPLE
  rast = render.rasterize(pos, template.faces, (size, size))
  shade = _shade(mesh.vertex_normals(world, template.faces))
  color = render.interpolate(shade, rast, template.faces)
  color = color * jnp.array([0.87, 0.78, 0.72])
  if lines:
    edge = jnp.minimum(rast[..., :2].min(-1), 1 - rast[..., 0] - rast[..., 1])
    color = color * jnp.where(edge < 0.06, 0.45, 1.0)[..., None]
  mask = (rast[..., 3:] > 0).astype(jnp.float32)
  return color * mask + _BACKGROUND * (1 - mask)


def _shade(normal: jax.Array) -> jax.Array:
  """Light from the upper left, a little from the right, and all around."""
  key, fill = jnp.array([-0.45, 0.55, 0.7]), jnp.array([0.9, 0.1, 0.4])
  light = 0.35 + 0.6 * jnp.maximum(normal @ key, 0)
  return (light + 0.15 * jnp.maximum(normal @ fill, 0))[..., None]


if __name__ == "__main__":
  main()
