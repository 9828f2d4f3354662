"""Signed distances of simple solids, and the marching of camera rays towards them.

Things that are not the head (hair, clothes, hands) are solids: cheap to draw at any
size, exact in depth, and smooth at their edges without supersampling.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.types import Camera


class Point(NamedTuple):
  """Many points, their coordinates apart: long inner axes make the march fast."""

  x: Any  # float arrays of one shape
  y: Any
  z: Any

  def stacked(self) -> Float[Array, "*b 3"]:
    """The usual form, coordinates on the last axis."""
    return jnp.stack(list(self), -1)


Distance = Callable[[Point], Float[Array, "*b"]]


class Hit(NamedTuple):
  """Where rays meet a solid.

  Attributes:
    gap: distance between ray and solid, dm, at most 0 where they meet.
    distance: of the hit, or of the nearest approach, along the unit ray, dm.
    point: that place, world space.
  """

  gap: Float[Array, "h w"]
  distance: Float[Array, "h w"]
  point: Point


def camera_rays(camera: Camera, size: int) -> tuple[Point, Point]:
  """Origin and unit directions `[size, size]` of the pixels' rays, world space."""
  line = (jnp.arange(size) + 0.5) * (2 / size) - 1
  x, y = jnp.meshgrid(line, -line)
  slope = jnp.tan(jnp.deg2rad(jnp.float32(camera.fov_deg)) / 2)
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
  """Sphere tracing (Hart 1996) that remembers the nearest approach.

  Args:
    solid: signed distance, world space, never larger than the true one.
    origin: of all rays.
    ray: unit directions.
    near: distance at which the march begins.
    far: distance at which it gives up.
    steps: how many evaluations.
  """

  def at(t):
    return Point(*(o + r * t for o, r in zip(origin, ray, strict=True)))

  def advance(_, state):
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
  """Unit outward normal by differences over a tetrahedron."""
  corners = jnp.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], jnp.float32)
  # Mapped, not written out: the solid's code is compiled once.
  around = jax.vmap(
    lambda sign: solid(
      Point(*(v + 0.006 * s for v, s in zip(point, sign, strict=True)))
    )
  )(corners)
  total = [jnp.tensordot(corners[:, axis], around, 1) for axis in range(3)]
  norm = jnp.maximum(length(*total), 1e-9)
  return Point(*(v / norm for v in total))


def length(*parts: Float[Array, "*b"]) -> Float[Array, "*b"]:
  """Euclidean norm of coordinates, with a finite derivative at 0."""
  return jnp.sqrt(sum((v * v for v in parts), jnp.float32(1e-12)))


def transform(point: Point, matrix: Float[Array, "3 3"], origin) -> Point:
  """`(p - origin) @ matrix`: coordinates in the frame whose axes are the columns."""
  p = [v - o for v, o in zip(point, origin, strict=True)]
  return Point(*(sum(p[i] * matrix[i, j] for i in range(3)) for j in range(3)))


def ellipsoid(point: Point, radii) -> Float[Array, "*b"]:
  """A bound of the distance to an axis-aligned ellipsoid at the origin."""
  scaled = [v / r for v, r in zip(point, radii, strict=True)]
  a = length(*scaled)
  b = length(*(v / r for v, r in zip(scaled, radii, strict=True)))
  return a * (a - 1) / jnp.maximum(b, 1e-6)


def capsule(point: Point, a, b, radius) -> Float[Array, "*b"]:
  """Distance to a segment from `a` to `b`, less `radius`."""
  axis = [q - p for p, q in zip(a, b, strict=True)]
  offset = [v - p for v, p in zip(point, a, strict=True)]
  along = sum(v * d for v, d in zip(offset, axis, strict=True))
  t = jnp.clip(along / sum(d * d for d in axis), 0, 1)
  return length(*(v - d * t for v, d in zip(offset, axis, strict=True))) - radius


def ray_to_segment(origin: Point, ray: Point, a, b):
  """Least distance between unit rays and a segment, and where along the rays it is."""
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


def torus(point: Point, wide, deep, radius) -> Float[Array, "*b"]:
  """About the distance to an elliptic ring around the y axis."""
  across = (length(point.x / wide, point.z / deep) - 1) * jnp.minimum(wide, deep)
  return length(across, point.y) - radius


def moved(point: Point, x, y, z) -> Point:
  """The point seen from `(x, y, z)`."""
  return Point(point.x - x, point.y - y, point.z - z)


def smooth_union(a: Float[Array, "*b"], b: Float[Array, "*b"], width):
  """The nearer of two distances, blended where they differ by less than `width`."""
  h = jnp.clip(1 - jnp.abs(a - b) / width, 0, 1)
  return jnp.minimum(a, b) - h * h * width * 0.25


def smooth_cut(a: Float[Array, "*b"], b: Float[Array, "*b"], width):
  """The intersection of two solids, its edge rounded."""
  return -smooth_union(-a, -b, width)
