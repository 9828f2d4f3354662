"""Diffuse and light map of a fitted head, read off the photo.

Each texel takes the color of the pixel where its place on the posed head lies. Light is
a second-order spherical harmonic of the normal (Ramamoorthi and Hanrahan 2001), fitted
robustly to the brightness of visible skin, so that spots, brows and lips stay in the
diffuse map. The module `completion` paints what the photo does not show.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage

from affjax import compilation
from affjax.faces._fit import completion
from affjax.faces._fit.completion import smooth_step
from affjax.geometry import mesh, uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.ops import resize_bilinear
from affjax.render import head_buffers
from affjax.types import Camera, Template

# Cosines between normal and line of sight from which a texel counts, and counts fully:
# of skin, and in eyes and mouth, whose few vertices have normals that say little.
_FACING, _INNER_FACING = (0.2, 0.6), (0.02, 0.2)
# Least distance of a surface that hides a texel, dm, and how near to its edge in the
# picture texels count as hidden, as a share of the crop.
_HIDDEN, _EDGE = 0.1, 1 / 256
# Shares of the head's own surface from which a pixel counts, and counts fully: on skin,
# and on brows, in eyes and mouth.
_SKIN, _INNER = (0.4, 0.9), (0.15, 0.5)
# Shares below which something else surely is there, and may be, and the width of its
# rim, as a share of the crop.
_FRONT, _RIM = (0.05, 0.3), 1 / 250
# How far things in front of the skin blur onto it, as a share of the map, and how much
# of them from which texels count less, and not at all.
_BLUR, _BESIDE = 1 / 20, (0.02, 0.2)
# Range of the light, whose mean on the face is about one.
_DARK, _BRIGHT = 0.35, 1.9
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True, eq=False)
class FaceColors:
  """Maps of a face.

  Attributes:
    diffuse: Diffuse map in [0, 1].
    light: Light map >= 0, about one on the part of the face that is seen.
    seen: Share of each texel that the photo itself shows, in [0, 1].
  """

  diffuse: Float[np.ndarray, "s s 3"]
  light: Float[np.ndarray, "l l 1"]
  seen: Float[np.ndarray, "s s"]


def read_colors(
  image: Float[np.ndarray, "c c 3"],
  skin: Float[np.ndarray, "c c 1"],
  vertices: Float[np.ndarray, "v 3"],
  pose: Float[np.ndarray, " 6"],
  template: Template,
  camera: Camera,
  plain: Float[np.ndarray, "s s 3"],
  *,
  inside: Float[np.ndarray, "c c 1"] | None = None,
  scalp: completion.Scalp = "skin",
) -> FaceColors:
  """Reads the diffuse and the light map of a fitted head off a crop.

  Args:
    image: Crop in [0, 1].
    skin: Share of each pixel that shows the head's own surface (`visible_skin`).
    vertices: Vertices of the fit, head space, dm.
    pose: Pose of the fit.
    template: Template of the vertices. Its masks "scalp", "eyes", "mouth", "lips",
      "brows", "ears" and "neck" are used where it has them.
    camera: Camera of the crop.
    plain: Diffuse map of no one in particular, for texels that are not seen; S is its
      size.
    inside: Share of each pixel that lies within the photo (`inside_photo`); all of it
      if not given. Texels beyond the photo's border are not seen.
    scalp: The look of the scalp: "skin" = skin, as on a shaved head; "photo" = whatever
      the photo shows there, which is hair as a rule; "none" = neutral gray, to be
      covered by a hair model.
  """
  size = len(plain)
  support = uv.uv_table(template, size).support
  texel = _texels(vertices, pose, template, camera, size, len(image))
  masks = completion.texel_masks(template, size)
  inner = masks["inner"]
  facing = smooth_step(*_FACING, texel["cosine"]) * (1 - inner)
  facing = facing + smooth_step(*_INNER_FACING, texel["cosine"]) * inner
  facing = facing * texel["visible"] * support
  # Behind closed lips nothing is seen of the mouth, however near it lies.
  shown = facing * (1 - masks["mouth"] * (1 - texel["open"]))
  if inside is not None:
    shown = shown * smooth_step(0.9, 1.0, _read(inside, texel["px"])[..., 0])
  color = _read(image, texel["px"])
  own, front = np.moveaxis(_read(_with_front(skin), texel["px"]), -1, 0)
  blocked = (facing - shown * (1 - front)) * (1 - inner)
  # A pixel that is half skin is a strand of hair before the skin; brows, teeth and the
  # whites of eyes are less sure.
  skinlike, moist = (smooth_step(*r, own) for r in (_SKIN, _INNER))
  skinlike = skinlike + masks["brows"] * (moist - skinlike)
  skinlike = skinlike * (1 - smooth_step(*_BESIDE, completion.near(blocked, _BLUR)))
  weight = shown * (skinlike * (1 - front) * (1 - inner) + moist * inner)
  light = _light(color, texel["normal"], weight * masks["bare"], size)
  shade = np.asarray(_enlarged(light[None], size=(size, size))[0])
  seen = np.clip(color / shade, 0, 1)
  diffuse, known = completion.completed(
    *(seen, weight, blocked, shown, plain, template, scalp)
  )
  return FaceColors(diffuse.astype(np.float32), light, known.astype(np.float32))


_enlarged = compilation.saved(static_argnames=("size",))(resize_bilinear)


def with_eyes_and_mouth(
  diffuse: Float[np.ndarray, "s s 3"],
  light: Float[np.ndarray, "l l c"],
  colors: FaceColors,
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns a diffuse map with the eyes and the inside of the mouth of a photo.

  Args:
    diffuse: A diffuse map.
    light: Light in which it will be seen, of one channel or three. The colors of the
      photo are divided by it.
    colors: Maps of the same head and photo, as `read_colors` returns them; their
      diffuse map has the same size.
    template: Template of the maps, with the masks "eyes" and "mouth".
  """
  side = (len(diffuse), len(diffuse))
  inner = completion.texel_masks(template, side[0])["inner"][..., None]
  shade, own = (
    np.asarray(_enlarged(x[None], size=side)[0]) for x in (light, colors.light)
  )
  seen = np.clip(colors.diffuse * own / np.maximum(shade, _DARK), 0, 1)
  return (diffuse + inner * (seen - diffuse)).astype(np.float32)


