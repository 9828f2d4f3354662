"""Photos of people whose shape is changed by warping, without painting them again.

A painted photo shows one identity, and a network that sees it often learns it by heart.
A warped one shows another identity in the same place, light and expression: each point
of the surface is moved in the photo to where it lies on the other head. Shading,
shadows and what is hidden stay those of the painted head, therefore both heads are
alike.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces._surface import chart as charts
from affjax.faces._surface import view as views
from affjax.faces._surface.chart import Chart
from affjax.ops import average_pool, bilinear, resize_bilinear
from affjax.types import Camera
from experiments.geometry import rigid
from experiments.geometry.truths import Truth

# Share of photos that are changed, and the largest angle between old and new identity.
_SHARE, _FARTHEST = 0.75, math.radians(70)
# Side of the grid of displacements, and of the coarsest level that fills its gaps.
_GRID, _COARSEST = 48, 6
# Weight of zero displacement in a cell of a level that knows little.
_STILL = 0.1
# Cosine towards the camera at which a point counts fully.
_FACING = 0.4


def reshaped(
  key: Array, chart: Chart, photo: Float[Array, "n s s 3"], true: Truth, identity: int
) -> tuple[Float[Array, "n s s 3"], Truth]:
  """Returns photos of other people, and the truth about them.

  Args:
    key: Random key.
    chart: Chart of the head.
    photo: Photos in [0, 1].
    true: Truth about the photos.
    identity: Number of identity components, which come first.
  """
  which, far, other = jax.random.split(key, 3)
  n, d = true.face.shape
  angle = jax.random.uniform(far, (n, 1), maxval=_FARTHEST)
  angle = angle * jax.random.bernoulli(which, _SHARE, (n, 1))
  drawn = jax.random.normal(other, (n, d))
  mixed = jnp.cos(angle) * true.face + jnp.sin(angle) * drawn
  face = jnp.where(jnp.arange(d)[None] < identity, mixed, true.face)
  changed = moved(chart, true, face)
  return warped(photo, true, changed), changed


def moved(chart: Chart, true: Truth, face: Float[Array, "n d"]) -> Truth:
  """Returns the truth about the same photos of other faces."""
  change = charts.points(jnp.tensordot(face - true.face, chart.modes, 1))
  flat = lambda x: x.reshape(len(face), -1, x.shape[-1])
  grid = lambda x: x.reshape(*true.points.shape[:3], -1)
  even = jnp.ones(true.points.shape[1] * true.points.shape[2])
  turn, shift = jax.vmap(rigid.superposed, (0, 0, None))(
    flat(true.points), flat(true.world), even
  )
  points = true.points + change
  view = views.View(turn, shift, jnp.log(true.distance))
  world = grid(jax.vmap(views.world)(flat(points), view))
  places = grid(jax.vmap(views.places)(flat(points), view))
  normals = charts.normals(world)[..., :2]
  return true._replace(
    face=face, points=points, world=world, places=places, normals=normals
  )


def warped(
  photo: Float[Array, "n s s 3"], old: Truth, new: Truth
) -> Float[Array, "n s s 3"]:
  """Returns photos in which the points of the surface lie where they lie anew."""
  side = photo.shape[1]
  px = lambda places, size: views.places_px(places, Camera(), size)
  facing = charts.normals(new.world)[..., 2:]
  weight = jnp.clip(facing / _FACING, 0, 1)
  shift = px(new.places, side) - px(old.places, side)
  field = _spread(px(new.places, _GRID), shift, weight)
  fine = resize_bilinear(field, (side, side))
  row, column = jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij")
  at = jnp.stack([column, row], -1)[None] - fine
  return bilinear(photo, jnp.clip(at, 0, side - 1))


def _spread(
  at: Float[Array, "n p p 2"],
  values: Float[Array, "n p p 2"],
  weight: Float[Array, "n p p 1"],
) -> Float[Array, "n g g 2"]:
  """Returns values on a grid, as a pyramid of weighted means, zero far from all."""
  n = len(at)
  known = jnp.concatenate([values * weight, weight], -1).reshape(n, -1, 3)
  low = jnp.floor(at).reshape(n, -1, 2)
  share = at.reshape(n, -1, 2) - low
  level = jnp.zeros((n, _GRID * _GRID, 3))
  for right in (0, 1):
    for down in (0, 1):
      cell = low.astype(int) + jnp.array([[[right, down]]])
      inside = ((cell >= 0) & (cell < _GRID)).all(-1)
      number = jnp.where(inside, cell[..., 1] * _GRID + cell[..., 0], _GRID * _GRID)
      part = jnp.abs(1 - right - share[..., 0]) * jnp.abs(1 - down - share[..., 1])
      add = lambda x, k, v: x.at[k].add(v, mode="drop")
      level = jax.vmap(add)(level, number, known * part[..., None])
  levels = [level.reshape(n, _GRID, _GRID, 3)]
  while levels[-1].shape[1] > _COARSEST:
    levels.append(average_pool(levels[-1], 2))
  result = jnp.zeros((n, _COARSEST, _COARSEST, 2))
  for level in reversed(levels):
    result = resize_bilinear(result, level.shape[1:3])
    total, count = level[..., :2], level[..., 2:]
    result = (total + _STILL * result) / (count + _STILL)
  return result
