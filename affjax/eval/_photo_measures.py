"""Measures of what a photo shows: pose, landmarks, textures, renders."""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.eval import _geometry, _identity, _image, _texels
from affjax.eval._cases import Cases
from affjax.eval._perceptual import perceptual_distance
from affjax.eval._shape_measures import Values
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.ops import resize_bilinear
from affjax.render import render_head, shade
from affjax.types import Camera, Template

# The measures of pictures, with their units.
PICTURES = (
  ("L1", ""),
  ("PSNR", "dB"),
  ("SSIM", ""),
  ("color", "ΔE"),
  ("perceptual", ""),
)
_RENDER_SIZE = 256
# Side of the renders whose perceptual distance is taken: VGG takes most of the time.
_PERCEPTUAL_SIZE = 128
# Background of the renders that the face encoder sees.
_GRAY = 0.5

# Numbers in an embedding of the embedded encoder; embeddings of heads and their photos.
EMBEDDING_SIZE = 128
Embeddings: TypeAlias = Float[np.ndarray, "2 n d"]
# The measures of how often a head leads to its photo, and how many photos count.
RETRIEVALS = {"identity top-1": 1, "identity top-5": 5}


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
  own = _own_landmarks(cases, cases.given.photos.shape[1])
  return {
    "": np.asarray(_geometry.landmark_error(own, _true_landmarks(cases))[:, part])
  }


def _true_landmarks(cases: Cases) -> Float[np.ndarray, "n 68 2"]:
  if cases.given.landmarks is not None:
    return cases.given.landmarks.astype(np.float32)
  truths, size = cases.truths, cases.given.photos.shape[1]
  return _landmarks_px(cases, truths.vertices, truths.pose, size)


def _own_landmarks(cases: Cases, size: int) -> Float[np.ndarray, "n 68 2"]:
  return _landmarks_px(cases, cases.heads.vertices, _own_pose(cases), size)


def _landmarks_px(
  cases: Cases,
  vertices: Float[np.ndarray, "n v 3"],
  pose: Float[np.ndarray, "n 6"],
  size: int,
) -> Float[np.ndarray, "n 68 2"]:
  """Returns the landmarks of posed heads in pictures of a size."""
  world = head_to_world(cases.template.landmark_positions(vertices), pose)
  return np.asarray(world_to_px(world, cases.given.camera, size, size))


_ERRORS: dict[str, Callable[..., object]] = {
  "L1": _image.l1_error,
  "PSNR": _image.psnr,
  "SSIM": _image.ssim,
  "color": _image.color_difference,
  "perceptual": perceptual_distance,
}


def diffuses(cases: Cases, error: str, shown: bool) -> Values:
  """Errors of diffuse maps over the face's texels that the photo shows, or hides."""
  which = cases.shown if shown else ~cases.shown
  mask = (which * cases.face)[..., None].astype(np.float32)
  return {"": np.asarray(_ERRORS[error](*_diffuse_maps(cases), mask))}


@functools.lru_cache(maxsize=2)
def _diffuse_maps(
  cases: Cases,
) -> tuple[Float[np.ndarray, "n m m 3"], Float[np.ndarray, "n m m 3"]]:
  """Returns the diffuse maps of the heads and the true ones at the size of masks."""
  own, true = cases.heads.diffuse, cases.truths.diffuse
  assert own is not None
  assert true is not None
  return np.stack([_resized(m) for m in own]), np.stack([_resized(m) for m in true])


def _resized(values: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "m m 3"]:
  channels = np.moveaxis(values, -1, 0)
  return np.stack([uv.resize_mask(c, _texels.MAP_SIZE) for c in channels], -1)


def renders(cases: Cases, error: str) -> Values:
  """Errors of the rendered head over the visible pixels that it covers."""
  size = _PERCEPTUAL_SIZE if error == "perceptual" else _RENDER_SIZE
  images, alpha = rendered(cases, size)
  small = lambda values: np.asarray(
    resize_bilinear(jnp.asarray(values, jnp.float32), (size, size))
  )
  photos = small(cases.given.photos / np.float32(255))
  visible = small(cases.given.visible[..., None])
  mask = ((visible > 0.5) & (alpha > 0.99)).astype(np.float32)
  return {"": np.asarray(_ERRORS[error](images, photos, mask))}


def identities(cases: Cases, canonical: bool = False) -> Values:
  """Cosine of the embeddings of photo and rendered head."""
  return {"": np.asarray(_identity.identity_cosine(*identity_pair(cases, canonical)))}


def retrievals(pair: Embeddings, top: int) -> Values:
  """1 for each photo that is among the `top` most similar to its rendered head, else 0.

  Args:
    pair: Embeddings of the heads and of the photos, as `identity_pair` returns them.
    top: Number of photos that count.
  """
  placed = np.isfinite(pair).all((0, 2))
  values = np.full(pair.shape[1], np.nan, np.float32)
  if placed.any():
    values[placed] = _identity.retrieval(*pair[:, placed], top=top)
  return {"": values}


@functools.lru_cache(maxsize=4)
def identity_pair(cases: Cases, canonical: bool) -> Embeddings:
  """Returns the embeddings of the heads, rendered over gray, and of their photos.

  Args:
    cases: Cases whose heads have pose, diffuse map and light.
    canonical: Whether the heads face the camera (the paper's table 2) instead of having
      the pose of the photo.

  Returns:
    Heads first; NaN for heads without a pose.
  """
  images, alpha = rendered(cases, _RENDER_SIZE, canonical)
  # The render of a head without a pose holds NaN; it counts as none.
  over = np.nan_to_num(images + _GRAY * (1 - alpha))
  pictures = np.rint(255 * np.clip(over, 0, 1)).astype(np.uint8)
  pose = _pose_in_render(cases, canonical)
  own = _landmarks_px(cases, cases.heads.vertices, pose, _RENDER_SIZE)
  true = _true_landmarks(cases)
  placed = np.flatnonzero(np.isfinite(_own_pose(cases)).all(1))
  pair = np.full((2, len(own), EMBEDDING_SIZE), np.nan, np.float32)
  if len(placed):
    for k, (some, marks) in enumerate(((pictures, own), (cases.given.photos, true))):
      found = _identity.identity_features([some[j] for j in placed], marks[placed])
      pair[k, placed] = found
  return pair


def _pose_in_render(cases: Cases, canonical: bool) -> Float[np.ndarray, "n 6"]:
  """Returns the poses in which heads are drawn."""
  pose = _own_pose(cases)
  return np.zeros_like(pose) if canonical else pose


@functools.lru_cache(maxsize=2)
def rendered(
  cases: Cases, size: int, canonical: bool = False
) -> tuple[Float[np.ndarray, "n h h 3"], Float[np.ndarray, "n h h 1"]]:
  """Returns the heads as the renderer draws them, and their coverage.

  Args:
    cases: Cases whose heads have pose, diffuse map and light.
    size: Side of the pictures, px.
    canonical: Whether they face the camera instead of having the pose of the photo.
  """
  heads = cases.heads
  assert heads.diffuse is not None
  assert heads.light is not None
  color = np.ones((len(heads), 3), np.float32)
  color = color if heads.light_color is None else heads.light_color
  world = head_to_world(heads.vertices, _pose_in_render(cases, canonical))
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
