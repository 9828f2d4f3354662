"""Measures of what a photo shows: pose, landmarks, textures, renders."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.eval import _geometry, _image, _texels
from affjax.eval._cases import Cases
from affjax.eval._shape_measures import Values
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.ops import resize_bilinear
from affjax.render import render_head, shade
from affjax.types import Camera, Template

_RENDER_SIZE = 256


def rotations(cases: Cases) -> Values:
  """Angle of the rotation between both poses, degrees."""
  return {"": np.asarray(_geometry.rotation_error(_own_pose(cases), cases.truths.pose))}


def _own_pose(cases: Cases) -> Float[np.ndarray, "n 6"]:
  assert cases.heads.pose is not None
  return cases.heads.pose.astype(np.float32)


def translations(cases: Cases, axis: int) -> Values:
  """Distance of the centers of the faces across or along the optical axis, mm."""
  weights = cases.face / cases.face.sum()
  center = lambda maps: np.einsum("nsxc,sx->nc", maps, weights)[:, None]
  true = head_to_world(center(cases.true_texels), cases.truths.pose)
  own = head_to_world(center(cases.head_texels), _own_pose(cases))
  apart = 100 * np.abs(np.asarray(own - true)[:, 0])
  return {"": np.linalg.norm(apart[:, :2], axis=-1) if axis == 0 else apart[:, 2]}


def landmarks(cases: Cases, part: int) -> Values:
  """Normalized mean error of landmarks in the photo: 0 = inner ones, 1 = contour.

  The true landmarks are those of the true head, or the detected ones of a photo whose
  geometry is not known.
  """
  true = cases.given.landmarks
  if true is None:
    true = _landmarks_px(cases, cases.truths.vertices, cases.truths.pose)
  own = _landmarks_px(cases, cases.heads.vertices, _own_pose(cases))
  return {"": np.asarray(_geometry.landmark_error(own, true)[:, part])}


def _landmarks_px(
  cases: Cases, vertices: Float[np.ndarray, "n v 3"], pose: Float[np.ndarray, "n 6"]
) -> Float[np.ndarray, "n 68 2"]:
  size = cases.given.photos.shape[1]
  world = head_to_world(cases.template.landmark_positions(vertices), pose)
  return np.asarray(world_to_px(world, cases.given.camera, size, size))


_PICTURES: dict[str, Callable[..., object]] = {
  "L1": _image.l1_error,
  "PSNR": _image.psnr,
  "SSIM": _image.ssim,
  "color": _image.color_difference,
}


def diffuses(cases: Cases, error: str, shown: bool) -> Values:
  """Errors of diffuse maps over the face's texels that the photo shows, or hides."""
  own, true = cases.heads.diffuse, cases.truths.diffuse
  assert own is not None
  assert true is not None
  which = cases.shown if shown else ~cases.shown
  mask = (which * cases.face)[..., None].astype(np.float32)
  maps = (np.stack([_resized(m) for m in maps]) for maps in (own, true))
  return {"": np.asarray(_PICTURES[error](*maps, mask))}


def _resized(values: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "m m 3"]:
  channels = np.moveaxis(values, -1, 0)
  return np.stack([uv.resize_mask(c, _texels.MAP_SIZE) for c in channels], -1)


def renders(cases: Cases, error: str) -> Values:
  """Errors of the rendered head over the visible pixels that it covers."""
  size = _RENDER_SIZE
  images, alpha = rendered(cases, size)
  small = lambda values: np.asarray(
    resize_bilinear(jnp.asarray(values, jnp.float32), (size, size))
  )
  photos = small(cases.given.photos / np.float32(255))
  visible = small(cases.given.visible[..., None])
  mask = ((visible > 0.5) & (alpha > 0.99)).astype(np.float32)
  return {"": np.asarray(_PICTURES[error](images, photos, mask))}


def rendered(
  cases: Cases, size: int
) -> tuple[Float[np.ndarray, "n h h 3"], Float[np.ndarray, "n h h 1"]]:
  """Returns the heads as the renderer draws them in the photos, and their coverage.

  Args:
    cases: Cases whose heads have pose, diffuse map and light.
    size: Side of the pictures, px.
  """
  heads = cases.heads
  assert heads.diffuse is not None
  assert heads.light is not None
  color = np.ones((len(heads), 3), np.float32)
  color = color if heads.light_color is None else heads.light_color
  world = head_to_world(heads.vertices, _own_pose(cases))
  maps = (jnp.asarray(values) for values in (heads.diffuse, heads.light, color))
  options = {"camera": cases.given.camera, "size": size}
  images, alpha = _drawn(world, *maps, template=cases.template, **options)
  return np.asarray(images), np.asarray(alpha)


@functools.partial(jax.jit, static_argnames=("template", "camera", "size"))
def _drawn(
  world: Float[Array, "n v 3"],
  diffuse: Float[Array, "n s s 3"],
  light: Float[Array, "n l l 1"],
  color: Float[Array, "n 3"],
  *,
  template: Template,
  camera: Camera,
  size: int,
) -> tuple[Float[Array, "n h h 3"], Float[Array, "n h h 1"]]:
  texture = shade(diffuse, light, color)
  return render_head(world, texture, template, camera, (size, size))
