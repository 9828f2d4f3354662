"""A chart of the face: a grid of points on the surface of the head.

Columns are angles around a vertical axis through the head and rows are heights, both
measured on the mean head. Nothing is hidden behind anything else in it, and the eyes
lie where they are seen, so that a photo can be drawn into the chart by looking up where
each of its points lies in the photo.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from affjax import compilation
from affjax.assets import store
from affjax.geometry import uv
from affjax.heads import MorphableModel, open_head
from affjax.render import rasterize
from affjax.types import ArrayLike, Template, per_template

# Name of the asset.
ASSET = "surface.npz"
# Cells of a side, points of a side (each the mean of 2 x 2 cells), and the samples of
# the photo in a cell's side.
CELLS, POINTS, SAMPLES = 64, 32, 3
# Largest angle, and range of heights (dm), on the mean head; the axis lies behind the
# head's origin (dm).
_ANGLE, _LOW, _HIGH, _BEHIND = math.radians(100), -1.22, 1.0, 0.25
# Triangles that reach farther around the head than this are left out.
_SEAM = math.radians(150)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Chart:
  """The chart of a morphable model; lengths in dm.

  The D components of a face are the identity modes, then E directions in which
  expressions vary; all of them are independent standard normal in people.

  Attributes:
    mean: Points of the cells on the mean head with the mean expression, row by row.
    modes: Displacements of the points at component 1.
    face: How far each of the chart's points belongs to the face, in [0, 1].
  """

  mean: Float[ArrayLike, "c 3"]
  modes: Float[ArrayLike, "d c 3"]
  face: Float[ArrayLike, "p p 1"]

  def cells(self, face: Float[Array, "*n d"]) -> Float[Array, "*n c 3"]:
    """Returns the points of the cells of faces."""
    moved = jnp.tensordot(face, self.modes, 1)
    return jnp.broadcast_to(self.mean, moved.shape) + moved


@dataclasses.dataclass(frozen=True, eq=False)
class Components:
  """The meaning of a face's components as coefficients of the embedded head.

  Attributes:
    identity: Number of identity components, which come first.
    expression_mean: Mean of the expression coefficients of people.
    expression_root: Changes of the E coefficients by the components of expression.
  """

  identity: int
  expression_mean: Float[np.ndarray, " e"]
  expression_root: Float[np.ndarray, "e c"]

  def coefficients(
    self, face: Float[np.ndarray, "n d"]
  ) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n e"]]:
    """Returns identity and expression coefficients of faces."""
    change = face[:, self.identity :] @ self.expression_root.T
    expression = np.clip(self.expression_mean + change, 0, 1)
    return face[:, : self.identity].astype(np.float32), expression.astype(np.float32)

  def of(
    self, identity: Float[np.ndarray, "n k"], expression: Float[np.ndarray, "n e"]
  ) -> Float[np.ndarray, "n d"]:
    """Returns the components of coefficients, by least squares for the expression."""
    change = (expression - self.expression_mean) @ np.linalg.pinv(
      self.expression_root
    ).T
    return np.concatenate([identity, change], 1).astype(np.float32)


def components(model: MorphableModel, arrays: Mapping[str, np.ndarray]) -> Components:
  """Returns what the arrays of `experiments.geometry.measure` say about components."""
  return Components(
    len(model.identity_basis),
    arrays["expression_mean"].astype(np.float32),
    arrays["expression_root"].astype(np.float32),
  )


def reads_surface_of(model: MorphableModel) -> bool:
  """Returns whether `fit_surface` reads a model off pixels: only the embedded head."""
  own = open_head("embedded")
  return model is own or (
    model.identity_basis.shape == own.identity_basis.shape
    and np.array_equal(model.template.faces, own.template.faces)
  )


@functools.lru_cache(maxsize=2)
def load(model: MorphableModel) -> tuple[Chart, Components]:
  """Returns the chart and the components of the embedded head."""
  found = components(model, store.open_asset(ASSET))
  return chart(model, found), found


def chart(model: MorphableModel, made_of: Components) -> Chart:
  """Returns the chart of a model."""
  template = model.template
  mean, modes = on_vertices(model, made_of)
  face = on_cells(template, _on_vertices(template, "face")[:, None])
  return Chart(
    on_cells(template, mean), on_cells(template, modes), points(face[None])[0]
  )


def on_cells(
  template: Template, vectors: Float[np.ndarray, "*n v k"]
) -> Float[np.ndarray, "*n c k"]:
  """Returns vectors of vertices, such as positions, at the cells of the chart."""
  corners, weights = triangles(template)
  a, b, c = (vectors[..., corners[:, k], :] * weights[:, k, None] for k in range(3))
  return (a + b + c).astype(np.float32)


def on_vertices(
  model: MorphableModel, made_of: Components
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, "d v 3"]]:
  """Returns the mean head with the mean expression, and what components change, dm."""
  mean = np.tensordot(made_of.expression_mean, model.expression_basis, 1)
  expression = np.tensordot(made_of.expression_root.T, model.expression_basis, 1)
  modes = np.concatenate([model.identity_basis, expression])
  return model.template.vertices + mean, modes


def points(cells: Float[ArrayLike, "n c k"]) -> Any:
  """Returns the means of blocks of 2 x 2 cells, `[N, P, P, K]`, of the same kind."""
  n, _, k = cells.shape
  return cells.reshape(n, POINTS, 2, POINTS, 2, k).mean((2, 4))


def normals(surface: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
  """Returns unit normals of a grid of points, by central differences."""
  edge = lambda x, pad: jnp.pad(x, ((0, 0), *pad, (0, 0)), mode="edge")
  right = edge(surface[:, :, 2:] - surface[:, :, :-2], ((0, 0), (1, 1)))
  down = edge(surface[:, 2:] - surface[:, :-2], ((1, 1), (0, 0)))
  normal = jnp.cross(right, -down)
  length = jnp.linalg.norm(normal, axis=-1, keepdims=True)
  return normal / jnp.maximum(length, 1e-6)


def place_on_chart(
  vertices: Float[np.ndarray, "v 3"],
) -> Float[np.ndarray, "v 2"]:
  """Returns where points of the mean head lie in the chart, in [-1, 1], y down."""
  x, y, z = np.asarray(vertices, np.float64).T
  angle = np.arctan2(x, z + _BEHIND)
  height = (y - _LOW) / (_HIGH - _LOW) * 2 - 1
  return np.stack([angle / _ANGLE, -height], 1)


@per_template
def triangles(
  template: Template,
) -> tuple[Int[np.ndarray, "c 3"], Float[np.ndarray, "c 3"]]:
  """Returns the corners of the outermost triangle of each cell, and their weights."""
  at = place_on_chart(template.vertices)
  _, _, z = template.vertices.T
  radius = np.hypot(template.vertices[:, 0], z + _BEHIND)
  drawn = np.stack([*at.T, -radius / 3, np.ones(len(at))], 1).astype(np.float32)
  inside = (np.abs(at[template.faces, 0]) < _SEAM / _ANGLE).all(1)
  faces = template.faces[inside]
  with jax.ensure_compile_time_eval():
    raster = np.asarray(_raster(drawn[None], faces, size=(CELLS, CELLS)))[0]
  first, second, _, number = raster.reshape(-1, 4).T
  weights = np.stack([first, second, 1 - first - second], 1)
  return faces[number.astype(int) - 1], weights.astype(np.float32)


@compilation.saved(static_argnames=("size",), kernels=("rasterizer",))
def _raster(
  points: Float[ArrayLike, "1 v 4"],
  faces: Int[ArrayLike, "t 3"],
  *,
  size: tuple[int, int],
) -> Float[Array, "1 h w 4"]:
  return rasterize(points, faces, size)


def _on_vertices(template: Template, name: str) -> Float[np.ndarray, " v"]:
  """Returns the largest value of a mask at the corners of each vertex."""
  size = 512
  mask = uv.resize_mask(template.masks[name], size)
  u, v = template.uvs.T
  at = lambda x: np.clip(np.rint(x), 0, size - 1).astype(int)
  value = mask[at((1 - v) * size - 0.5), at(u * size - 0.5)]
  out = np.zeros(len(template.vertices), np.float32)
  np.maximum.at(out, template.faces.ravel(), value[template.faces_uv.ravel()])
  return out
