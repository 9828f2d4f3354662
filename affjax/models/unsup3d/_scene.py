"""`Scene` holds what Unsup3D says of photos, and `render_scene` makes them again."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from affjax.geometry.depth import depth_to_normals
from affjax.models.unsup3d import _rendering


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Light:
  """Ambient light and light from one direction, for N photos.

  Attributes:
    ambient: Ambient light.
    directed: Light that falls along `direction`.
    direction: That direction, a unit vector away from the camera.
  """

  ambient: Float[Array, " n"]
  directed: Float[Array, " n"]
  direction: Float[Array, "n 3"]

  def shading(self, normal: Float[Array, "2 n s s 3"]) -> Float[Array, "2 n s s 1"]:
    """Returns the factor on the albedo of surfaces with these normals."""
    each = lambda values: values[None, :, None, None]
    facing = jnp.sum(normal * each(self.direction), -1, keepdims=True)
    ambient, directed = each(self.ambient[:, None]), each(self.directed[:, None])
    return ambient + directed * jnp.maximum(facing, 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scene:
  """The faces in N photos of S x S px, and the photos made again of them.

  An axis of length 2 holds the face as it was predicted, then its mirror image: both
  must make the photo. Depths have the unit of `affjax.geometry.depth`.

  Attributes:
    depth: Depth in the canonical view.
    albedo: Albedo in the canonical view, in [0, 1].
    normal: Unit normals in the canonical view; away from the camera.
    canonical: Albedo in the light, in the canonical view; it may exceed 1.
    view: View of each photo, angles (radians) and translation.
    light: Light in the canonical view.
    seen_depth: Depth in the view of the photo.
    render: The photo made again; 0.5 where `mask` is 0.
    mask: 1 where both faces are seen, else 0.
    sigma: How far a color may be off, a scale in the unit of differences in [-1, 1].
    feature_sigma: The same for features at a quarter of the size.
  """

  depth: Float[Array, "2 n s s"]
  albedo: Float[Array, "2 n s s 3"]
  normal: Float[Array, "2 n s s 3"]
  canonical: Float[Array, "2 n s s 3"]
  view: Float[Array, "n 6"]
  light: Light
  seen_depth: Float[Array, "2 n s s"]
  render: Float[Array, "2 n s s 3"]
  mask: Float[Array, "n s s 1"]
  sigma: Float[Array, "2 n s s 1"]
  feature_sigma: Float[Array, "2 n t t 1"]

  def pictures(self) -> dict[str, Float[Array, "n s s _"]]:
    """Returns pictures of the scene by name, in [0, 1]; shaded colors may exceed it."""
    # White is near, as in Unsup3D's ground truth.
    return {
      "render": self.render[0],
      "mirrored": self.render[1],
      "canonical": self.canonical[0],
      "albedo": self.albedo[0],
      "depth": (1.1 - self.depth[0, ..., None]) / 0.2,
      "shape": self.normal[0, ..., 2:],
      "confidence": 1 / (1 + self.sigma[0]),
    }


def render_scene(
  *,
  depth: Float[Array, "2 n s s"],
  albedo: Float[Array, "2 n s s 3"],
  view: Float[Array, "n 6"],
  light: Light,
  sigma: Float[Array, "2 n s s 1"],
  feature_sigma: Float[Array, "2 n t t 1"],
  nearest: float,
  farthest: float,
) -> Scene:
  """Returns the scene of these maps, with the photos that they make.

  Args:
    depth: As in `Scene`, as the next ones.
    albedo: Albedo.
    view: Views.
    light: Light.
    sigma: Confidence of colors.
    feature_sigma: Confidence of features.
    nearest: Least depth in the view of a photo.
    farthest: Largest one, at which a pixel counts as showing nothing.
  """
  normal = depth_to_normals(depth)
  canonical = albedo * light.shading(normal)
  flat = lambda maps: maps.reshape(-1, *maps.shape[2:])
  views = jnp.concatenate([view, view])
  seen = _rendering.warped_depth(flat(depth), views, nearest=nearest, farthest=farthest)
  # Outside the canonical picture there is the gray in the middle of the colors.
  colors = _rendering.sampled(flat(canonical) - 0.5, seen, views).reshape(albedo.shape)
  seen = seen.reshape(depth.shape)
  mask = jax.lax.stop_gradient(
    jnp.all(seen < farthest, 0)[..., None].astype(depth.dtype)
  )
  return Scene(
    depth=depth,
    albedo=albedo,
    normal=normal,
    canonical=canonical,
    view=view,
    light=light,
    seen_depth=seen,
    render=colors * mask[None] + 0.5,
    mask=mask,
    sigma=sigma,
    feature_sigma=feature_sigma,
  )
