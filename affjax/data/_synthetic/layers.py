"""Everything around the head, laid behind and before it by depth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from affjax.data._synthetic import (
  background,
  body,
  hair,
  light,
  occluders,
  palette,
  solids,
)
from affjax.data._synthetic.hair import Skull
from affjax.data._synthetic.layout import Anatomy, Layout
from affjax.data._synthetic.parameters import Scene
from affjax.data._synthetic.skin import smoothstep
from affjax.data._synthetic.solids import Point
from affjax.render import HeadBuffers, texture
from affjax.types import Camera, Template


class Stage(NamedTuple):
  """What every layer needs: the scene, the person's measures, the view."""

  scene: Scene
  skull: Skull
  matrix: Float[Array, "3 3"]
  layout: Layout
  anatomy: Anatomy
  camera: Camera
  size: int


class Surface(NamedTuple):
  """What the pixels show of the head; depth is large where they show none."""

  depth: Float[Array, "h w"]
  normal: Float[Array, "h w 3"]
  uv: Float[Array, "h w 2"]
  group: Int[Array, "h w"]


def surface_of(buffers: HeadBuffers) -> Surface:
  """The first picture of a batch of one."""
  depth = jnp.where(buffers.mask[0], buffers.depth[0], 1e3)[..., 0]
  return Surface(depth, buffers.normal[0], buffers.uv[0], buffers.group[0])


class Layer(NamedTuple):
  """A picture with opacity and depth along the camera's axis."""

  color: Float[Array, "h w 3"]  # encoded
  alpha: Float[Array, "h w"]
  depth: Float[Array, "h w"]
  bare: Float[Array, "h w"] | float = 0.0  # share of it that is bare skin


def compose(
  stage: Stage,
  surface: Surface,
  world: Float[Array, "v 3"],
  backdrop: Float[Array, "h w 3"],
  head: Float[Array, "h w 3"],
  alpha: Float[Array, "h w 1"],
  hidden: Float[Array, "h w"],
) -> tuple[Float[Array, "h w 3"], Float[Array, "h w"], Float[Array, "h w"]]:
  """The whole picture, the opacity of what lies before the head, and the bare skin.

  `hidden` is the share of the head's surface under short hair. Bare skin is what shows
  of the rest and of the neck.
  """
  person, things = jax.lax.optimization_barrier((_person(stage, world), _things(stage)))
  image = _over(backdrop, person.color, person.alpha)
  image = image * (1 - alpha) + head
  bare = person.bare * person.alpha * (1 - alpha[..., 0]) + alpha[..., 0] * (1 - hidden)
  covered = jnp.zeros_like(person.alpha)
  for layer in (person, _cloth_mask(stage, surface), *_glasses(stage), things):
    ahead = layer.alpha * smoothstep(-0.03, 0.0, surface.depth - layer.depth)
    image = _over(image, layer.color, ahead)
    bare = bare + (layer.bare - bare) * ahead
    covered = 1 - (1 - covered) * (1 - ahead)
  for color, opacity in _flat_layers(stage):
    image = _over(image, color, opacity)
    bare = bare * (1 - opacity)
    covered = 1 - (1 - covered) * (1 - opacity)
  return image, covered, bare


def gloss(stage: Stage, surface: Surface, template: Template) -> Float[Array, "h w 3"]:
  """Highlights (Blinn 1977) on skin, lips and, sharp, on eyes; encoded, additive."""
  lamp = stage.scene.light
  ray = solids.camera_rays(stage.camera, stage.size)[1].stacked()
  eye = (
    surface.group == template.group_names.index("eyes")
    if "eyes" in template.group_names
    else jnp.zeros(surface.group.shape, bool)
  )
  lips = texture(stage.layout.masks["lips"][None, ..., None], surface.uv[None])[
    0, ..., 0
  ]
  power = jnp.where(eye, 150.0, 14 + 30 * lips)
  strength = jnp.where(eye, 0.75, (0.2 + 0.25 * lips) * lamp.gloss)
  total = jnp.zeros(surface.depth.shape)
  catch = jnp.array([[-0.35, 0.5, 0.8]]) / 1.006
  directions = jnp.concatenate([lamp.direction, catch])
  intensity = jnp.concatenate([lamp.intensity, 0.8 * lamp.sky[None]])
  for k in range(5):
    half = directions[k][None, None] - ray
    half = half / jnp.linalg.norm(half, axis=-1, keepdims=True)
    cosine = jnp.clip(jnp.sum(surface.normal * half, -1), 0, 1)
    total = total + jnp.minimum(intensity[k], 1.0) * cosine**power
  return (strength * total)[..., None] * lamp.color[None, None]


