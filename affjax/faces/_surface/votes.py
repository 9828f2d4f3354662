"""What a photo says about the anchors.

The pixels whose surface point lies near an anchor vote on the anchor's place: a linear
map from the surface to the photo is fitted to them and evaluated at the anchor.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.faces._surface.anchors import Anchors
from affjax.types import ArrayLike, Camera

# Reach of the votes on the mean head, dm.
_REACH = 0.07
# Least number of pixels that must vote, and the largest distance of their middle.
_LEAST, _GAP = 2.0, 0.15
# Share of visible skin from which on a pixel votes.
_SKIN = 0.3
# Deviation (dm) below which pixels are not told apart, and the spread (dm) of votes in
# which the linear map is not trusted.
_FLOOR, _FLAT = 0.01, 0.02


class Maps(NamedTuple):
  """What the Q x Q blocks of pixels of aligned photos show.

  Attributes:
    points: Point of the mean head, dm.
    normals: Normal in camera space, of any length.
    deviations: Expected absolute error of a component of `points` (dm) and `normals`.
    skin: Share of visible skin.
  """

  points: Float[ArrayLike, "*n q q 3"]
  normals: Float[ArrayLike, "*n q q 3"]
  deviations: Float[ArrayLike, "*n q q 2"]
  skin: Float[ArrayLike, "*n q q 1"]


class Observed(NamedTuple):
  """What a photo says; places in dm at the distance of the head's origin, y up.

  Attributes:
    places: Places of the anchors.
    normals: Unit normals around them in camera space.
    deviations: Deviations that the network predicts of both.
    seen: 1 for anchors that are seen, 0 for others.
    mesh: Places of FaceMesh's points.
    mesh_seen: 1 if they are known.
  """

  places: Float[Array, "*n a 2"]
  normals: Float[Array, "*n a 3"]
  deviations: Float[Array, "*n a 2"]
  seen: Float[Array, "*n a"]
  mesh: Float[Array, "*n m 2"]
  mesh_seen: Float[Array, "*n"]


def half_side(camera: Camera) -> float:
  """Returns half the side of a photo at the distance of the head's origin, dm."""
  return camera.distance * math.tan(math.radians(camera.fov_deg) / 2)


def places_of_ndc(ndc: Float[Array, "*n 2"], camera: Camera) -> Float[Array, "*n 2"]:
  """Returns places of image coordinates in [-1, 1]."""
  half = half_side(camera)
  return jnp.stack([half * ndc[..., 0], -half * ndc[..., 1]], -1)


def observe(
  anchors: Anchors,
  maps: Maps,
  mesh_ndc: Float[Array, "m 2"],
  camera: Camera,
) -> Observed:
  """Returns what one photo says.

  Args:
    anchors: Anchors on the head.
    maps: Answer of the geometry network. Pixels that are not finite do not vote.
    mesh_ndc: FaceMesh's points in image coordinates, NaN where there are none.
    camera: Camera of the photo.
  """
  pixels = _pixels(maps, camera)
  place, normal, deviations, seen = _votes(anchors.points, *pixels)
  mesh = places_of_ndc(mesh_ndc, camera)
  known = jnp.isfinite(mesh).all()
  return Observed(
    place,
    normal,
    deviations,
    seen.astype(jnp.float32),
    jnp.where(known, mesh, 0.0),
    known.astype(jnp.float32),
  )


def _pixels(maps: Maps, camera: Camera) -> tuple[Array, Array, Array, Array, Array]:
  """Returns places, points, normals, deviations and weights of all pixels."""
  q = maps.points.shape[0]
  line = (jnp.arange(q) + 0.5) * (2 / q) - 1
  grid = jnp.stack(jnp.meshgrid(line, line), -1)
  length = jnp.linalg.norm(maps.normals, axis=-1, keepdims=True)
  values = (maps.points, maps.normals / jnp.maximum(length, 1e-6), maps.deviations)
  together = _flat(jnp.concatenate([*values, maps.skin], -1))
  whole = jnp.isfinite(together).all(1)
  together = jnp.where(whole[:, None], together, 1.0)
  points, normals, deviations, skin = jnp.split(together, (3, 6, 8), 1)
  share = jnp.where(whole & (skin[:, 0] > _SKIN), skin[:, 0], 0.0)
  return places_of_ndc(_flat(grid), camera), points, normals, deviations, share


def _votes(
  anchors: Float[Array, "a 3"],
  places: Float[Array, "p 2"],
  points: Float[Array, "p 3"],
  normals: Float[Array, "p 3"],
  deviations: Float[Array, "p 2"],
  share: Float[Array, " p"],
) -> tuple[Array, Array, Array, Array]:
  """Returns places, normals and deviations of the anchors, and which are seen."""
  weight = share * _FLOOR**2 / (deviations[:, 0] ** 2 + _FLOOR**2)
  one = jnp.ones_like(weight)[:, None]
  # One affine camera for all pixels; what it leaves is fitted around each anchor.
  known = jnp.concatenate([points, one], 1)
  equations = (known * weight[:, None]).T @ known + 1e-6 * jnp.eye(4) * (
    1e-9 + weight.sum()
  )
  affine = jnp.linalg.solve(equations, (known * weight[:, None]).T @ places)
  left = places - known @ affine
  square = (anchors**2).sum(1)[:, None] - 2 * anchors @ points.T
  square = jnp.maximum(square + (points**2).sum(1)[None], 0)
  near = jnp.exp(-0.5 * square / (_REACH**2 + deviations[:, 0] ** 2)[None])
  sums = (near * weight[None]) @ jnp.concatenate(
    [one, points, _outer(points, points), left, _outer(points, left), normals,
     jnp.log(deviations)], 1
  )  # fmt: skip
  means = sums[:, 1:] / jnp.maximum(sums[:, :1], 1e-12)
  middle, second, rest, mixed, normal, log = jnp.split(means, (3, 12, 14, 20, 23), 1)
  off = middle - anchors
  # Moments about the anchor.
  second = (
    second
    - _outer(anchors, middle)
    - _outer(middle, anchors)
    + _outer(anchors, anchors)
  )
  mixed = (mixed - _outer(anchors, rest)).reshape(-1, 3, 2)
  second = second.reshape(-1, 3, 3) + _FLAT**2 * jnp.eye(3)[None]
  head = jnp.concatenate([jnp.ones((len(off), 1, 1)), off[:, None]], 2)
  lower = jnp.concatenate([off[:, :, None], second], 2)
  right = jnp.concatenate([rest[:, None], mixed], 1)
  shift = jnp.linalg.solve(jnp.concatenate([head, lower], 1), right)[:, 0]
  place = jnp.concatenate([anchors, jnp.ones((len(off), 1))], 1) @ affine + shift
  seen = (near @ share > _LEAST) & (jnp.linalg.norm(off, axis=1) < _GAP)
  length = jnp.linalg.norm(normal, axis=1, keepdims=True)
  return place, normal / jnp.maximum(length, 1e-9), jnp.exp(log), seen


def _flat(x: Float[Array, "q q c"]) -> Float[Array, "p c"]:
  return x.reshape(x.shape[0] * x.shape[1], -1)


def _outer(x: Float[Array, "a i"], y: Float[Array, "a j"]) -> Float[Array, "a ij"]:
  """Returns the products of all pairs of components, row by row."""
  return (x[:, :, None] * y[:, None]).reshape(len(x), -1)
