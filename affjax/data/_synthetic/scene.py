"""Paints one photo and its exact maps from one set of parameters.

The head follows the renderer's own model, `texture(diffuse x light x light color)`:
networks that predict the exact maps reproduce its pixels before the camera's noise.
Only a small highlight is added that the model cannot express.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.data._synthetic import (
  background,
  hair,
  layers,
  lens,
  light,
  skin,
  solids,
)
from affjax.data._synthetic.layout import Anatomy, Layout
from affjax.data._synthetic.parameters import Scene
from affjax.geometry import mesh, rotation
from affjax.geometry.camera import head_to_world, world_to_clip
from affjax.render import HeadBuffers, head_buffers, paint_raster, texture
from affjax.types import Camera, Template

_apart = jax.lax.optimization_barrier


@functools.partial(jax.jit, static_argnames=("template", "camera", "size"))
def photograph(
  scene: Scene,
  bases: tuple[Float[Array, "v 3"], Float[Array, "k v 3"], Float[Array, "e v 3"]],
  layout: Layout,
  anatomy: Anatomy,
  photo: Float[Array, "h w 3"],
  photo_share: Float[Array, ""] | np.float32,
  *,
  template: Template,
  camera: Camera,
  size: int,
) -> dict[str, Array]:
  """Paints a scene.

  Args:
    scene: Parameters.
    bases: Mean shape, identity and expression basis of the morphable model, dm.
    layout: Layout of the template at the map size.
    anatomy: Anatomy of the template.
    photo: sRGB-encoded picture for the background.
    photo_share: 1 to use `photo` as background, 0 to paint one.
    template: Template of the head.
    camera: Camera.
    size: Width and height of the picture, px.

  Returns:
    Float32 arrays by name: `vertices` (head space), `image`, `clean` (before the
    camera's noise), `head` (premultiplied, without highlight), `alpha`, `visible` (mask
    of the head with its short hair), `bare` (mask of bare skin of head and neck),
    `depth` (dm along the axis, 0 where empty), `normal` (camera space), `mask`,
    `diffuse`, `light`, `light_color`, `pose`.
  """
  vertices, pose, matrix, world = _geometry(scene, bases)
  # Barriers keep XLA from fusing the stages, which would repeat work.
  diffuse = _apart(skin.diffuse_map(scene.skin, layout))
  skull = _skull(vertices, anatomy)
  light_map = _light_map(scene, vertices, world, matrix, layout, anatomy, skull)
  shaded = shade(diffuse, light_map, scene.light.color)
  buffers = _apart(head_buffers(world[None], template, camera, (size, size)))
  clip = world_to_clip(world[None], camera)
  painted = paint_raster(clip, buffers.rast, buffers.uv, shaded[None], template)
  head, alpha = _apart(tuple(image[0] for image in painted))

  view = layers.View(scene, skull, matrix, layout, anatomy, camera, size)
  backdrop = _apart(background.background(scene.backdrop, size))
  backdrop = backdrop + (photo - backdrop) * photo_share
  parts = (world, backdrop, head, alpha)
  clean, covered, bare = _compose(view, buffers, *parts, template)
  return {
    "vertices": vertices,
    "image": lens.develop(_apart(clean), scene.lens),
    "clean": clean,
    "head": head,
    "alpha": alpha,
    "visible": alpha * (1 - covered)[..., None],
    "bare": bare[..., None],
    "diffuse": diffuse,
    "light": light_map,
    "light_color": scene.light.color,
    "pose": pose,
    **{name: getattr(buffers, name)[0] for name in ("depth", "normal", "mask")},
  }


def shade(
  diffuse: Float[Array, "s s 3"],
  light_map: Float[Array, "l l 1"],
  color: Float[Array, "3"],
) -> Float[Array, "s s 3"]:
  """Returns diffuse x light x color, as the renderer does; light is resized."""
  up = jax.image.resize(light_map, (*diffuse.shape[:2], 1), "linear")
  return jnp.clip(diffuse * up * color[None, None], 0, 1)


def _compose(
  view: layers.View,
  buffers: HeadBuffers,
  world: Float[Array, "v 3"],
  backdrop: Float[Array, "h w 3"],
  head: Float[Array, "h w 3"],
  alpha: Float[Array, "h w 1"],
  template: Template,
) -> tuple[Float[Array, "h w 3"], Float[Array, "h w"], Float[Array, "h w"]]:
  """Composes the picture of a head with highlights and short hair."""
  surface = layers.surface_of(buffers)
  glossy = head + alpha * layers.gloss(view, surface, template)
  hidden = _short_hair(view.scene, view.layout, buffers)
  return layers.compose(view, surface, world, backdrop, glossy, alpha, hidden)


def _short_hair(
  scene: Scene, layout: Layout, buffers: HeadBuffers
) -> Float[Array, "h w"]:
  """Returns 1 where the hair on the scalp hides the skin."""
  density = skin.scalp_density(scene.skin, layout)[None, ..., None]
  return skin.smoothstep(0.2, 0.6, texture(density, buffers.uv)[0, ..., 0])


def _geometry(
  scene: Scene, bases: tuple[Array, Array, Array]
) -> tuple[
  Float[Array, "v 3"], Float[Array, " 6"], Float[Array, "3 3"], Float[Array, "v 3"]
]:
  """Returns vertices (head space), pose, rotation matrix and vertices (world space).

  As `MorphableModel.vertices`, but the bases are arguments instead of constants.
  """
  mean, identity, expression = bases
  vertices = mean + jnp.tensordot(scene.identity, identity, 1)
  vertices = vertices + jnp.tensordot(scene.expression, expression, 1)
  yaw, pitch, roll = scene.angles_deg
  turn = rotation.euler_deg_to_axis_angle(yaw, pitch, roll)
  pose = jnp.concatenate([turn, scene.translation])
  world = head_to_world(vertices[None], pose[None])[0]
  return vertices, pose, rotation.axis_angle_to_matrix(turn), world


def _skull(vertices: Float[Array, "v 3"], anatomy: Anatomy) -> hair.Skull:
  points = jnp.sum(
    vertices[anatomy.landmark_corners] * anatomy.landmark_weights[..., None], 1
  )
  return hair.measure(points, vertices[anatomy.scalp])


def _light_map(
  scene: Scene,
  vertices: Float[Array, "v 3"],
  world: Float[Array, "v 3"],
  matrix: Float[Array, "3 3"],
  layout: Layout,
  anatomy: Anatomy,
  skull: hair.Skull,
) -> Float[Array, "l l 1"]:
  normal = mesh.vertex_normals(world, anatomy.faces)
  value = light.vertex_light(normal, matrix, anatomy.visibility, scene.light)
  # Hair darkens the skin below it.
  near = _near_hair(vertices, scene, skull)
  value = value * (1 - 0.4 * scene.light.shadow * near)
  return light.light_map(value, layout.corners, layout.weights, layout.support)


def _near_hair(
  vertices: Float[Array, "v 3"], scene: Scene, skull: hair.Skull
) -> Float[Array, " v"]:
  """Returns 1 under the hair, falling to 0 within two centimeters of it."""
  gap = hair.distance(solids.Point(*vertices.T), scene.hair, skull)
  return jnp.exp(-jnp.maximum(gap, 0) / 0.12)
