"""Pictures of meshes as clay and of errors as colors."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from affjax import render
from affjax.eval import Cases, Heads, Truths, alignment_of, rendered
from affjax.export import to_uint8
from affjax.geometry import mesh, surface, uv
from affjax.geometry.camera import head_to_world, world_to_clip
from affjax.types import Camera, Template, per_template

CLAY = np.array((0.80, 0.66, 0.58))
_GRAY, _LIGHT = np.array((0.78, 0.78, 0.80)), np.array((0.3, 0.4, 0.87))
_PAPER = 0.96
# Side of the pictures, px; they are drawn at twice the size.
SIZE = 384
# Distance that has the last color of the heat map, mm, and its colors.
WORST_MM = 6.0
RAMP = np.array(
  (
    (0.93, 0.96, 0.98),
    (0.99, 0.87, 0.55),
    (0.96, 0.55, 0.28),
    (0.78, 0.16, 0.22),
    (0.35, 0.02, 0.28),
  )
)


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
  """A mesh as pixels.

  Attributes:
    shade: Brightness of clay in [0, 1].
    values: The given values of vertices, interpolated.
    empty: Pixels beside the mesh.
  """

  shade: Float[np.ndarray, "s s 1"]
  values: Float[np.ndarray, "s s c"]
  empty: np.ndarray


def draw(
  clip: Float[np.ndarray, "v 4"],
  points: Float[np.ndarray, "v 3"],
  faces: Int[np.ndarray, "t 3"],
  values: Float[np.ndarray, "v c"],
  side: int,
) -> Drawing:
  """Draws a mesh.

  Args:
    clip: Vertices in clip space.
    points: The same vertices in a space whose +z is towards the camera.
    faces: Triangles, counter-clockwise from outside.
    values: Values of each vertex to interpolate.
    side: Side of the picture, px.
  """
  one = lambda rows: jnp.asarray(rows, jnp.float32)[None]
  raster = render.rasterize(one(clip), faces, (side, side))
  normals = mesh.vertex_normals(one(points), faces)
  layers = jnp.concatenate([normals, one(values)], -1)
  shown = np.asarray(render.interpolate(layers, raster, faces))[0]
  bright = np.clip(shown[..., :3] @ _LIGHT, 0, 1)[..., None]
  return Drawing(
    0.25 + 0.75 * bright, shown[..., 3:], np.asarray(raster)[0, ..., 3] <= 0
  )


def heat(distances: Float[np.ndarray, " v"]) -> Float[np.ndarray, "v 3"]:
  """Returns the colors of distances, mm."""
  place = np.clip(distances / WORST_MM, 0, 1) * (len(RAMP) - 1)
  steps = np.arange(len(RAMP))
  return np.stack([np.interp(place, steps, RAMP[:, k]) for k in range(3)], -1)


def of_case(cases: Cases, k: int) -> dict[str, UInt8[np.ndarray, "h h 3"]]:
  """Returns the pictures of one photo by caption: photo, render, shapes, error."""
  pictures = {"photo": cases.given.photos[k]}
  if isinstance(cases.answers, Heads) and cases.answers.diffuse is not None:
    pictures["render on the photo"] = _over_photo(cases, k)
  if isinstance(cases.given, Truths):
    pictures |= _shapes(cases, k)
  return pictures


def _over_photo(cases: Cases, k: int) -> UInt8[np.ndarray, "h h 3"]:
  size = cases.given.photos.shape[1]
  image, alpha = rendered(cases, size)
  photo = cases.given.photos[k] / np.float32(255)
  return to_uint8(photo * (1 - alpha[k]) + image[k])


def _shapes(cases: Cases, k: int) -> dict[str, UInt8[np.ndarray, "h h 3"]]:
  """Returns the shape, laid on the truth, the truth, and their distance."""
  template, truths = cases.template, cases.truths
  pose, true = truths.pose[k], truths.vertices[k]
  own, faces, apart = _laid(cases, k)
  picture = lambda points, triangles, colors: _posed(
    points, triangles, colors, pose, truths.camera
  )
  clay = lambda points: np.broadcast_to(CLAY, (len(points), 3))
  on_face = _face_vertices(template)[:, None]
  colors = on_face * heat(apart) + (1 - on_face) * _GRAY
  return {
    "shape, laid on the truth": picture(own, faces, clay(own)),
    "true shape": picture(true, template.faces, clay(true)),
    f"distance, 0 to {WORST_MM:g} mm": picture(true, template.faces, colors),
  }


def _laid(
  cases: Cases, k: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"], Float[np.ndarray, " w"]]:
  """Returns a shape laid on the truth, its triangles, and distances of true vertices.

  The distances are between corresponding points, or to the nearest point of the surface
  of another tool; mm.
  """
  true = cases.truths.vertices[k]
  if isinstance(cases.answers, Heads):
    flat = lambda maps: maps[k].reshape(-1, 3)
    move = alignment_of(
      flat(cases.head_texels), flat(cases.true_texels), cases.face.ravel(), "similarity"
    )
    own = np.asarray(move(cases.answers.vertices[k]))
    return own, cases.template.faces, 100 * np.linalg.norm(own - true, axis=-1)
  own, faces = cases.laid[k].vertices, cases.answers.faces[k]
  if surface.looks_inward(own, faces):
    faces = faces[:, ::-1]
  triangle, weights = surface.nearest_points(true, own, faces)
  nearest = np.einsum("pc,pcx->px", weights, own[faces[triangle]])
  return own, faces, 100 * np.linalg.norm(nearest - true, axis=-1)


def _posed(
  points: Float[np.ndarray, "v 3"],
  faces: Int[np.ndarray, "t 3"],
  colors: Float[np.ndarray, "v 3"],
  pose: Float[np.ndarray, " 6"],
  camera: Camera,
) -> UInt8[np.ndarray, "h h 3"]:
  """Draws a head in the view of its photo."""
  world = np.asarray(head_to_world(points.astype(np.float32), pose))
  clip = np.asarray(world_to_clip(world, camera))
  drawing = draw(clip, world, faces, colors, 2 * SIZE)
  color = np.where(
    drawing.empty[..., None], _PAPER, drawing.shade**0.7 * drawing.values
  )
  return to_uint8(color.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3)))


@per_template
def _face_vertices(template: Template) -> Float[np.ndarray, " v"]:
  """Returns the value of the mask "face" at each vertex."""
  mask = template.masks["face"]
  found = np.zeros(len(template.vertices))
  texel = uv.uv_to_texel(template.uvs[template.faces_uv.ravel()], len(mask))
  column, row = np.clip(np.rint(texel), 0, len(mask) - 1).astype(int).T
  found[template.faces.ravel()] = mask[row, column]
  return found
