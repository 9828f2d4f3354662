"""Layers around the head, composed behind and in front of it by depth."""

from collections.abc import Iterator
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


class View(NamedTuple):
  """The inputs of every layer: scene, measures and rotation of the head, camera."""

  scene: Scene
  skull: Skull
  matrix: Float[Array, "3 3"]
  layout: Layout
  anatomy: Anatomy
  camera: Camera
  size: int


class HeadSurface(NamedTuple):
  """The head's surface in each pixel; depth is large where there is none."""

  depth: Float[Array, "h w"]
  normal: Float[Array, "h w 3"]
  uv: Float[Array, "h w 2"]
  group: Int[Array, "h w"]


def surface_of(buffers: HeadBuffers) -> HeadSurface:
  """Returns the surface of a batch of one."""
  depth = jnp.where(buffers.mask[0], buffers.depth[0], 1e3)[..., 0]
  return HeadSurface(depth, buffers.normal[0], buffers.uv[0], buffers.group[0])


class Layer(NamedTuple):
  """A picture with opacity, and depth along the camera's axis."""

  color: Float[Array, "h w 3"]  # sRGB-encoded
  alpha: Float[Array, "h w"]
  depth: Float[Array, "h w"]
  bare: Float[Array, "h w"] | float = 0.0  # share of the layer that is bare skin


def compose(
  view: View,
  surface: HeadSurface,
  world: Float[Array, "v 3"],
  backdrop: Float[Array, "h w 3"],
  head: Float[Array, "h w 3"],
  alpha: Float[Array, "h w 1"],
  hidden: Float[Array, "h w"],
) -> tuple[Float[Array, "h w 3"], Float[Array, "h w"], Float[Array, "h w"]]:
  """Composes the picture.

  Args:
    view: Scene, measures and camera.
    surface: Surface of the head.
    world: Vertices of the head, world space.
    backdrop: Background.
    head: Picture of the head, premultiplied.
    alpha: Opacity of the head.
    hidden: Share of the head's surface under short hair.

  Returns:
    The picture, the opacity of what is in front of the head, and the share of visible
    bare skin of head and neck.
  """
  person, things = jax.lax.optimization_barrier((_person(view, world), _things(view)))
  image = _over(backdrop, person.color, person.alpha)
  image = image * (1 - alpha) + head
  bare = person.bare * person.alpha * (1 - alpha[..., 0]) + alpha[..., 0] * (1 - hidden)
  covered = jnp.zeros_like(person.alpha)
  for layer in (person, _cloth_mask(view, surface), *_glasses(view), things):
    ahead = layer.alpha * smoothstep(-0.03, 0.0, surface.depth - layer.depth)
    image = _over(image, layer.color, ahead)
    bare = bare + (layer.bare - bare) * ahead
    covered = 1 - (1 - covered) * (1 - ahead)
  for color, opacity in _flat_layers(view):
    image = _over(image, color, opacity)
    bare = bare * (1 - opacity)
    covered = 1 - (1 - covered) * (1 - opacity)
  return image, covered, bare