def _with_front(skin: Float[np.ndarray, "c c 1"]) -> Float[np.ndarray, "c c 2"]:
  """Returns shares of skin, and how surely something else is there or beside it."""
  side = 2 * max(round(_RIM * len(skin)), 1) + 1
  front = ndimage.maximum_filter(1 - smooth_step(*_FRONT, skin), (side, side, 1))
  return np.concatenate([skin, front], -1)


def _texels(
  vertices: Float[np.ndarray, "v 3"],
  pose: Float[np.ndarray, " 6"],
  template: Template,
  camera: Camera,
  size: int,
  width: int,
) -> dict[str, np.ndarray]:
  """Returns each texel's place in the crop, normal, cosine and whether it is seen."""
  out = _projected(
    vertices, pose, template=template, camera=camera, size=size, width=width
  )
  out = {name: np.asarray(value) for name, value in out.items()}
  depth = np.where(out["depth"] > 0, out["depth"], np.inf)
  # The fit is not exact: beside the edge of a surface in front its colors are seen.
  depth = ndimage.minimum_filter(depth, 2 * max(round(_EDGE * width), 1) + 1)
  place = np.clip(np.rint(out["px"]), 0, width - 1).astype(int)
  column, row = place[..., 0], place[..., 1]
  found = depth[row, column]
  inside = ((out["px"] > -0.5) & (out["px"] < width - 0.5)).all(-1)
  return {
    **out,
    "visible": inside & (out["distance"] < found + _HIDDEN),
    "open": _open_mouth(out["uv"], template)[row, column],
  }


