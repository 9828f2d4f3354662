"""The UV map laid over the photo, according to a head in a pose.

A 3 x 3 predictor of affine matrices cannot see where the face is. Geometry can: the
projection of each texel places the windows of the first layer, so that every feature
of the network lies in UV space.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.geometry import mesh, mirror, uv
from affjax.geometry.camera import world_to_cam, world_to_clip
from affjax.ops import bilinear, theta
from affjax.render import interpolate, rasterize
from affjax.types import ArrayLike, Camera, Template

# Number of channels of `Alignment.cues` and of `picture_of`.
CUES, PICTURE = 8, 4
# Least distance of a nearer surface that hides a texel, dm; a pixel is added, because
# the depth is that of the nearest pixel's center.
_HIDDEN = 0.03
# Width of what the camera sees at the head's distance, dm.
_PHOTO_WIDTH = 2.2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alignment:
  """The UV map laid over the photo.

  Attributes:
    prior: Matrices that place the windows of a layer of stride 1, one for each texel.
    visible: How well the photo shows each texel, in [0, 1]: the cosine between the
      normal and the direction to the camera, times the probability of skin, where it
      is known; 0 where another surface is in front, beyond the photo's edge, on the far
      side, and outside the charts.
    cues: What the networks are told about each texel: `visible`, the normal in camera
      space, the deviation of the place on the head from the mean head in standard
      deviations, and 1 where the head is known and not the mean head for lack of one.
    template: The head, whose layout says where mirrored texels are.
  """

  prior: Float[Array, "n s s 2 3"]
  visible: Float[Array, "n s s 1"]
  cues: Float[Array, "n s s 8"]
  template: Template = dataclasses.field(metadata={"static": True})

  @property
  def normals(self) -> Float[Array, "n s s 3"]:
    """The normal of each texel in camera space; 0 outside the charts."""
    return self.cues[..., 1:4]

  @property
  def places(self) -> Float[Array, "n s s 2"]:
    """The place (x, y) of each texel in the photo, px."""
    size = self.prior.shape[1]
    return self.prior[..., 2] + theta.centers_px(size, size, 1)[None]

  def mirrored(self, values: Float[Array, "n t t c"]) -> Float[Array, "n t t c"]:
    """Returns the values of the mirrored texels, of maps of any size."""
    if mirror.is_symmetric(self.template):
      return mirror.flip_map(values, None)
    return mirror.flip_map(values, mirror.mirror_texels(self.template, values.shape[1]))


def align(
  vertices: Float[Array, "n v 3"],
  depth: Float[Array, "n h w 1"],
  template: Template,
  camera: Camera,
  *,
  deviation: Float[Array, "n s s 3"],
  known: Float[Array, " n"],
  skin: Float[Array, "n h w 1"] | None = None,
) -> Alignment:
  """Lays the UV map over the photo. No gradient passes.

  Args:
    vertices: Vertices in world space, dm.
    depth: Distance of the head's surface at each pixel, dm, as `picture_of` returns it.
    template: The head.
    camera: Camera of the photo.
    deviation: Deviation of each texel's place from the mean head, in standard
      deviations; its size is the size of the map.
    known: 1 for heads that are known, 0 for the mean head in place of one.
    skin: Probability that each pixel shows the head's own surface.
  """
  size, resolution = deviation.shape[1], (depth.shape[1], depth.shape[2])
  vertices, deviation = jax.lax.stop_gradient((vertices, deviation))
  table = uv.uv_table(template, size)
  places = uv.projection_affine(
    vertices, template, camera, size=size, resolution=resolution
  )
  normals = mesh.vertex_normals(vertices, jnp.asarray(template.faces))
  maps = uv.map_from_vertices(jnp.concatenate([vertices, normals], -1), table)
  to_camera, normal = -world_to_cam(maps[..., :3], camera), _unit(maps[..., 3:])
  cosine = jnp.sum(normal * _unit(to_camera), -1, keepdims=True)
  xy = places[..., 2]
  shown = _in_front(xy, to_camera[..., 2:], jax.lax.stop_gradient(depth))
  visible = jnp.maximum(cosine, 0.0) * shown * table.support[None, ..., None]
  if skin is not None:
    visible = visible * read(skin, xy)
  told = jnp.broadcast_to(known[:, None, None, None], visible.shape)
  cues = jnp.concatenate([visible, normal, deviation, told], -1)
  return Alignment(theta.from_places(places), visible, cues, template)


def picture_of(
  vertices: Float[Array, "n v 3"],
  template: Template,
  camera: Camera,
  resolution: tuple[int, int],
) -> tuple[Float[Array, "n h w 4"], Float[Array, "n h w 1"]]:
  """Returns what the photo would show of a head, and how far away. No gradient passes.

  Args:
    vertices: Vertices in world space, dm.
    template: The head.
    camera: Camera of the photo.
    resolution: (height, width) of the photo, px.

  Returns:
    The picture, which holds for each pixel the place on the mean head in [0, 1]³ (the
    projected normalized coordinate code of Zhu et al. 2016) and 1 on the head; and the
    distance along the camera's axis, dm; zeros beside the head.
  """
  height, width = resolution
  vertices = jax.lax.stop_gradient(vertices)
  clip = world_to_clip(vertices, camera, aspect=width / height)
  rast = rasterize(clip, template.faces, resolution)
  code = jnp.broadcast_to(
    jnp.asarray(_code(template))[None], (len(clip), *clip.shape[1:])
  )
  values = interpolate(jnp.concatenate([code, clip[..., 3:]], -1), rast, template.faces)
  return values[..., :4], values[..., 4:]


def read(
  image: Float[ArrayLike, "n h w c"], xy: Float[Array, "n s s 2"]
) -> Float[Array, "n s s c"]:
  """Returns bilinear samples of an image, whose edge repeats."""
  last = jnp.array([image.shape[2] - 1, image.shape[1] - 1], jnp.float32)
  inside = jnp.clip(xy, 0.0, last.reshape(1, 1, 1, 2))
  return bilinear(jnp.asarray(image, jnp.float32), inside)


def _code(template: Template) -> np.ndarray:
  """Returns the code `[V, 4]` of each vertex."""
  low, high = template.vertices.min(0), template.vertices.max(0)
  place = (template.vertices - low) / np.maximum(high - low, 1e-6)
  return np.concatenate([place, np.ones((len(place), 1))], -1).astype(np.float32)


def _in_front(
  xy: Float[Array, "n s s 2"],
  distance: Float[Array, "n s s 1"],
  depth: Float[Array, "n h w 1"],
) -> Float[Array, "n s s 1"]:
  """Returns 1 for points in the photo with no surface before them, else 0."""
  count, height, width, _ = depth.shape
  limit = jnp.array([width, height], jnp.float32).reshape(1, 1, 1, 2) - 0.5
  inside = ((xy >= -0.5) & (xy <= limit)).all(-1)
  column = jnp.clip(jnp.rint(xy[..., 0]), 0, width - 1).astype(jnp.int32)
  row = jnp.clip(jnp.rint(xy[..., 1]), 0, height - 1).astype(jnp.int32)
  pixel = (row * width + column).reshape(count, -1)
  found = jnp.take_along_axis(depth.reshape(count, -1), pixel, 1).reshape(inside.shape)
  margin = _HIDDEN + _PHOTO_WIDTH / height
  hidden = (found > 0) & (distance[..., 0] > found + margin)
  return (inside & ~hidden)[..., None].astype(jnp.float32)


def _unit(x: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
  return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))
