"""Rendering of a textured head, and its buffers without antialiasing."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from affjax.geometry import mesh
from affjax.geometry.camera import world_to_clip
from affjax.render import _antialiasing, _texturing
from affjax.render._interpolation import interpolate
from affjax.render._rasterization import rasterize
from affjax.types import Camera, Template


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeadBuffers:
  """The geometry that each pixel shows; zeros (`group`: -1) where the head is not.

  Attributes:
    rast: The raster that `affjax.render.rasterize` returned.
    uv: UV coordinates.
    depth: Distance from the camera along its axis, dm.
    normal: Smooth unit normal in camera space (+z towards the camera).
    group: Index into the template's `group_names`, -1 where empty.
    mask: Whether the pixel shows the head.
  """

  rast: Float[Array, "b h w 4"]
  uv: Float[Array, "b h w 2"]
  depth: Float[Array, "b h w 1"]
  normal: Float[Array, "b h w 3"]
  group: Int[Array, "b h w"]
  mask: Bool[Array, "b h w 1"]


def render_head(
  vertices_world: Float[Array, "b v 3"],
  texture: Float[Array, "b_or_1 s s c"],
  template: Template,
  camera: Camera,
  resolution: tuple[int, int],
  *,
  antialias: bool = True,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
  """Renders the textured head over black.

  Args:
    vertices_world: The template's vertices after the pose, dm.
    texture: The shaded UV map; a batch of 1 is shared by all images.
    template: The head's triangles and UVs.
    camera: The camera.
    resolution: (height, width) of the image, pixels.
    antialias: Whether silhouettes are blended, which also gives them a gradient.

  Returns:
    The image, premultiplied by coverage, and the coverage in [0, 1]. `composite` lays
    them over a photo.
  """
  clip = _to_clip(vertices_world, camera, resolution)
  rast = rasterize(clip, template.faces, resolution)
  uv = interpolate(jnp.asarray(template.uvs)[None], rast, template.faces_uv)
  return paint_raster(clip, rast, uv, texture, template, antialias=antialias)


def paint_raster(
  clip: Float[Array, "b v 4"],
  rast: Float[Array, "b h w 4"],
  uv: Float[Array, "b h w 2"],
  texture: Float[Array, "b_or_1 s s c"],
  template: Template,
  *,
  antialias: bool = True,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
  """Textures and antialiases a raster of the head: the last step of `render_head`.

  Args:
    clip: The template's vertices in clip space.
    rast: Their raster, such as `HeadBuffers.rast`.
    uv: The raster's UV coordinates, such as `HeadBuffers.uv`.
    texture: As for `render_head`.
    template: As for `render_head`.
    antialias: As for `render_head`.

  Returns:
    The image, premultiplied by coverage, and the coverage in [0, 1].
  """
  mask = (rast[..., 3:] > 0).astype(texture.dtype)
  layers = jnp.concatenate([_texturing.texture(texture, uv) * mask, mask], -1)
  if antialias:
    tables = mesh.adjacency(template)
    layers = _antialiasing.antialias(
      layers,
      rast,
      clip,
      template.faces,
      opposite=tables.opposite,
      neighbors=tables.neighbors,
    )
  return layers[..., :-1], layers[..., -1:]


def composite(
  image: Float[Array, "b h w c"],
  render: Float[Array, "b h w c"],
  alpha: Float[Array, "b h w 1"],
) -> Float[Array, "b h w c"]:
  """Composites a premultiplied render over an image: `image (1 - alpha) + render`."""
  return image * (1 - alpha) + render


def head_buffers(
  vertices_world: Float[Array, "b v 3"],
  template: Template,
  camera: Camera,
  resolution: tuple[int, int],
) -> HeadBuffers:
  """Returns UV, depth, normal and group of each pixel, without antialiasing.

  Args:
    vertices_world: As for `render_head`.
    template: As for `render_head`.
    camera: As for `render_head`.
    resolution: As for `render_head`.
  """
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
  """Returns the index of the template's group at each pixel, -1 where it is empty."""
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
  """Copies the photo's own eyes and mouth interior back into an overlay (figure 11).

  Args:
    image: The photo.
    overlay: The head composited over the photo, of the same size.
    buffers: The buffers of that head in that photo.
    template: The head's template, which names the groups.
    groups: Names of the groups whose pixels come from the photo.

  Raises:
    ValueError: The template has no group of that name.
  """
  for name in groups:
    if name not in template.group_names:
      raise ValueError(f"groups must be among {template.group_names}, got {name!r}")
  kept = jnp.array([template.group_names.index(name) for name in groups], jnp.int32)
  original = jnp.any(buffers.group[..., None] == kept[None, None, None], -1)
  return jnp.where(original[..., None], image, overlay)


def _to_clip(
  vertices_world: Float[Array, "b v 3"], camera: Camera, resolution: tuple[int, int]
) -> Float[Array, "b v 4"]:
  height, width = resolution
  return world_to_clip(vertices_world, camera, aspect=width / height)
