"""Photos with 3D truth and the heads that were reconstructed from them.

`Cases` pairs both and computes once what several measures share: texels of both heads,
the texels that a photo shows, and normals.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from affjax.eval._alignment import aligned
from affjax.eval._regions import REGIONS, face_regions
from affjax.geometry import mesh, uv
from affjax.geometry.camera import head_to_world, world_to_clip, world_to_px
from affjax.render import head_buffers
from affjax.types import Camera, Template, per_template

# Side of the UV maps on which heads are compared, and of the buffers that tell which
# texels a photo shows.
MAP_SIZE = 128
_BUFFER_SIZE = 256
# Least cosine between normal and line of sight of a texel that a photo shows, and the
# largest distance behind the foremost surface, dm.
_FACING, _BEHIND = 0.2, 0.04


@dataclasses.dataclass(frozen=True, eq=False)
class Truths:
  """N photos of a template's heads whose geometry is known.

  Attributes:
    names: Name of each photo.
    template: Topology of the heads; its vertices are the mean head.
    camera: Camera of the photos.
    photos: The photos, square.
    visible: Pixels that show the head's surface, without occluders.
    vertices: Vertices in head space, dm, with expression.
    pose: Axis-angle rotation and translation (dm) in the photo.
    diffuse: Diffuse map in [0, 1]; None where it is unknown.
    light: Light map >= 0; None where it is unknown.
    light_color: Global color of the light; None where it is unknown.
    expression_mm: Mean displacement of the face by the expression, mm; NaN if unknown.
    scans: For each head the points of its surface around the nose that scan distances
      are measured from, head space, dm; None where there are none.
  """

  names: Sequence[str]
  template: Template
  camera: Camera
  photos: UInt8[np.ndarray, "n h h 3"]
  visible: Bool[np.ndarray, "n h h"]
  vertices: Float[np.ndarray, "n v 3"]
  pose: Float[np.ndarray, "n 6"]
  diffuse: Float[np.ndarray, "n s s 3"] | None = None
  light: Float[np.ndarray, "n l l 1"] | None = None
  light_color: Float[np.ndarray, "n 3"] | None = None
  expression_mm: Float[np.ndarray, " n"] | None = None
  scans: Sequence[Float[np.ndarray, "_ 3"]] | None = None

  def __len__(self) -> int:
    return len(self.names)

  def chosen(self, index: Sequence[int]) -> "Truths":
    """Returns some of the photos."""
    return dataclasses.replace(self, **_chosen(self, index))


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
  """N reconstructed heads in the topology of a template.

  Attributes:
    vertices: Vertices in head space, dm, with expression.
    pose: Pose before the camera of the photo; None if the method gives none.
    diffuse: Diffuse map in [0, 1]; None if the method gives none.
    light: Light map >= 0; None if the method gives none.
    light_color: Global color of the light; None if the method gives none.
  """

  vertices: Float[np.ndarray, "n v 3"]
  pose: Float[np.ndarray, "n 6"] | None = None
  diffuse: Float[np.ndarray, "n s s 3"] | None = None
  light: Float[np.ndarray, "n l l 1"] | None = None
  light_color: Float[np.ndarray, "n 3"] | None = None

  def __len__(self) -> int:
    return len(self.vertices)

  def chosen(self, index: Sequence[int]) -> "Heads":
    """Returns some of the heads."""
    return dataclasses.replace(self, **_chosen(self, index))


def _chosen(whole: Truths | Heads, index: Sequence[int]) -> dict[str, object]:
  """Returns the fields with one entry a head, cut to some of the heads."""
  chosen: dict[str, object] = {}
  for field in dataclasses.fields(whole):
    value = getattr(whole, field.name)
    if isinstance(value, np.ndarray):
      chosen[field.name] = value[list(index)]
    elif isinstance(value, Sequence) and not isinstance(value, str):
      chosen[field.name] = [value[k] for k in index]
  return chosen


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
  """N reconstructed heads beside their truth, with what measures share.

  Attributes:
    truths: Photos with their truth.
    heads: The reconstructed heads, in the same order and topology.

  Raises:
    ValueError: The numbers of heads or of their vertices differ.
  """

  truths: Truths
  heads: Heads

  def __post_init__(self):
    wanted, got = self.truths.vertices.shape, self.heads.vertices.shape
    if wanted != got:
      raise ValueError(f"vertices of the heads must have shape {wanted}, got {got}")

  @property
  def template(self) -> Template:
    """The topology of all heads."""
    return self.truths.template

  @functools.cached_property
  def face(self) -> Float[np.ndarray, "s s"]:
    """The weight of each texel in the face."""
    return face_texels(self.template)

  @functools.cached_property
  def regions(self) -> dict[str, Float[np.ndarray, "s s"]]:
    """The weight of each texel in each region: first "face", then `REGIONS`."""
    return {"face": self.face, **region_texels(self.template)}

  @functools.cached_property
  def true_texels(self) -> Float[np.ndarray, "n s s 3"]:
    """Position maps of the truth, dm."""
    return texels(self.truths.vertices, self.template)

  @functools.cached_property
  def head_texels(self) -> Float[np.ndarray, "n s s 3"]:
    """Position maps of the heads, dm."""
    return texels(self.heads.vertices, self.template)

  def aligned_texels(self, alignment: str) -> Float[np.ndarray, "n p 3"]:
    """Returns the heads' texels after an alignment on the face, see `aligned`."""
    flat = lambda maps: maps.reshape(len(maps), -1, 3)
    return np.asarray(
      aligned(
        flat(self.head_texels), flat(self.true_texels), self.face.ravel(), alignment
      )
    )

  @functools.cached_property
  def exposed(self) -> Bool[np.ndarray, "n s s"]:
    """Texels of the truth that face the camera and that no part of the head hides."""
    return exposed_texels(self.truths)

  @functools.cached_property
  def shown(self) -> Bool[np.ndarray, "n s s"]:
    """Exposed texels that the photo shows without an occluder."""
    return self.exposed & _visible_at(self.truths, self.true_texels)


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