def _over(image, color, alpha):
  return image + (color - image) * alpha[..., None]


def _lit(stage: Stage, color, normal, openness=1.0):
  """Encodes a linear colour under the scene's light."""
  value = light.irradiance(normal, stage.scene.light, openness=openness)
  return palette.to_srgb(color * value[..., None]) * stage.scene.light.color[None, None]


def _person(stage: Stage, world) -> Layer:
  """Neck, clothes, hair and hat."""
  scene, skull = stage.scene, stage.skull
  base, frame, neck = _shoulders(stage, world)
  in_head = lambda p: solids.transform(p, stage.matrix, scene.translation)
  in_body = lambda p: solids.transform(p, frame, base)

  def parts(point: Point):
    head, trunk = in_head(point), in_body(point)
    locks = hair.distance(head, scene.hair, skull)
    rim = skull.brow + scene.outfit.hat[1]
    flat = solids.smooth_cut(locks, head.y - rim, 0.05)
    return (
      jnp.where(scene.outfit.hat[0] > 0, flat, locks),
      body.hat_distance(head, scene.outfit, skull),
      body.torso_distance(trunk, scene.outfit),
      body.neck_distance(trunk, *neck),
    )

  def solid(point: Point):
    a, b, c, d = parts(point)
    return jnp.minimum(jnp.minimum(a, b), jnp.minimum(c, d))

  origin, ray = solids.camera_rays(stage.camera, stage.size)
  hit = solids.march(solid, origin, ray, near=7.4, far=13.5, steps=26)
  kind = jnp.argmin(jnp.stack(parts(hit.point)), 0)
  normal = solids.gradient(solid, hit.point)
  finest = stage.size / 6
  strand = hair.strands(in_head(hit.point), scene.hair, skull, finest)
  value = light.irradiance(normal.stacked(), scene.light, openness=0.8)
  trunk = in_body(hit.point)
  under_chin = 0.45 + 0.55 * smoothstep(-0.4, 0.25, -trunk.y)
  hat = jnp.broadcast_to(scene.outfit.hat_color[None, None], (*kind.shape, 3))
  linear = hair.color(normal.y, strand, value, scene.hair)
  for k, base_color in (
    (1, hat),
    (2, body.cloth_color(trunk, scene.outfit, finest)),
    (3, body.bare_color(trunk, scene.skin) * under_chin[..., None]),
  ):
    linear = jnp.where((kind == k)[..., None], base_color * value[..., None], linear)
  pixel = 2.2 / stage.size
  fringe = jnp.where(kind == 0, 0.01 + 0.06 * scene.hair.frizz, 0.0)
  outside = hit.gap - 0.005 - fringe * jnp.clip(strand, -0.3, 1)
  alpha = jnp.clip(1 - outside / (pixel + fringe), 0, 1)
  color = palette.to_srgb(linear) * scene.light.color[None, None]
  return Layer(color, alpha, -hit.distance * ray.z, (kind == 3).astype(jnp.float32))


