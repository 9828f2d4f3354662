"""Conventions, and the frozen dataclasses that every layer shares.

Images: float32 `[N, H, W, C]`, RGB in [0, 1], sRGB-encoded, row 0 = top. Pixel
`(row i, column j)` has its center at `(x, y) = (j, i)` in `_px` coordinates.

Head space: right-handed, +x to the right of the image when the head faces the camera,
+y up, +z towards the camera; decimeters; the origin is the center of the head.

Camera: perspective, looking along -z from `(0, 0, distance)`. A pose is six numbers,
axis-angle rotation (radians) then translation (dm), applied to head-space points as
`R p + t`. World -> camera -> clip -> ndc -> px, one function each in
`affjax.geometry.camera`. Clip space and rasters are nvdiffrast's; our projection puts
image row 0 at `y/w = -1`, so that no image is ever flipped.

UV: `(0, 0)` = bottom left, texel edges at 0 and 1. A UV map is `[S, S, C]` with row 0
at `v = 1`: `row = (1 - v) S - 0.5`, `column = u S - 0.5`; `u` grows with +x.

The four maps: position `[S, S, 3]` (head-space dm, with expression, without pose);
diffuse `[S, S, 3]` in [0, 1]; light `[S/8, S/8, 1]` >= 0; pose `[6]`.

Affine matrices: `theta [..., 2, 3]`, rows (x, y), columns (dx, dy, 1), in window
coordinates: at output pixel `(i, j)` with stride `s`, tap `(dx, dy)` samples
`(x, y) = (s j, s i) + theta @ (dx, dy, 1)`. Outside the input, samples read zero.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

P = ParamSpec("P")
R = TypeVar("R")

# Functions of JAX arrays that take NumPy arrays as well.
ArrayLike = jax.Array | np.ndarray
# Functions whose result is a NumPy array exactly when their argument is one.
ArrayT = TypeVar("ArrayT", jax.Array, np.ndarray)


def namespace(array: ArrayLike) -> Any:
  """Returns the module of functions for an array: NumPy, or `jax.numpy`.

  A function of NumPy arrays that stays in NumPy compiles nothing.
  """
  return np if isinstance(array, np.ndarray) else jnp


def stack_last(first: ArrayT, *others: ArrayT) -> ArrayT:
  """Stacks arrays along a new last axis."""
  return namespace(first).stack([first, *others], -1)


@dataclasses.dataclass(frozen=True)
class Camera:
  """The pinhole camera of MeInGame and Deep3D; hashable, hence static under `jit`.

  Attributes:
    fov_deg: vertical field of view, degrees.
    distance: distance of the camera in front of the origin, dm.
    near: distance of the near plane from the camera, dm.
    far: distance of the far plane from the camera, dm.
  """

  fov_deg: float = 12.5936
  distance: float = 10.0
  near: float = 1.0
  far: float = 30.0

  def __post_init__(self):
    if not 0 < self.fov_deg < 180:
      raise ValueError(f"fov_deg must lie in (0, 180), got {self.fov_deg}")
    if not 0 < self.near < self.far:
      raise ValueError(f"need 0 < near < far, got near={self.near}, far={self.far}")


@dataclasses.dataclass(frozen=True, eq=False)
class Template:
  """A head mesh with UV coordinates: plain data, compared and hashed by identity.

  Positions are welded: a vertex on a UV seam exists once in `vertices` and several
  times in `uvs`, so that normals and antialiasing see a closed surface.

  Attributes:
    name: the name of the head, e.g. "embedded".
    vertices: float32 `[V, 3]`, the mean shape in head space, dm.
    faces: int32 `[T, 3]`, triangles as indices into `vertices`, counter-clockwise seen
      from outside.
    uvs: float32 `[U, 2]` in [0, 1].
    faces_uv: int32 `[T, 3]`, the same triangles as indices into `uvs`.
    face_groups: int32 `[T]`, index into `group_names`.
    group_names: names of the parts, e.g. ("skin", "eyes", "teeth").
    masks: named UV masks, float32 `[M, M]` in [0, 1], row 0 at v = 1.
    landmark_faces: int32 `[68]`, the triangle under each standard landmark.
    landmark_weights: float32 `[68, 3]`, barycentric weights in that triangle.
    diffuse: uint8 `[M, M, 3]`, a plain diffuse map, sRGB, row 0 at v = 1; None if the
      template has none.
  """

  name: str
  vertices: np.ndarray
  faces: np.ndarray
  uvs: np.ndarray
  faces_uv: np.ndarray
  face_groups: np.ndarray
  group_names: tuple[str, ...]
  masks: Mapping[str, np.ndarray]
  landmark_faces: np.ndarray
  landmark_weights: np.ndarray
  diffuse: np.ndarray | None = None

  def __post_init__(self):
    for field, low, high in (
      ("faces", 0, len(self.vertices)),
      ("faces_uv", 0, len(self.uvs)),
      ("landmark_faces", 0, len(self.faces)),
    ):
      values = getattr(self, field)
      if values.size and (values.min() < low or values.max() >= high):
        raise ValueError(
          f"{field} of template {self.name!r} must index [{low}, {high}), got "
          f"[{values.min()}, {values.max()}]"
        )
    if self.faces.shape != self.faces_uv.shape:
      raise ValueError(
        f"faces and faces_uv of template {self.name!r} must have one shape, got "
        f"{self.faces.shape} and {self.faces_uv.shape}"
      )

  def landmark_positions(
    self, vertices: Float[ArrayT, "*b v 3"]
  ) -> Float[ArrayT, "*b l 3"]:
    """Returns the landmarks on posed or unposed vertices, in the vertices' space."""
    return self.surface_points(vertices, self.landmark_faces, self.landmark_weights)

  @overload
  def surface_points(
    self,
    vertices: Float[np.ndarray, "*b v 3"],
    triangles: Int[np.ndarray, " l"],
    weights: Float[np.ndarray, "l 3"],
  ) -> Float[np.ndarray, "*b l 3"]: ...

  @overload
  def surface_points(
    self,
    vertices: Float[Array, "*b v 3"],
    triangles: Int[np.ndarray, " l"],
    weights: Float[np.ndarray, "l 3"],
  ) -> Float[Array, "*b l 3"]: ...

  def surface_points(
    self,
    vertices: Float[ArrayLike, "*b v 3"],
    triangles: Int[np.ndarray, " l"],
    weights: Float[np.ndarray, "l 3"],
  ) -> Float[ArrayLike, "*b l 3"]:
    """Returns points of the surface on posed or unposed vertices.

    Args:
      vertices: the head, in any space.
      triangles: the triangle of each point.
      weights: the barycentric weights of each point in its triangle.
    """
    corners = vertices[..., self.faces[triangles], :]
    lead = (1,) * (corners.ndim - 3)
    return (corners * weights.reshape(*lead, *weights.shape, 1)).sum(-2)

  @functools.cached_property
  def memo(self) -> dict[Any, Any]:
    """The results of `per_template` functions, by function and arguments."""
    return {}

  def __getstate__(self) -> dict[str, Any]:
    return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def per_template(
  function: Callable[Concatenate[Template, P], R],
) -> Callable[Concatenate[Template, P], R]:
  """Decorates a function of a template so that it computes each result only once.

  Results are kept with the template, by function and arguments, and go with it.
  """

  @functools.wraps(function)
  def remembered(template: Template, *args: P.args, **kwargs: P.kwargs) -> R:
    key = (function, args, tuple(sorted(kwargs.items())))
    if key not in template.memo:
      template.memo[key] = function(template, *args, **kwargs)
    return template.memo[key]

  return remembered


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Guide:
  """Coarse heads of N photos, which guided networks correct.

  Attributes:
    vertices: coarse heads, such as fits, head space, dm.
    pose: their poses.
    known: 1 where there is a coarse head, 0 where there is none.
    skin: probability that each pixel shows the head's own surface; None if unknown.
  """

  vertices: Float[ArrayLike, "n v 3"]
  pose: Float[ArrayLike, "n 6"]
  known: Float[ArrayLike, " n"]
  skin: Float[ArrayLike, "n h w 1"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """The data of N samples for a training step. H = W = photo size, S = map size.

  Attributes:
    image: photos.
    visible: 1 where the photo shows the head's surface, 0 on background and occluders;
      it weights the photometric losses. All ones where it is unknown.
    position: pseudo ground truth of the position map, dm.
    pose: ground truth of the pose, valid where `has_pose` is 1.
    diffuse: ground truth of the diffuse map, valid where `has_diffuse` is 1.
    has_pose: 1 for samples with a known pose, else 0.
    has_diffuse: 1 for samples with a diffuse map, else 0.
    guide: coarse heads for networks that take one.
  """

  image: Float[Array, "n h w 3"]
  visible: Float[Array, "n h w 1"]
  position: Float[Array, "n s s 3"]
  pose: Float[Array, "n 6"]
  diffuse: Float[Array, "n s s 3"]
  has_pose: Float[Array, " n"]
  has_diffuse: Float[Array, " n"]
  guide: Guide | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
  """The output of the four networks and the renderer for N photos.

  Attributes:
    position: head-space position map, dm.
    diffuse: diffuse map in [0, 1].
    light: light map >= 0 at an eighth of the map size.
    light_color: global illumination color; ones if the network predicts none.
    pose: axis-angle rotation and translation.
    vertices: the template's vertices after the pose, world space, dm.
    render: the antialiased head over black, in [0, 1].
    alpha: coverage of the render in [0, 1].
  """

  position: Float[Array, "n s s 3"]
  diffuse: Float[Array, "n s s 3"]
  light: Float[Array, "n l l 1"]
  light_color: Float[Array, "n 3"]
  pose: Float[Array, "n 6"]
  vertices: Float[Array, "n v 3"]
  render: Float[Array, "n h w 3"]
  alpha: Float[Array, "n h w 1"]