def gloss(
  view: View, surface: HeadSurface, template: Template
) -> Float[Array, "h w 3"]:
  """Returns additive highlights (Blinn 1977) on skin and lips, sharp ones on eyes."""
  lamp = view.scene.light
  ray = solids.camera_rays(view.camera, view.size)[1].stacked()
  eye = (
    surface.group == template.group_names.index("eyes")
    if "eyes" in template.group_names
    else jnp.zeros(surface.group.shape, bool)
  )
  lips = texture(view.layout.masks["lips"][None, ..., None], surface.uv[None])[
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


def _over(
  image: Float[Array, "h w 3"], color: Float[Array, "h w 3"], alpha: Float[Array, "h w"]
) -> Float[Array, "h w 3"]:
  return image + (color - image) * alpha[..., None]


def _lit(
  view: View,
  color: Float[Array, "h w 3"],
  normal: Float[Array, "h w 3"],
  openness: float = 1.0,
) -> Float[Array, "h w 3"]:
  """Returns the encoded color of surfaces under the scene's light."""
  value = light.irradiance(normal, view.scene.light, openness=openness)
  return palette.to_srgb(color * value[..., None]) * view.scene.light.color[None, None]


def _person(view: View, world: Float[Array, "v 3"]) -> Layer:
  """Returns neck, clothes, hair and hat."""
  scene, skull = view.scene, view.skull
  base, frame, neck = _shoulders(view, world)
  in_head = lambda p: solids.transform(p, view.matrix, scene.translation)
  in_body = lambda p: solids.transform(p, frame, base)

  def parts(point: Point) -> tuple[Array, Array, Array, Array]:
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

  def solid(point: Point) -> Array:
    a, b, c, d = parts(point)
    return jnp.minimum(jnp.minimum(a, b), jnp.minimum(c, d))

  ray, hit, normal = _seen(view, solid, near=7.4, far=13.5, steps=26)
  kind = jnp.argmin(jnp.stack(parts(hit.point)), 0)
  finest = view.size / 6
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
  pixel = 2.2 / view.size
  fringe = jnp.where(kind == 0, 0.01 + 0.06 * scene.hair.frizz, 0.0)
  outside = hit.gap - 0.005 - fringe * jnp.clip(strand, -0.3, 1)
  alpha = jnp.clip(1 - outside / (pixel + fringe), 0, 1)
  color = palette.to_srgb(linear) * scene.light.color[None, None]
  return Layer(color, alpha, -hit.distance * ray.z, (kind == 3).astype(jnp.float32))


def _seen(
  view: View, solid: solids.Distance, *, near: float, far: float, steps: int
) -> tuple[Point, solids.Hit, Point]:
  """Returns the rays of all pixels, where they meet a solid, and its normals there.

  The march is most of the work of a photo. Gap, distance and normal vary slowly over
  the picture, so that large photos march every second or fourth ray and interpolate;
  edges stay sharp because opacity is computed from the interpolated gap.
  """
  size = view.size
  coarse = size // (1 if size < 128 else 2 if size < 512 else 4)
  origin, ray = solids.camera_rays(view.camera, coarse)
  hit = solids.march(solid, origin, ray, near=near, far=far, steps=steps)
  normal = solids.gradient(solid, hit.point)
  if coarse == size:
    return ray, hit, normal
  fields = jnp.stack([hit.gap, hit.distance, *normal])
  fields = jax.image.resize(fields, (5, size, size), "linear")
  _, ray = solids.camera_rays(view.camera, size)
  gap, distance = fields[0], fields[1]
  point = Point(*(o + r * distance for o, r in zip(origin, ray, strict=True)))
  norm = jnp.maximum(solids.length(*fields[2:]), 1e-6)
  return ray, solids.Hit(gap, distance, point), Point(*(v / norm for v in fields[2:]))


def _shoulders(
  view: View, world: Float[Array, "v 3"]
) -> tuple[
  Float[Array, "3"], Float[Array, "3 3"], tuple[Float[Array, "3"], Float[Array, ""]]
]:
  """Returns origin and axes of the body's frame, and (top, radius) of the neck."""
  ring = world[view.anatomy.neck]
  middle = jnp.mean(ring, 0)
  base = middle - jnp.array([0.0, 0.25, 0.0])
  turn = view.scene.outfit.twist * jnp.deg2rad(view.scene.angles_deg[0])
  c, s = jnp.cos(turn), jnp.sin(turn)
  zero, one = jnp.zeros_like(c), jnp.ones_like(c)
  frame = jnp.stack([c, zero, s, zero, one, zero, -s, zero, c]).reshape(3, 3)
  top = (middle + jnp.array([0.0, 0.12, 0.0]) - base) @ frame
  return base, frame, (top, 0.47 * (jnp.max(ring[:, 0]) - jnp.min(ring[:, 0])))


def _things(view: View) -> Layer:
  """Returns hand and microphone; takes no time in pictures without them."""
  thing = view.scene.occluders
  shape = (view.size, view.size)

  def absent() -> Layer:
    return Layer(jnp.zeros((*shape, 3)), jnp.zeros(shape), jnp.full(shape, 1e3))

  return jax.lax.cond(
    thing.hand[0] + thing.stick[0] > 0, lambda: _solid_things(view), absent
  )


def _solid_things(view: View) -> Layer:
  thing = view.scene.occluders

  def solid(point: Point) -> Array:
    return jnp.minimum(
      occluders.hand_distance(point, thing), occluders.stick_distance(point, thing)
    )

  ray, hit, normal = _seen(view, solid, near=7.6, far=10.0, steps=16)
  hand = occluders.hand_distance(hit.point, thing)
  is_hand = (hand < occluders.stick_distance(hit.point, thing)).astype(jnp.float32)
  base = occluders.solid_color(hit.point, is_hand, thing)
  color = _lit(view, base, normal.stacked(), openness=0.8)
  alpha = jnp.clip(1 - (hit.gap - 0.005) / (2.2 / view.size), 0, 1)
  return Layer(color, alpha, -hit.distance * ray.z)


def _cloth_mask(view: View, surface: HeadSurface) -> Layer:
  thing = view.scene.occluders
  point = texture(view.layout.point[None], surface.uv[None])[0]
  alpha, pleat = occluders.mask_alpha(point, thing, view.anatomy.landmarks)
  seen = surface.depth < 100
  base = thing.mask_color[None, None] * pleat[..., None]
  color = _lit(view, base, surface.normal, openness=0.9)
  return Layer(color, alpha * seen, surface.depth - 0.01)


def _glasses(view: View) -> tuple[Layer, ...]:
  """Returns the two arms and the front of the glasses."""
  scene, pixel = view.scene, 2.2 / view.size
  origin, ray = solids.camera_rays(view.camera, view.size)
  start = solids.transform(origin, view.matrix, scene.translation)
  turned = solids.transform(ray, view.matrix, (0.0, 0.0, 0.0))
  alpha, rim, t = occluders.glasses(start, turned, scene.occluders, view.skull, pixel)
  shape = (*rim.shape, 3)
  dark = jnp.broadcast_to(scene.occluders.glasses_color[None, None], shape)
  base = 0.02 + (dark - 0.02) * rim[..., None]
  normal = jnp.broadcast_to(view.matrix[:, 2][None, None], shape)
  front = Layer(_lit(view, base, normal), alpha, -t * ray.z)
  arms = occluders.temples(start, turned, scene.occluders, view.skull, pixel)
  side = _lit(view, dark, normal)
  return (*(Layer(side, opacity, -t * ray.z) for opacity, t in arms), front)


def _flat_layers(
  view: View,
) -> Iterator[tuple[Float[Array, "h w 3"], Float[Array, "h w"]]]:
  """Yields color and opacity of loose strands of hair and of a blob."""
  x, y = background.image_grid(view.size)
  scene = view.scene
  up = jnp.broadcast_to(jnp.array([0.0, 0.5, 0.87]), (*x.shape, 3))
  for base, alpha in (
    (scene.hair.color, occluders.loose_strands(x, y, scene.occluders)),
    (scene.occluders.patch_color, occluders.patch_alpha(x, y, scene.occluders)),
  ):
    yield _lit(view, base[None, None] * jnp.ones_like(up), up), alpha
