"""The head's picture, and the exact buffers behind it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from affjax.geometry import camera as cameras
from affjax.geometry import mesh
from affjax.render._antialiasing import antialias as antialiased
from affjax.render._interpolation import interpolate
from affjax.render._rasterization import rasterize
from affjax.render._texturing import texture as lookup
from affjax.types import Camera, Template


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeadBuffers:
  """What each pixel shows of the head; zeros (group: -1) where it shows nothing.

  Attributes:
    rast: as `affjax.render.rasterize` gives it.
    uv: UV coordinates.
    depth: distance from the camera along its axis, dm.
    normal: unit normal, smooth, in camera space (+z towards the camera).
    group: index into the template's `group_names`, -1 where empty.
    mask: whether the head is there.
  """

  rast: Float[Array, "b h w 4"]
  uv: Float[Array, "b h w 2"]
  depth: Float[Array, "b h w 1"]
  normal: Float[Array, "b h w 3"]
  group: Int[Array, "b h w"]
  mask: Bool[Array, "b h w 1"]


def render_head(
  vertices_world: Float[Array, "b v 3"],
  texture: Float[Array, "b s s c"],
  template: Template,
  camera: Camera,
  resolution: tuple[int, int],
  *,
  antialias: bool = True,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
  """Paints the textured head over black.

  Args:
    vertices_world: the template's vertices after the pose, dm.
    texture: the shaded UV map; a batch of 1 is shared.
    template: triangles and UVs.
    camera: where it is seen from.
    resolution: (height, width), pixels.
    antialias: blend the silhouettes, which also gives them a gradient.

  Returns:
    The picture, premultiplied by coverage, and the coverage in [0, 1]; `composite` lays
    them over a photo.
  """
  clip = _to_clip(vertices_world, camera, resolution)
  rast = rasterize(clip, template.faces, resolution)
  uv = interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv)
  mask = (rast[..., 3:] > 0).astype(texture.dtype)
  layers = jnp.concatenate([lookup(texture, uv) * mask, mask], -1)
  if antialias:
    layers = antialiased(
      layers,
      rast,
      clip,
      template.faces,
      opposite=_opposite(template),
      neighbors=_neighbors(template),
    )
  return layers[..., :-1], layers[..., -1:]


def composite(
  image: Float[Array, "b h w c"],
  render: Float[Array, "b h w c"],
  alpha: Float[Array, "b h w 1"],
) -> Float[Array, "b h w c"]:
  """Lays a premultiplied picture over an image: `image (1 - alpha) + render`."""
  return image * (1 - alpha) + render


def head_buffers(
  vertices_world: Float[Array, "b v 3"],
  template: Template,
  camera: Camera,
  resolution: tuple[int, int],
) -> HeadBuffers:
  """What each pixel shows: UV, depth, normal, group; no blending at silhouettes."""
  clip = _to_clip(vertices_world, camera, resolution)
  rast = rasterize(clip, template.faces, resolution)
  mask = rast[..., 3:] > 0
  normals = mesh.vertex_normals(vertices_world, template.faces)
  attributes = jnp.concatenate([normals, clip[..., 3:]], -1)
  values = interpolate(attributes, rast, template.faces)
  normal, depth = values[..., :3], values[..., 3:]
  length2 = jnp.sum(normal * normal, -1, keepdims=True)
  normal = normal / jnp.sqrt(jnp.where(length2 > 0, length2, 1.0))
  return HeadBuffers(
    rast=rast,
    uv=interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv),
    depth=depth,
    normal=normal,
    group=group_of(rast, template),
    mask=mask,
  )


def group_of(rast: Float[Array, "b h w 4"], template: Template) -> Int[Array, "b h w"]:
  """Index of the template's group that each pixel of a raster shows, -1 where empty."""
  triangle = rast[..., 3].astype(jnp.int32) - 1
  groups = jnp.asarray(template.face_groups, jnp.int32)
  return jnp.where(triangle >= 0, groups[jnp.maximum(triangle, 0)], -1)


def keep_original(
  image: Float[Array, "b h w c"],
  overlay: Float[Array, "b h w c"],
  buffers: HeadBuffers,
  template: Template,
  *,
  groups: tuple[str, ...] = ("eyes", "teeth"),
) -> Float[Array, "b h w c"]:
  """Puts the photo's own eyes and mouth interior back into an overlay (figure 11).

  Args:
    image: the photo.
    overlay: the head composited over it, same size.
    buffers: of that head in that photo.
    template: names the groups.
    groups: what to take from the photo wherever the head shows it.

  Raises:
    ValueError: a group that the template does not have.
  """
  for name in groups:
    if name not in template.group_names:
      raise ValueError(f"groups must be among {template.group_names}, got {name!r}")
  kept = jnp.array([template.group_names.index(name) for name in groups], jnp.int32)
  original = jnp.any(buffers.group[..., None] == kept[None, None, None], -1)
  return jnp.where(original[..., None], image, overlay)


def _to_clip(vertices_world, camera: Camera, resolution: tuple[int, int]):
  height, width = resolution
  return cameras.world_to_clip(vertices_world, camera, aspect=width / height)


@functools.lru_cache(maxsize=16)
def _opposite(template: Template) -> np.ndarray:
  return mesh.opposite_vertices(template.faces)


@functools.lru_cache(maxsize=16)
def _neighbors(template: Template) -> np.ndarray:
  return mesh.neighbors(template.faces)
