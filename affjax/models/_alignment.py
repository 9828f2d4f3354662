"""The place of each texel in the photo, according to position map and pose.

A 3 x 3 predictor of affine matrices cannot see where the face is. Geometry can: the
posed vertices, projected and unwrapped, are a grid of photo coordinates over the UV map
and serve the texture networks as the prior of their first affine layer.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from affjax.geometry import mesh, uv
from affjax.geometry.camera import world_to_cam, world_to_px
from affjax.types import Camera, Template

# Number of channels of `Alignment.cues`.
CUES = 2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alignment:
  """The UV map laid over the photo.

  Attributes:
    grid: Place (x, y) of each texel in the photo, px.
    cues: For each texel, the cosine between the surface normal and the direction to the
      camera (negative on the far side), and 1 where the texel belongs to a chart and
      falls into the photo, else 0.
  """

  grid: Float[Array, "n s s 2"]
  cues: Float[Array, "n s s 2"]


def align(
  vertices: Float[Array, "n v 3"],
  template: Template,
  camera: Camera,
  *,
  size: int,
  resolution: tuple[int, int],
) -> Alignment:
  """Projects posed vertices and unwraps their places. No gradient passes.

  Args:
    vertices: Vertices in world space, dm.
    template: The head, which gives faces and UVs.
    camera: Camera of the photo.
    size: Side S of the UV map. Texels outside every chart take the values of the
      nearest texel inside.
    resolution: (height, width) of the photo, px.
  """
  table = uv.uv_table(template, size)
  vertices = jax.lax.stop_gradient(vertices)
  normals = mesh.vertex_normals(vertices, jnp.asarray(template.faces))
  maps = uv.map_from_vertices(jnp.concatenate([vertices, normals], -1), table)
  maps = maps.reshape(len(vertices), size * size, 6)[:, _nearest_texel(table)]
  maps = maps.reshape(len(vertices), size, size, 6)
  world, normal = maps[..., :3], maps[..., 3:]

  height, width = resolution
  grid = world_to_px(world, camera, height, width)
  limit = jnp.array([width, height], grid.dtype) - 0.5
  seen = ((grid >= -0.5) & (grid <= limit.reshape(1, 1, 1, 2))).all(-1)
  seen = seen & jnp.asarray(table.support)[None]
  to_camera = -world_to_cam(world, camera)
  facing = _cosine(normal, to_camera)
  return Alignment(grid, jnp.stack([facing, seen.astype(grid.dtype)], -1))


@functools.lru_cache(maxsize=16)
def _nearest_texel(table: uv.UVTable) -> np.ndarray:
  """Returns the flat index of the nearest texel inside the support for every texel."""
  rows, columns = np.array(
    ndimage.distance_transform_edt(
      ~table.support, return_distances=False, return_indices=True
    )
  )
  return (rows * table.size + columns).reshape(-1).astype(np.int32)


def _cosine(a: Float[Array, "*b 3"], b: Float[Array, "*b 3"]) -> Float[Array, "*b"]:
  length2 = jnp.sum(a * a, -1) * jnp.sum(b * b, -1)
  return jnp.sum(a * b, -1) * jax.lax.rsqrt(jnp.maximum(length2, 1e-12))
