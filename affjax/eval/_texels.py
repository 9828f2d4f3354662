"""Maps of heads: their texels, normals and depths, and what a photo shows of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from affjax.eval._regions import REGIONS, face_regions
from affjax.geometry import mesh, surface, uv
from affjax.geometry.camera import world_to_clip, world_to_px
from affjax.render import head_buffers, interpolate, rasterize
from affjax.types import Camera, Template, per_template

# Side of the UV maps on which heads are compared, and of the buffers that tell which
# texels a photo shows.
MAP_SIZE = 128
_BUFFER_SIZE = 256
# Least cosine between normal and line of sight of a texel that a photo shows, and the
# largest distance behind the foremost surface, dm.
_FACING, _BEHIND = 0.2, 0.04


@per_template
def face_texels(template: Template) -> Float[np.ndarray, "s s"]:
  """Returns the weight of each texel in the mask "face", float32."""
  table = uv.uv_table(template, MAP_SIZE)
  mask = uv.resize_mask(template.masks["face"], MAP_SIZE) * table.support
  return mask.astype(np.float32)


@per_template
def region_texels(template: Template) -> dict[str, Float[np.ndarray, "s s"]]:
  """Returns the weights of texels in each region of `REGIONS`."""
  regions = face_regions(template, MAP_SIZE)
  return {name: regions[name] for name in REGIONS}


def region_of(
  points: Float[np.ndarray, "p 3"],
  vertices: Float[np.ndarray, "v 3"],
  template: Template,
) -> np.ndarray:
  """Returns the name of the region in which each point lies on a head.

  Args:
    points: Points on or near the head.
    vertices: Vertices of the head.
    template: Its topology.
  """
  triangle, weights = surface.nearest_points(points, vertices, template.faces)
  corners = template.uvs[template.faces_uv[triangle]]
  texel = uv.uv_to_texel(np.einsum("pc,pcx->px", weights, corners), MAP_SIZE)
  column, row = np.clip(np.rint(texel), 0, MAP_SIZE - 1).astype(int).T
  names, maps = zip(*region_texels(template).items(), strict=True)
  return np.array(names)[np.stack(maps)[:, row, column].argmax(0)]


def texels(
  vertices: Float[np.ndarray, "n v c"], template: Template
) -> Float[np.ndarray, "n s s c"]:
  """Returns values of vertices as maps of `MAP_SIZE`."""
  return np.asarray(_map_of(jnp.asarray(vertices), template=template))


@functools.partial(jax.jit, static_argnames="template")
def _map_of(vertices: jax.Array, *, template: Template) -> jax.Array:
  return uv.map_from_vertices(vertices, uv.uv_table(template, MAP_SIZE))


def normal_texels(
  vertices: Float[np.ndarray, "n v 3"], template: Template
) -> Float[np.ndarray, "n s s 3"]:
  """Returns maps of the smooth normals of heads; their lengths are about one."""
  normals = mesh.vertex_normals(jnp.asarray(vertices), template.faces)
  return texels(np.asarray(normals), template)


def exposed_texels(
  world: Float[np.ndarray, "n v 3"], template: Template, camera: Camera
) -> Bool[np.ndarray, "n s s"]:
  """Returns the texels that face the camera and that no part of the head hides.

  Args:
    world: Vertices of the heads before the camera, dm.
    template: Topology of the heads.
    camera: The camera.
  """
  place = texels(world, template)
  normal = normal_texels(world, template)
  sight = np.array([0, 0, camera.distance], np.float32) - place
  cosine = (normal * sight).sum(-1) / np.linalg.norm(sight, axis=-1)
  foremost = depth_maps(world, template, camera, _BUFFER_SIZE)
  depth = np.asarray(world_to_clip(place, camera))[..., 3]
  at, inside = _pixels(place, camera, _BUFFER_SIZE)
  hit = np.take_along_axis(
    foremost.reshape(len(place), -1), at.reshape(len(place), -1), 1
  ).reshape(depth.shape)
  hidden = (hit > 0) & (depth > hit + _BEHIND)
  table = uv.uv_table(template, MAP_SIZE)
  return inside & ~hidden & (cosine > _FACING) & table.inside


@functools.partial(jax.jit, static_argnames=("template", "camera", "size"))
def _depths(
  world: jax.Array, *, template: Template, camera: Camera, size: int
) -> jax.Array:
  return head_buffers(world, template, camera, (size, size)).depth[..., 0]


def depth_maps(
  world: Float[np.ndarray, "n v 3"], template: Template, camera: Camera, size: int
) -> Float[np.ndarray, "n s s"]:
  """Returns depths along the optical axis, dm; 0 where the head is not."""
  found = _depths(jnp.asarray(world), template=template, camera=camera, size=size)
  return np.asarray(found)


def _pixels(
  place: Float[np.ndarray, "n s s 3"], camera: Camera, size: int
) -> tuple[np.ndarray, Bool[np.ndarray, "n s s"]]:
  """Returns the flat index of the pixel that shows each place, and if there is one."""
  px = np.rint(np.asarray(world_to_px(place, camera, size, size))).astype(int)
  inside = np.all((px >= 0) & (px < size), axis=-1, keepdims=True)[..., 0]
  px = np.clip(px, 0, size - 1)
  return px[..., 1] * size + px[..., 0], inside


def values_at(
  images: Bool[np.ndarray, "n h h"],
  place: Float[np.ndarray, "n s s 3"],
  camera: Camera,
) -> Bool[np.ndarray, "n s s"]:
  """Returns the value of the pixel that shows each place; false outside the image."""
  at, inside = _pixels(place, camera, images.shape[1])
  seen = np.take_along_axis(
    images.reshape(len(place), -1), at.reshape(len(place), -1), 1
  )
  return inside & seen.reshape(inside.shape)


def surface_depth(
  world: Float[np.ndarray, "v 3"],
  faces: Int[np.ndarray, "t 3"],
  camera: Camera,
  size: int,
) -> Float[np.ndarray, "s s"]:
  """Returns the depths of any mesh as `depth_maps` does."""
  clip = world_to_clip(jnp.asarray(world, jnp.float32)[None], camera)
  raster = rasterize(clip, faces, (size, size))
  return np.asarray(interpolate(clip[..., 3:], raster, faces))[0, ..., 0]