def _shoulders(stage: Stage, world):
  """Origin and axes of the body's frame, and (top, radius) of the neck in it."""
  ring = world[stage.anatomy.neck]
  middle = jnp.mean(ring, 0)
  base = middle - jnp.array([0.0, 0.25, 0.0])
  turn = stage.scene.outfit.twist * jnp.deg2rad(stage.scene.angles_deg[0])
  c, s = jnp.cos(turn), jnp.sin(turn)
  zero, one = jnp.zeros_like(c), jnp.ones_like(c)
  frame = jnp.stack([c, zero, s, zero, one, zero, -s, zero, c]).reshape(3, 3)
  top = (middle + jnp.array([0.0, 0.12, 0.0]) - base) @ frame
  return base, frame, (top, 0.47 * (jnp.max(ring[:, 0]) - jnp.min(ring[:, 0])))


def _things(stage: Stage) -> Layer:
  """Hand and microphone; costs nothing in pictures without."""
  thing = stage.scene.occluders
  shape = (stage.size, stage.size)

  def absent() -> Layer:
    return Layer(jnp.zeros((*shape, 3)), jnp.zeros(shape), jnp.full(shape, 1e3))

  return jax.lax.cond(
    thing.hand[0] + thing.stick[0] > 0, lambda: _solid_things(stage), absent
  )


def _solid_things(stage: Stage) -> Layer:
  thing = stage.scene.occluders

  def solid(point: Point):
    return jnp.minimum(
      occluders.hand_distance(point, thing), occluders.stick_distance(point, thing)
    )

  origin, ray = solids.camera_rays(stage.camera, stage.size)
  hit = solids.march(solid, origin, ray, near=7.6, far=10.0, steps=16)
  hand = occluders.hand_distance(hit.point, thing)
  is_hand = (hand < occluders.stick_distance(hit.point, thing)).astype(jnp.float32)
  base = occluders.solid_color(hit.point, is_hand, thing)
  normal = solids.gradient(solid, hit.point).stacked()
  color = _lit(stage, base, normal, openness=0.8)
  alpha = jnp.clip(1 - (hit.gap - 0.005) / (2.2 / stage.size), 0, 1)
  return Layer(color, alpha, -hit.distance * ray.z)


def _cloth_mask(stage: Stage, surface: Surface) -> Layer:
  thing = stage.scene.occluders
  point = texture(stage.layout.point[None], surface.uv[None])[0]
  alpha, pleat = occluders.mask_alpha(point, thing, stage.anatomy.landmarks)
  seen = surface.depth < 100
  base = thing.mask_color[None, None] * pleat[..., None]
  color = _lit(stage, base, surface.normal, openness=0.9)
  return Layer(color, alpha * seen, surface.depth - 0.01)


def _glasses(stage: Stage) -> tuple[Layer, ...]:
  """The front, and the two arms."""
  scene, pixel = stage.scene, 2.2 / stage.size
  origin, ray = solids.camera_rays(stage.camera, stage.size)
  start = solids.transform(origin, stage.matrix, scene.translation)
  turned = solids.transform(ray, stage.matrix, (0.0, 0.0, 0.0))
  alpha, rim, t = occluders.glasses(start, turned, scene.occluders, stage.skull, pixel)
  shape = (*rim.shape, 3)
  dark = jnp.broadcast_to(scene.occluders.glasses_color[None, None], shape)
  base = 0.02 + (dark - 0.02) * rim[..., None]
  normal = jnp.broadcast_to(stage.matrix[:, 2][None, None], shape)
  front = Layer(_lit(stage, base, normal), alpha, -t * ray.z)
  arms = occluders.temples(start, turned, scene.occluders, stage.skull, pixel)
  side = _lit(stage, dark, normal)
  return (*(Layer(side, opacity, -t * ray.z) for opacity, t in arms), front)


def _flat_layers(stage: Stage):
  """Loose strands and a blob, in picture coordinates."""
  x, y = background.image_grid(stage.size)
  scene = stage.scene
  up = jnp.broadcast_to(jnp.array([0.0, 0.5, 0.87]), (*x.shape, 3))
  for base, alpha in (
    (scene.hair.color, occluders.loose_strands(x, y, scene.occluders)),
    (scene.occluders.patch_color, occluders.patch_alpha(x, y, scene.occluders)),
  ):
    yield _lit(stage, base[None, None] * jnp.ones_like(up), up), alpha