def exposed_texels(truths: Truths) -> Bool[np.ndarray, "n s s"]:
  """Returns the texels that face the camera and that no part of the head hides."""
  world = head_to_world(truths.vertices, truths.pose)
  place = texels(np.asarray(world), truths.template)
  normal = normal_texels(np.asarray(world), truths.template)
  sight = np.array([0, 0, truths.camera.distance], np.float32) - place
  cosine = (normal * sight).sum(-1) / np.linalg.norm(sight, axis=-1)
  foremost = depth_maps(np.asarray(world), truths.template, truths.camera, _BUFFER_SIZE)
  depth = np.asarray(world_to_clip(place, truths.camera))[..., 3]
  at, inside = _pixels(place, truths.camera, _BUFFER_SIZE)
  hit = np.take_along_axis(
    foremost.reshape(len(place), -1), at.reshape(len(place), -1), 1
  ).reshape(depth.shape)
  hidden = (hit > 0) & (depth > hit + _BEHIND)
  table = uv.uv_table(truths.template, MAP_SIZE)
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


def unsup3d_camera(camera: Camera, size: int) -> Camera:
  """Returns a camera with the rays of Unsup3D's at a size of depth maps.

  It sees a head as large as the given camera does.
  """
  half = math.tan(math.radians(camera.fov_deg) / 2)
  # Unsup3D's principal rays go through the centers of the outermost pixels.
  own = math.tan(math.radians(5)) * size / (size - 1)
  distance = camera.distance * half / own
  fov = math.degrees(2 * math.atan(own))
  return Camera(fov_deg=fov, distance=distance, near=1.0, far=2 * distance)


def _pixels(
  place: Float[np.ndarray, "n s s 3"], camera: Camera, size: int
) -> tuple[np.ndarray, Bool[np.ndarray, "n s s"]]:
  """Returns the flat index of the pixel that shows each place, and if there is one."""
  px = np.rint(np.asarray(world_to_px(place, camera, size, size))).astype(int)
  inside = np.all((px >= 0) & (px < size), axis=-1, keepdims=True)[..., 0]
  px = np.clip(px, 0, size - 1)
  return px[..., 1] * size + px[..., 0], inside


def _visible_at(
  truths: Truths, place: Float[np.ndarray, "n s s 3"]
) -> Bool[np.ndarray, "n s s"]:
  """Returns the value of `visible` at the pixel of each head-space place."""
  flat = place.reshape(len(place), -1, 3)
  world = np.asarray(head_to_world(flat, truths.pose)).reshape(place.shape)
  at, inside = _pixels(world, truths.camera, truths.visible.shape[1])
  rows = truths.visible.reshape(len(place), -1)
  seen = np.take_along_axis(rows, at.reshape(len(place), -1), 1)
  return inside & seen.reshape(inside.shape)
