"""Signed distances of simple solids, and ray marching towards them.

Objects other than the head (hair, clothes, hands) are solids: they are fast to draw at
any size, exact in depth, and have smooth edges without supersampling.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.geometry.camera import focal_ndc
from affjax.types import Camera

# A number, or an array of one number.
Number = float | Array
# Three numbers, one for each axis.
Triple = Sequence[Number] | Array


class Point(NamedTuple):
  """Points with separate coordinates: long inner axes make the march fast."""

  x: Array  # floats of one shape
  y: Array
  z: Array

  def stacked(self) -> Float[Array, "*b 3"]:
    """Returns the points with coordinates on the last axis."""
    return jnp.stack(list(self), -1)


Distance = Callable[[Point], Float[Array, "*b"]]


class Hit(NamedTuple):
  """The nearest approach of rays to a solid.

  Attributes:
    gap: distance between ray and solid, dm, at most 0 where they meet.
    distance: distance of the nearest approach along the unit ray, dm.
    point: place of the nearest approach, world space.
  """

  gap: Float[Array, "h w"]
  distance: Float[Array, "h w"]
  point: Point


def camera_rays(camera: Camera, size: int) -> tuple[Point, Point]:
  """Returns origin and unit directions `[size, size]` of the pixels' rays."""
  line = (jnp.arange(size) + 0.5) * (2 / size) - 1
  x, y = jnp.meshgrid(line, -line)
  slope = jnp.float32(1 / focal_ndc(camera))
  norm = length(x * slope, y * slope, jnp.ones_like(x))
  origin = Point(*jnp.array([0, 0, camera.distance], jnp.float32))
  return origin, Point(x * slope / norm, y * slope / norm, -1 / norm)


def march(
  solid: Distance,
  origin: Point,
  ray: Point,
  *,
  near: float,
  far: float,
  steps: int,
) -> Hit:
  """Finds the nearest approach of rays to a solid by sphere tracing (Hart 1996).

  Args:
    solid: Signed distance, world space, never larger than the true one.
    origin: Origin of all rays.
    ray: Unit directions.
    near: Distance at which the march begins, dm.
    far: Distance at which the march ends, dm.
    steps: Number of evaluations.
  """

  def at(t: Float[Array, "h w"]) -> Point:
    return Point(*(o + r * t for o, r in zip(origin, ray, strict=True)))

  def advance(
    _: Int[Array, ""], state: tuple[Array, Array, Array]
  ) -> tuple[Array, Array, Array]:
    t, best, where = state
    d = solid(at(t))
    closer = d < best
    best, where = jnp.where(closer, d, best), jnp.where(closer, t, where)
    t = jnp.minimum(t + jnp.where(d > 1e-3, jnp.maximum(d, 0.004), 0.0), far)
    return t, best, where

  begin = jnp.full(ray.x.shape, near, jnp.float32)
  state = (begin, jnp.full_like(begin, 1e3), begin)
  _, best, where = jax.lax.fori_loop(0, steps, advance, state)
  return Hit(best, where, at(where))


def gradient(solid: Distance, point: Point) -> Point:
  """Returns the unit outward normal by differences over a tetrahedron."""
  corners = jnp.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], jnp.float32)
  # Mapping compiles the solid's code only once.
  around = jax.vmap(
    lambda sign: solid(
      Point(*(v + 0.006 * s for v, s in zip(point, sign, strict=True)))
    )
  )(corners)
  total = [jnp.tensordot(corners[:, axis], around, 1) for axis in range(3)]
  norm = jnp.maximum(length(*total), 1e-9)
  return Point(*(v / norm for v in total))


def length(*parts: Float[Array, "*b"]) -> Float[Array, "*b"]:
  """Returns the Euclidean norm of coordinates, with a finite derivative at 0."""
  return jnp.sqrt(sum((v * v for v in parts), jnp.float32(1e-12)))


def transform(point: Point, matrix: Float[Array, "3 3"], origin: Triple) -> Point:
  """Returns `(p - origin) @ matrix`: the frame's axes are the columns."""
  x, y, z = (v - o for v, o in zip(point, origin, strict=True))
  return Point(
    *(x * matrix[0, j] + y * matrix[1, j] + z * matrix[2, j] for j in range(3))
  )


def ellipsoid(point: Point, radii: Triple) -> Float[Array, "*b"]:
  """Returns a bound of the distance to an axis-aligned ellipsoid at the origin."""
  scaled = [v / r for v, r in zip(point, radii, strict=True)]
  a = length(*scaled)
  b = length(*(v / r for v, r in zip(scaled, radii, strict=True)))
  return a * (a - 1) / jnp.maximum(b, 1e-6)


def capsule(point: Point, a: Triple, b: Triple, radius: Number) -> Float[Array, "*b"]:
  """Returns the distance to a segment from `a` to `b`, less `radius`."""
  axis = [q - p for p, q in zip(a, b, strict=True)]
  offset = [v - p for v, p in zip(point, a, strict=True)]
  along = sum(v * d for v, d in zip(offset, axis, strict=True))
  t = jnp.clip(along / sum(d * d for d in axis), 0, 1)
  return length(*(v - d * t for v, d in zip(offset, axis, strict=True))) - radius


def ray_to_segment(
  origin: Point, ray: Point, a: Triple, b: Triple
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
  """Returns the least distance of unit rays to a segment, and its place on the rays."""
  axis = [q - p for p, q in zip(a, b, strict=True)]
  offset = [o - p for o, p in zip(origin, a, strict=True)]
  dot = lambda u, v: sum(p * q for p, q in zip(u, v, strict=True))
  along, square = dot(ray, axis), dot(axis, axis)
  # The stationary point of |offset + t ray - s axis|, s limited to the segment.
  s = (dot(offset, axis) - dot(offset, ray) * along) / (square - along * along + 1e-6)
  s = jnp.clip(s, 0, 1)
  t = s * along - dot(offset, ray)
  gap = length(*(o + t * r - s * d for o, r, d in zip(offset, ray, axis, strict=True)))
  return gap, t


def torus(
  point: Point, wide: Number, deep: Number, radius: Number
) -> Float[Array, "*b"]:
  """Returns the approximate distance to an elliptic ring around the y axis."""
  across = (length(point.x / wide, point.z / deep) - 1) * jnp.minimum(wide, deep)
  return length(across, point.y) - radius


def moved(point: Point, x: Number, y: Number, z: Number) -> Point:
  """Returns points relative to `(x, y, z)`."""
  return Point(point.x - x, point.y - y, point.z - z)


def smooth_union(
  a: Float[Array, "*b"], b: Float[Array, "*b"], width: Number
) -> Float[Array, "*b"]:
  """Returns the smaller distance, blended where they differ by less than `width`."""
  h = jnp.clip(1 - jnp.abs(a - b) / width, 0, 1)
  return jnp.minimum(a, b) - h * h * width * 0.25


def smooth_cut(
  a: Float[Array, "*b"], b: Float[Array, "*b"], width: Number
) -> Float[Array, "*b"]:
  """Returns the distance to the intersection of two solids, its edge rounded."""
  return -smooth_union(-a, -b, width)
