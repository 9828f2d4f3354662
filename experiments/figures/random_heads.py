"""Draws `docs/images/random_heads.png`: 48 random people, each from two sides.

    python experiments/figures/random_heads.py [--output FILE] [--seed 0] [--neutral]

Half a minute on two cores. Identity and expression come from `affjax.heads.random`;
colours are only there to tell lips, brows and eyes from skin.
"""

import argparse
import pathlib

import jax.numpy as jnp
import numpy as np
from PIL import Image

from affjax.geometry import mesh
from affjax.heads import embedded, morphable, random
from affjax.types import Template

OUTPUT = pathlib.Path("docs/images/random_heads.png")
_COUNT, _ROW, _SIZE, _SUPERSAMPLE = 48, 8, 112, 3
_YAWS = (0.0, 40.0)
_SCALE, _CENTRE = 0.42, (0.0, -0.12)


def main() -> None:
  """Draws the sheet."""
  parser = argparse.ArgumentParser(description="Draws a sheet of random heads.")
  parser.add_argument("--output", type=pathlib.Path, default=OUTPUT)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--neutral", action="store_true", help="no expressions")
  arguments = parser.parse_args()
  model = embedded.load()
  rng = np.random.default_rng(arguments.seed)
  identity = random.sample_identity(rng, model, _COUNT)
  expression = random.sample_expression(
    rng, model, _COUNT, strength=0.0 if arguments.neutral else 1.0
  )
  heads = np.asarray(
    morphable.vertices(model, jnp.asarray(identity), jnp.asarray(expression))
  )
  sheet = np.concatenate(
    [
      np.concatenate([_pair(model.template, v, rng) for v in heads[k : k + _ROW]], 1)
      for k in range(0, _COUNT, _ROW)
    ]
  )
  image = Image.fromarray((np.clip(sheet, 0, 1) * 255).astype(np.uint8))
  image.quantize(192, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
  print(f"{arguments.output}: {image.size}, {arguments.output.stat().st_size} bytes")


def _pair(template: Template, vertices: np.ndarray, rng) -> np.ndarray:
  """One head from the front and, below, from a side."""
  texture = _texture(template, rng)
  side = _YAWS[1] * rng.choice([-1, 1])
  return np.concatenate(
    [_view(template, vertices, texture, yaw) for yaw in (_YAWS[0], side)]
  )


def _texture(template: Template, rng) -> np.ndarray:
  """A flat skin colour with lips, brows and eyes on it."""
  mask = template.masks
  melanin = rng.random()
  skin = np.array([0.94, 0.76, 0.66]) * (1 - melanin) + melanin * np.array(
    [0.38, 0.24, 0.17]
  )
  hair = np.array([0.14, 0.1, 0.07]) * rng.uniform(0.5, 2.5)
  texture = np.broadcast_to(skin, (*mask["skin"].shape, 3)).copy()
  for name, colour, amount in (
    ("lips", skin * [0.85, 0.6, 0.6], 0.8),
    ("brows", hair, 0.7),
    ("eyes", np.array([0.75, 0.7, 0.68]), 1.0),
  ):
    weight = mask[name][..., None] * amount
    texture = texture * (1 - weight) + colour * weight
  inside = np.array([0.45, 0.2, 0.18])
  nothing = 1 - sum(mask[n] for n in ("skin", "lips", "brows", "eyes", "scalp"))
  texture = np.where(np.clip(nothing, 0, 1)[..., None] > 0.5, inside, texture)
  return _with_teeth(_with_irises(texture, template, rng), template)


def _with_irises(texture, template, rng) -> np.ndarray:
  """Paints the irises around the middle of the eyes' islands."""
  iris = np.array([0.3, 0.22, 0.15]) * rng.uniform(0.6, 1.5)
  size = len(texture)
  eyes = template.uvs[np.unique(template.faces_uv[template.face_groups == 1])]
  x, y = np.meshgrid((np.arange(size) + 0.5) / size, 1 - (np.arange(size) + 0.5) / size)
  for side in (eyes[eyes[:, 0] > 0.5], eyes[eyes[:, 0] < 0.5]):
    middle, radius = (side.min(0) + side.max(0)) / 2, np.ptp(side[:, 0]) / 2
    distance = np.hypot(x - middle[0], y - middle[1]) / radius
    texture = np.where((distance < 0.25)[..., None], iris, texture)
    texture = np.where((distance < 0.12)[..., None], 0.05, texture)
  return texture


def _with_teeth(texture, template) -> np.ndarray:
  """Makes the teeth's islands white, but for the tongue, which fills the lowest."""
  size = len(texture)
  uvs = template.uvs[template.faces_uv[template.face_groups == 2]].mean(1)
  row, column = ((1 - uvs[:, 1]) * size).astype(int), (uvs[:, 0] * size).astype(int)
  # The two strips of teeth lie in the topmost twelfth of the square.
  white = uvs[:, 1] > 1 - 1 / 12
  for r, c in zip(row[white], column[white], strict=True):
    texture[max(r - 4, 0) : r + 5, max(c - 12, 0) : c + 13] = [0.85, 0.83, 0.78]
  return texture


def _view(template: Template, vertices, texture, yaw_deg: float) -> np.ndarray:
  """A shaded orthographic picture `[_SIZE, _SIZE, 3]`."""
  angle = np.radians(yaw_deg)
  c, s = np.cos(angle), np.sin(angle)
  posed = vertices @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
  size = _SIZE * _SUPERSAMPLE
  flat = (posed[:, :2] - _CENTRE) * [1, -1] * _SCALE * size + size / 2
  triangle, x, y, weight = _fragments(flat[template.faces], size)
  depth = (posed[template.faces[triangle], 2] * weight).sum(1)
  order = np.argsort(depth, kind="stable")
  normal = np.asarray(mesh.vertex_normals(jnp.asarray(posed), template.faces))
  normal = (normal[template.faces[triangle]] * weight[..., None]).sum(1)
  uv = (template.uvs[template.faces_uv[triangle]] * weight[..., None]).sum(1)
  place = np.clip((uv * [1, -1] + [0, 1]) * len(texture), 0, len(texture) - 1)
  colour = texture[place[:, 1].astype(int), place[:, 0].astype(int)]
  image = np.full((size, size, 3), 0.93)
  image[y[order], x[order]] = (colour * _shade(normal)[:, None])[order]
  blocks = image.reshape(_SIZE, _SUPERSAMPLE, _SIZE, _SUPERSAMPLE, 3)
  return blocks.mean((1, 3))


def _shade(normal: np.ndarray) -> np.ndarray:
  """Light from the upper left, a little from the right, and all around."""
  normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
  key, fill = np.array([-0.45, 0.55, 0.7]), np.array([0.9, 0.1, 0.4])
  return 0.4 + 0.6 * np.clip(normal @ key, 0, 1) + 0.15 * np.clip(normal @ fill, 0, 1)


def _fragments(corners: np.ndarray, size: int):
  """Pixels under front-facing triangles: triangle, x, y, barycentric weights."""

  def cross(p, q):
    return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]

  area = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
  low = np.maximum(np.ceil(corners.min(1)), 0).astype(int)
  high = np.minimum(np.floor(corners.max(1)), size - 1).astype(int)
  extent = np.maximum(high - low + 1, 0)
  # Image rows run down, so that triangles that face the viewer have negative area.
  count = np.where(area < -1e-9, extent.prod(1), 0)
  triangle = np.repeat(np.arange(len(corners)), count)
  number = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
  x = low[triangle, 0] + number % np.maximum(extent[triangle, 0], 1)
  y = low[triangle, 1] + number // np.maximum(extent[triangle, 0], 1)
  point = np.stack([x, y], -1)
  a, b, c = (corners[triangle, k] for k in range(3))
  weight = np.stack([cross(b - point, c - point), cross(c - point, a - point)], -1)
  weight = weight / area[triangle][:, None]
  weight = np.concatenate([weight, 1 - weight.sum(1, keepdims=True)], 1)
  inside = (weight >= -1e-9).all(1)
  return triangle[inside], x[inside], y[inside], weight[inside]


if __name__ == "__main__":
  main()
