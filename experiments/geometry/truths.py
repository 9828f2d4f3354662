"""The truth about the photos of a bank, on the points of the chart."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from affjax.faces._surface import chart as charts
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart, Components
from affjax.faces._surface.view import View
from affjax.geometry import rotation
from affjax.heads import MorphableModel, open_head, sample_expression
from affjax.render import interpolate, rasterize
from affjax.types import Camera
from experiments.geometry import bank

# Number of directions of expression.
EXPRESSIONS = 20
# Side of the raster that decides what is hidden, px, and its tolerance, dm.
_RASTER, _NEAR = 96, 0.06
# Least cosine towards the camera, and least share of visible skin, of a seen point.
_COSINE, _SKIN = 0.1, 0.5
# What mirroring does to coordinates; weight of points beside the face, and ridge.
_MIRROR = np.array([-1, 1, 1], np.float32)
_BESIDE, _RIDGE = 0.1, 1e-6
# Depths that are drawn, dm.
_PLANES = 0.5, 30.0


class Truth(NamedTuple):
  """Truth about N photos.

  Attributes:
    face: Components of the face, see `Chart`.
    points: The chart's points in head space, dm.
    world: The same in world space.
    places: Where they lie in the photo, dm.
    normals: x and y of their normals in camera space.
    seen: 1 where their skin is seen.
    distance: Distance of the camera, dm.
  """

  face: Float[Array, "n d"]
  points: Float[Array, "n p p 3"]
  world: Float[Array, "n p p 3"]
  places: Float[Array, "n p p 2"]
  normals: Float[Array, "n p p 2"]
  seen: Float[Array, "n p p 1"]
  distance: Float[Array, " n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
  """The embedded head with its chart."""

  model: MorphableModel
  components: Components
  chart: Chart


@functools.cache
def head() -> Head:
  """Returns the head; the directions of expression are the main ones of the source."""
  model = open_head("embedded")
  drawn = sample_expression(np.random.default_rng(612), model, 20_000)
  size, direction = np.linalg.eigh(np.cov(drawn.T))
  root = (direction * np.sqrt(np.maximum(size, 0)))[:, ::-1][:, :EXPRESSIONS]
  components = Components(
    len(model.identity_basis),
    drawn.mean(0).astype(np.float32),
    np.ascontiguousarray(root, np.float32),
  )
  return Head(model, components, charts.chart(model, components))


def truth(of: Head, shard: dict[str, np.ndarray]) -> Truth:
  """Returns the truth about a shard of the bank."""
  face = of.components.of(shard["identity"], shard["expression"])
  vertices = of.model.vertices(shard["identity"], shard["expression"])
  turn = jax.vmap(rotation.axis_angle_to_matrix)(jnp.asarray(shard["pose"][:, :3]))
  distance = np.full(len(face), shard["distance"], np.float32)
  view = View(turn, jnp.asarray(shard["pose"][:, 3:]), jnp.log(distance))
  mesh = jnp.asarray(of.model.template.faces)
  cells = jnp.asarray(vertices)[:, of_cells(of.model)[0]]
  cells = jnp.einsum("ncvx,cv->ncx", cells, of_cells(of.model)[1])
  rest = _truth(cells, jnp.asarray(vertices), mesh, view, jnp.asarray(shard["skin"]))
  return Truth(face, *map(np.asarray, rest), distance)


@functools.cache
def of_cells(model: MorphableModel) -> tuple[np.ndarray, np.ndarray]:
  """Returns the corners of the triangle under each cell, and their weights."""
  return charts.triangles(model.template)


@jax.jit
def _truth(
  cells: Float[Array, "n c 3"],
  vertices: Float[Array, "n v 3"],
  faces: Int[Array, "t 3"],
  view: View,
  skin: UInt8[Array, "n h h"],
) -> tuple[Array, ...]:
  n = len(cells)
  points = charts.points(cells)
  flat = points.reshape(n, -1, 3)
  grid = lambda x: x.reshape(*points.shape[:3], -1)
  world = grid(jax.vmap(views.world)(flat, view))
  places = grid(jax.vmap(views.places)(flat, view))
  normals = charts.normals(world)
  body = jax.vmap(views.world)(vertices, view)
  depth = jnp.exp(view.distance)[:, None] - body[..., 2]
  raster = rasterize(_clip(body, depth, view), faces, (_RASTER, _RASTER))
  front = interpolate(depth[..., None], raster, faces)
  px = views.places_px(places, Camera(), _RASTER)
  inside = (jnp.abs(px - (_RASTER - 1) / 2) < _RASTER / 2).all(-1, keepdims=True)
  own = jnp.exp(view.distance)[:, None, None, None] - world[..., 2:]
  share = _nearest(skin[..., None].astype(jnp.float32) / 255, px)
  seen = inside & (own < _nearest(front, px) + _NEAR) & (share > _SKIN)
  seen = seen & (normals[..., 2:] > _COSINE)
  return points, world, places, normals[..., :2], seen.astype(jnp.float32)


def _clip(
  body: Float[Array, "n v 3"], depth: Float[Array, "n v"], view: View
) -> Float[Array, "n v 4"]:
  """Projects vertices as the bank's camera at the view's distance does."""
  near, far = _PLANES
  z = ((far + near) * depth - 2 * far * near) / (far - near)
  focal = jnp.exp(view.distance)[:, None] / views.half_side(Camera())
  return jnp.stack([focal * body[..., 0], -focal * body[..., 1], z, depth], -1)


def _nearest(
  image: Float[Array, "n h h c"], px: Float[Array, "n p p 2"]
) -> Float[Array, "n p p c"]:
  at = jnp.clip(jnp.rint(px), 0, image.shape[1] - 1).astype(int)
  return jax.vmap(lambda x, k: x[k[..., 1], k[..., 0]])(image, at)


@functools.cache
def mirroring(of: Head) -> Float[np.ndarray, "d d"]:
  """Returns the matrix from components of faces to those of the mirrored faces.

  It is the regression of mirrored displacements of the chart's points on displacements.
  """
  modes = np.asarray(charts.points(of.chart.modes))
  weight = np.sqrt(np.asarray(of.chart.face) + _BESIDE)
  flat = lambda x: (x * weight[None]).reshape(len(x), -1)
  plain, back = flat(modes), flat(modes[:, :, ::-1] * _MIRROR)
  gram = plain @ plain.T
  return np.linalg.solve(
    gram + _RIDGE * np.trace(gram) * np.eye(len(gram)), plain @ back.T
  ).T.astype(np.float32)


def mirrored(of: Head, true: Truth) -> Truth:
  """Returns the truth about mirrored photos."""
  back = lambda x: x[:, :, ::-1] * _MIRROR[: x.shape[-1]]
  return Truth(
    true.face @ mirroring(of),
    back(true.points),
    back(true.world),
    back(true.places),
    back(true.normals),
    true.seen[:, :, ::-1],
    true.distance,
  )


class Photos:
  """All photos of a bank's split that are there, with the truth about them.

  With `twice`, each photo has an even number, and the next one when it is mirrored.
  """

  def __init__(
    self, of: Head, folder: pathlib.Path, split: str, *, twice: bool = False
  ):
    self.head, self.folder, self.split, self.twice = of, folder, split, twice
    self.names: list[str] = []
    self.photos: list[UInt8[np.ndarray, "n s s 3"]] = []
    self.truths: list[Truth] = []

  def refresh(self) -> int:
    """Reads new shards; returns the number of photos."""
    for file in sorted(self.folder.glob(f"{self.split}-*.npz")):
      if file.name not in self.names:
        with np.load(file, allow_pickle=False) as data:
          shard = {name: data[name] for name in data.files}
        self.names.append(file.name)
        self.photos.append(shard["photo"])
        self.truths.append(truth(self.head, shard))
    return len(self.names) * bank.SHARD * (1 + self.twice)

  def rows(self, numbers: Iterable[int]) -> tuple[UInt8[np.ndarray, "n s s 3"], Truth]:
    """Returns the photos of these numbers and the truth about them."""
    step = 1 + self.twice
    ks = np.array([int(k) for k in numbers])
    places = [divmod(int(k) // step, bank.SHARD) for k in ks]
    pick = lambda rows: np.stack([rows[i][j] for i, j in places])
    photos = pick(self.photos)
    true = Truth(*(pick(rows) for rows in zip(*self.truths, strict=True)))
    if not self.twice:
      return photos, true
    back = ks % 2 > 0
    choose = lambda a, b: np.where(back.reshape(-1, *[1] * (a.ndim - 1)), b, a)
    other = mirrored(self.head, true)
    return choose(photos, photos[:, :, ::-1]), jax.tree.map(choose, true, other)
