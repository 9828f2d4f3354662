"""One photograph and its exact maps from one set of parameters.

The head is the renderer's own model, `texture(diffuse x light x light colour)`, so that
networks that predict the exact maps reproduce its pixels before the camera's noise;
only a small highlight is added that the model cannot express.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
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
from affjax.geometry import camera as cameras
from affjax.geometry import mesh, rotation
from affjax.render import HeadBuffers, antialias, head_buffers, texture
from affjax.types import Camera, Template

_apart = jax.lax.optimization_barrier


@functools.partial(jax.jit, static_argnames=("template", "camera", "size"))
def photograph(
  scene: Scene,
  bases: tuple[Float[Array, "v 3"], Float[Array, "k v 3"], Float[Array, "e v 3"]],
  layout: Layout,
  anatomy: Anatomy,
  photo: Float[Array, "h w 3"],
  photo_share: Float[Array, ""],
  *,
  template: Template,
  camera: Camera,
  size: int,
) -> dict[str, Any]:
  """Paints a scene.

  Args:
    scene: parameters.
    bases: mean shape, identity and expression basis of the morphable model, dm.
    layout: of the template at the map size.
    anatomy: of the template.
    photo: an encoded picture to use as background,
    photo_share: if this is 1 rather than 0.
    template: the head's mesh.
    camera: the camera.
    size: width and height of the picture, pixels.

  Returns:
    float32 arrays: `vertices` (head space), `image`, `clean` (before the camera's
    noise), `head` (premultiplied, without highlight), `alpha`, `visible` (of the head,
    short hair included), `bare` (the same without the scalp's hair, and the neck),
    `depth` (dm along the axis, 0 where empty), `normal` (camera space), `mask`,
    `diffuse`, `light`, `light_color`, `pose`.
  """
  vertices, pose, matrix, world = _geometry(scene, bases)
  # Barriers keep the stages apart: XLA would fuse them and repeat work.
  diffuse = _apart(skin.diffuse_map(scene.skin, layout))
  skull = _skull(vertices, anatomy)
  light_map = _light_map(scene, vertices, world, matrix, layout, anatomy, skull)
  shaded = shade(diffuse, light_map, scene.light.color)
  buffers = _apart(head_buffers(world[None], template, camera, (size, size)))
  head, alpha = _apart(_paint_head(shaded, world, buffers, anatomy, camera))

  stage = layers.Stage(scene, skull, matrix, layout, anatomy, camera, size)
  backdrop = _apart(background.background(scene.backdrop, size))
  backdrop = backdrop + (photo - backdrop) * photo_share
  parts = (world, backdrop, head, alpha)
  clean, covered, bare = _compose(stage, buffers, *parts, template)
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
  """The renderer's model: diffuse x light brought to its size x colour."""
  up = jax.image.resize(light_map, (*diffuse.shape[:2], 1), "linear")
  return jnp.clip(diffuse * up * color[None, None], 0, 1)


def _compose(stage: layers.Stage, buffers, world, backdrop, head, alpha, template):
  """What `layers.compose` gives for a head with highlights and short hair."""
  surface = layers.surface_of(buffers)
  glossy = head + alpha * layers.gloss(stage, surface, template)
  hidden = _short_hair(stage.scene, stage.layout, buffers)
  return layers.compose(stage, surface, world, backdrop, glossy, alpha, hidden)


def _short_hair(scene: Scene, layout: Layout, buffers: HeadBuffers):
  """1 where the hair on the scalp hides the skin, `[H, W]`."""
  density = skin.scalp_density(scene.skin, layout)[None, ..., None]
  return skin.smoothstep(0.2, 0.6, texture(density, buffers.uv)[0, ..., 0])


def _geometry(scene: Scene, bases):
  """Vertices in head space, pose, rotation matrix, vertices in world space.

  As `heads.morphable.vertices`, but the bases are arguments instead of constants.
  """
  mean, identity, expression = bases
  vertices = mean + jnp.tensordot(scene.identity, identity, 1)
  vertices = vertices + jnp.tensordot(scene.expression, expression, 1)
  yaw, pitch, roll = scene.angles_deg
  turn = rotation.euler_deg_to_axis_angle(yaw, pitch, roll)
  pose = jnp.concatenate([turn, scene.translation])
  world = cameras.head_to_world(vertices[None], pose[None])[0]
  return vertices, pose, rotation.axis_angle_to_matrix(turn), world


def _skull(vertices, anatomy: Anatomy) -> hair.Skull:
  marks = jnp.sum(
    vertices[anatomy.landmark_corners] * anatomy.landmark_weights[..., None], 1
  )
  return hair.measure(marks, vertices[anatomy.scalp])


def _light_map(scene: Scene, vertices, world, matrix, layout, anatomy, skull):
  normal = mesh.vertex_normals(world, anatomy.faces)
  value = light.vertex_light(normal, matrix, anatomy.visibility, scene.light)
  # Hair darkens the skin that it hangs over.
  near = _near_hair(vertices, scene, skull)
  value = value * (1 - 0.4 * scene.light.shadow * near)
  return light.light_map(value, layout.corners, layout.weights, layout.support)


def _near_hair(vertices, scene: Scene, skull) -> Float[Array, " v"]:
  """1 under the hair, falling to 0 within two centimetres."""
  gap = hair.distance(solids.Point(*vertices.T), scene.hair, skull)
  return jnp.exp(-jnp.maximum(gap, 0) / 0.12)


def _paint_head(shaded, world, buffers: HeadBuffers, anatomy: Anatomy, camera: Camera):
  """As `affjax.render.head.render_head` does, from buffers that exist already."""
  mask = buffers.mask.astype(jnp.float32)
  picture = jnp.concatenate([texture(shaded[None], buffers.uv) * mask, mask], -1)
  clip = cameras.world_to_clip(world[None], camera)
  picture = antialias(
    picture,
    buffers.rast,
    clip,
    anatomy.faces,
    opposite=anatomy.opposite,
    neighbors=anatomy.neighbors,
  )[0]
  return picture[..., :3], picture[..., 3:]