def _open_mouth(
  places: Float[np.ndarray, "c c 2"], template: Template
) -> Bool[np.ndarray, "c c"]:
  """Returns which pixels of a crop show the inside of the mouth and no edge of it.

  Args:
    places: UV coordinates that the pixels show, (0, 0) beside the head.
    template: The head.
  """
  mask = template.masks.get("mouth", np.zeros((1, 1), np.float32))
  column, row = np.moveaxis(uv.uv_to_texel(places, len(mask)), -1, 0)
  at = [np.clip(np.rint(k), 0, len(mask) - 1).astype(int) for k in (row, column)]
  side = 2 * max(round(_EDGE * len(places)), 1) + 1
  return ndimage.minimum_filter(mask[at[0], at[1]] > 0.5, side)


@compilation.saved(
  static_argnames=("template", "camera", "size", "width"), kernels=("rasterizer",)
)
def _projected(
  vertices: Float[Array, "v 3"],
  pose: Float[Array, " 6"],
  *,
  template: Template,
  camera: Camera,
  size: int,
  width: int,
) -> dict[str, Array]:
  world = head_to_world(vertices[None], pose[None])
  buffers = head_buffers(world, template, camera, (width, width))
  normals = mesh.vertex_normals(world, template.faces)
  both = jnp.concatenate([world, normals], -1)
  values = uv.map_from_vertices(both, uv.uv_table(template, size))[0]
  place, normal = values[..., :3], values[..., 3:]
  norm = jnp.linalg.norm(normal, axis=-1, keepdims=True)
  normal = normal / jnp.where(norm > 0, norm, 1.0)
  sight = jnp.array([[[0.0, 0.0, camera.distance]]]) - place
  sight = sight / jnp.linalg.norm(sight, axis=-1, keepdims=True)
  return {
    "px": world_to_px(place, camera, width, width),
    "distance": camera.distance - place[..., 2],
    "normal": normal,
    "cosine": (normal * sight).sum(-1),
    "depth": buffers.depth[0, ..., 0],
    "uv": buffers.uv[0],
  }


def _read(
  image: Float[np.ndarray, "c c k"], px: Float[np.ndarray, "s s 2"]
) -> Float[np.ndarray, "s s k"]:
  """Returns bilinear samples of an image, whose edge repeats."""
  at = [px[..., 1], px[..., 0]]
  channels = np.moveaxis(image, -1, 0)
  read = [ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in channels]
  return np.stack(read, -1)


def _harmonics(n: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 9"]:
  """Returns the nine functions of a unit normal, not normalized."""
  x, y, z = n[..., 0], n[..., 1], n[..., 2]
  one = np.ones_like(x)
  return np.stack([one, x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], -1)


def _light(
  color: Float[np.ndarray, "s s 3"],
  normal: Float[np.ndarray, "s s 3"],
  weight: Float[np.ndarray, "s s"],
  size: int,
) -> Float[np.ndarray, "l l 1"]:
  """Returns the light map at S/8 from the brightness of skin; ones without skin."""
  low = max(size // 8, 1)
  small = normal.reshape(low, size // low, low, size // low, 3).mean((1, 3))
  norm = np.linalg.norm(small, axis=-1, keepdims=True)
  basis = _harmonics(small / np.maximum(norm, 1e-6))
  chosen = weight > 0.2
  if chosen.sum() < 0.01 * chosen.size:
    return np.ones((low, low, 1), np.float32)
  luma, rows, w = (color @ _LUMA)[chosen], _harmonics(normal[chosen]), weight[chosen]
  level = np.average(luma, weights=w)
  ridge = np.diag([0.0] + [0.01] * 3 + [0.05] * 5) * w.sum()
  robust = np.ones_like(w)
  found = np.zeros(9)
  for _ in range(8):
    a = rows * (w * robust)[:, None]
    found = np.linalg.solve(a.T @ rows + ridge, a.T @ (luma / level))
    error = luma / level - rows @ found
    robust = 1 / (1 + (error / 0.1) ** 2)
  light = np.clip(basis @ found, _DARK, _BRIGHT)
  light = np.where(norm[..., 0] > 0.1, light, 1.0)
  return light[..., None].astype(np.float32)
