"""Depth maps in the camera of Unsup3D: points, normals, views and projection.

The camera stands at the origin and looks along +z; x is to the right and y down, as the
columns and rows of a picture. Its unit is the distance of the face: depths are about 1.
The centers of the outermost pixels are seen at half of `FOV_DEG`, so that the focal
length is `(S - 1) / 2 / tan(FOV_DEG / 2)` for S pixels. A view is six numbers: angles
about x, y and z (radians), applied in this order about the point at depth 1, and a
translation.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.geometry import rotation
from affjax.types import ArrayLike, Camera

FOV_DEG = 10.0
"""Angle between the centers of the first and the last pixel of a row, degrees."""

CENTER = (0.0, 0.0, 1.0)
"""The point about which a view turns."""

_TANGENT = math.tan(math.radians(FOV_DEG / 2))


def rays(size: int) -> Float[Array, "s s 3"]:
  """Returns the points at depth 1 that the pixels of a square picture show."""
  middle = (size - 1) / 2
  line = (jnp.arange(size) - middle) * (_TANGENT / middle)
  x, y = jnp.meshgrid(line, line)
  return jnp.stack([x, y, jnp.ones_like(x)], -1)


def depth_to_points(depth: Float[ArrayLike, "*b s s"]) -> Float[Array, "*b s s 3"]:
  """Returns the point that each pixel of a depth map shows."""
  depth = jnp.asarray(depth)
  line = rays(depth.shape[-1]).reshape((1,) * (depth.ndim - 2) + (*depth.shape[-2:], 3))
  return depth[..., None] * line


def depth_to_normals(depth: Float[ArrayLike, "*b s s"]) -> Float[Array, "*b s s 3"]:
  """Returns unit normals of depth maps; (0, 0, 1) on the border.

  They are cross products of central differences of the points, and point away from the
  camera, as Unsup3D's do: a wall in front of the camera has (0, 0, 1).
  """
  points = depth_to_points(depth)
  across = points[..., 1:-1, 2:, :] - points[..., 1:-1, :-2, :]
  down = points[..., 2:, 1:-1, :] - points[..., :-2, 1:-1, :]
  normal = jnp.cross(across, down)
  # Where a depth of zero leaves no area, neither value nor gradient may be NaN.
  square = jnp.sum(normal * normal, -1, keepdims=True)
  empty = square < 1e-24
  length = jnp.sqrt(jnp.where(empty, 1.0, square))
  wall = jnp.zeros_like(points).at[..., 2].set(1.0)
  return wall.at[..., 1:-1, 1:-1, :].set(jnp.where(empty, 0.0, normal / length))


def points_to_px(points: Float[ArrayLike, "*b 3"], size: int) -> Float[Array, "*b 2"]:
  """Returns pixel coordinates (x, y); the center of the first pixel is (0, 0)."""
  middle, points = (size - 1) / 2, jnp.asarray(points)
  return points[..., :2] / points[..., 2:] * (middle / _TANGENT) + middle


def points_to_clip(
  points: Float[ArrayLike, "*b 3"], size: int, *, near: float = 0.1, far: float = 10.0
) -> Float[Array, "*b 4"]:
  """Returns clip coordinates of points, whose pixels are those of `points_to_px`.

  Args:
    points: Points before the camera.
    size: Side of the raster, px.
    near: Depth of the near plane.
    far: Depth of the far plane.
  """
  points = jnp.asarray(points)
  focal = (size - 1) / (size * _TANGENT)
  z = points[..., 2:]
  clip_z = (far + near) / (far - near) * z - 2 * far * near / (far - near)
  return jnp.concatenate([focal * points[..., :2], clip_z, z], -1)


def view_to_matrix(view: Float[ArrayLike, "n 6"]) -> Float[Array, "n 3 3"]:
  """Returns the rotation `Rz Ry Rx` of views."""
  view = jnp.asarray(view)
  x, y, z = (
    rotation.axis_angle_to_matrix(view[:, k, None] * jnp.eye(3)[None, k])
    for k in range(3)
  )
  product = lambda a, b: jnp.matmul(a, b, precision="highest")
  return product(product(z, y), x)


def to_view(
  points: Float[ArrayLike, "n p 3"], view: Float[ArrayLike, "n 6"]
) -> Float[Array, "n p 3"]:
  """Moves points of the canonical view to where a view has them: R (p - c) + c + t."""
  center = jnp.asarray(CENTER)[None, None]
  turned = jnp.einsum(
    "npj,nij->npi", points - center, view_to_matrix(view), precision="highest"
  )
  return turned + center + view[:, None, 3:]


def from_view(
  points: Float[ArrayLike, "n p 3"], view: Float[ArrayLike, "n 6"]
) -> Float[Array, "n p 3"]:
  """Moves points that a view shows back to the canonical view."""
  center = jnp.asarray(CENTER)[None, None]
  moved = points - view[:, None, 3:] - center
  turned = jnp.einsum("npj,nji->npi", moved, view_to_matrix(view), precision="highest")
  return turned + center


def camera(like: Camera, size: int) -> Camera:
  """Returns a camera of head space that has the rays of this one.

  It sees a head as large as another camera does; depths are divided by its `distance`
  to have the unit of this module.

  Args:
    like: The other camera.
    size: Side of the pictures, px.
  """
  half = math.tan(math.radians(like.fov_deg) / 2)
  # The outermost rays go through the centers of pixels, not through their edges.
  own = _TANGENT * size / (size - 1)
  distance = like.distance * half / own
  fov = math.degrees(2 * math.atan(own))
  return Camera(fov_deg=fov, distance=distance, near=1.0, far=2 * distance)
