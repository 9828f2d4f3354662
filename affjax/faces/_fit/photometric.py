"""Diffuse and light map of a fitted head, read off the photo.

Each texel takes the color of the pixel where its place on the posed head lies. Light is
a second-order spherical harmonic of the normal (Ramamoorthi and Hanrahan 2001), fitted
robustly to the brightness of visible skin, so that spots, brows and lips stay in the
diffuse map. Texels that the photo does not show come from the other half of the face,
and those that neither half shows from a plain face in the tone of the visible skin.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy import ndimage

from affjax import compilation
from affjax.geometry import mesh, uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.ops import resize_bilinear
from affjax.render import head_buffers
from affjax.types import Camera, Template

# Cosines between normal and line of sight from which a texel counts, and counts fully.
_GRAZING, _FACING = 0.15, 0.5
# Least distance of another surface that hides a texel, dm.
_HIDDEN = 0.05
# Range of the light, whose mean on the face is about one.
_DARK, _BRIGHT = 0.35, 1.9
_LUMA = np.array([0.299, 0.587, 0.114])
# Least side of the coarsest level of the pyramid that fills the diffuse map, and the
# blur of each level, in texels of the level.
_COARSEST, _LEVEL_SIGMA = 16, 1.5


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
  """
  size = len(plain)
  table = uv.uv_table(template, size)
  texel = _texels(vertices, pose, template, camera, size, len(image))
  masks = {name: _mask(template, name, size) for name in _MASKS}
  facing = _smooth(_GRAZING, _FACING, texel["cosine"]) * texel["visible"]
  facing = facing * table.support
  color, own = _read(image, texel["px"]), _read(skin, texel["px"])[..., 0]
  # A pixel that is half skin is a strand of hair before the skin.
  own = _smooth(0.4, 0.9, own)
  # The texture of the scalp shows its hair.
  own = np.maximum(own, masks["scalp"])
  weight = facing * own
  features = sum(masks[name] for name in ("scalp", "eyes", "mouth", "lips", "brows"))
  bare = weight * np.clip(1 - features, 0, 1)
  light = _light(color, texel["normal"], bare, size)
  shade = np.asarray(_enlarged(light[None], size=(size, size))[0], np.float64)
  seen = np.clip(color / shade, 0, 1)
  diffuse = _completed(seen, weight, bare, plain, masks, table.support)
  return FaceColors(diffuse.astype(np.float32), light, weight.astype(np.float32))


_enlarged = compilation.saved(static_argnames=("size",))(resize_bilinear)

_MASKS = ("scalp", "eyes", "mouth", "lips", "brows", "ears", "neck")


def _mask(template: Template, name: str, size: int) -> np.ndarray:
  if name not in template.masks:
    return np.zeros((size, size), np.float32)
  return uv.resize_mask(template.masks[name], size)


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
  out = {name: np.asarray(value, np.float64) for name, value in out.items()}
  # At the rim of a surface the nearest pixel may show one further back.
  depth = np.where(out["depth"] > 0, out["depth"], np.inf)
  column, row = (np.clip(np.rint(out["px"][..., k]), 0, width - 1) for k in (0, 1))
  found = depth[row.astype(int), column.astype(int)]
  inside = ((out["px"] > -0.5) & (out["px"] < width - 0.5)).all(-1)
  return {**out, "visible": inside & (out["distance"] < found + _HIDDEN)}


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
  }


def _read(
  image: Float[np.ndarray, "c c k"], px: Float[np.ndarray, "s s 2"]
) -> Float[np.ndarray, "s s k"]:
  """Returns bilinear samples of an image, whose edge repeats."""
  at = [px[..., 1], px[..., 0]]
  channels = np.moveaxis(np.asarray(image, np.float64), -1, 0)
  read = [ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in channels]
  return np.stack(read, -1)


def _smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
  """Returns the smooth step from 0 at `low` to 1 at `high`."""
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


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


def _completed(
  seen: Float[np.ndarray, "s s 3"],
  weight: Float[np.ndarray, "s s"],
  bare: Float[np.ndarray, "s s"],
  plain: Float[np.ndarray, "s s 3"],
  masks: dict[str, Float[np.ndarray, "s s"]],
  support: Bool[np.ndarray, "s s"],
) -> Float[np.ndarray, "s s 3"]:
  """Returns the texels seen, then the mirrored ones, then the plain face in their tone.

  All colors are ratios to the plain map: a missing texel gets its own plain color times
  the ratio of its surroundings.
  """
  ratio = seen / np.maximum(plain, 0.02)
  tone = _tone(ratio, bare, np.ones(3))
  # Hair hangs over ears and neck, where no beard grows: dark texels there are hair.
  beside = np.clip(masks["ears"] + masks["neck"], 0, 1)
  lit = _smooth(0.45, 0.75, (ratio @ _LUMA) / max(tone @ _LUMA, 0.02))
  weight = weight * (1 - beside * (1 - lit))
  other = weight[:, ::-1] * (1 - weight) if _symmetric(support) else 0 * weight
  total = weight + other
  both = (weight[..., None] * ratio + other[..., None] * ratio[:, ::-1]) / np.maximum(
    total, 1e-6
  )[..., None]
  # Eyes and teeth have tones of their own, which the skin's must not replace.
  inner = np.clip(masks["eyes"] + masks["mouth"], 0, 1)
  skin_like = np.where(masks["scalp"] > 0, 0, 1 - inner)
  sure = _smooth(0.0, 0.6, total)
  spread = _spread(both, total * skin_like, tone)
  hair = _spread(
    both, total * masks["scalp"], _tone(ratio, weight * masks["scalp"], tone)
  )
  around = spread + (hair - spread) * masks["scalp"][..., None]
  around = around + (1.0 - around) * inner[..., None]
  result = plain * (around + (both - around) * sure[..., None])
  return np.clip(result, 0, 1)


def _tone(
  ratio: Float[np.ndarray, "s s 3"],
  weight: Float[np.ndarray, "s s"],
  default: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " 3"]:
  """Returns the median ratio where the weight is large, or the default without any."""
  chosen = weight > 0.4
  return np.median(ratio[chosen], 0) if chosen.sum() >= 50 else default


def _symmetric(support: Bool[np.ndarray, "s s"]) -> bool:
  """Returns whether a UV layout is its own mirror image, as the embedded head's is."""
  return bool(np.mean(support == support[:, ::-1]) > 0.97)


def _spread(
  values: Float[np.ndarray, "s s c"],
  weight: Float[np.ndarray, "s s"],
  tone: Float[np.ndarray, " c"],
) -> Float[np.ndarray, "s s c"]:
  """Returns values carried to where none are, more smoothly the further, then the tone.

  A pyramid of weighted means: each level fills what the finer ones do not know.
  """
  known = np.concatenate([values * weight[..., None], weight[..., None]], -1)
  levels = []
  while not levels or len(known) >= 2 * _COARSEST:
    known = _halved(known)
    levels.append(ndimage.gaussian_filter(known, (_LEVEL_SIGMA, _LEVEL_SIGMA, 0)))
  result = np.broadcast_to(tone, (*levels[-1].shape[:2], len(tone)))
  for level, finer in zip(levels[::-1], [*levels[-2::-1], values], strict=True):
    total, share = level[..., :-1], level[..., -1:]
    mean = total / np.maximum(share, 1e-6)
    filled = result + (mean - result) * (share / (share + 0.02))
    result = _doubled(filled)[: len(finer), : finer.shape[1]]
  return result


def _halved(x: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h2 w2 c"]:
  """Returns means of 2 x 2 texels; of an odd number the last one repeats."""
  x = np.pad(x, ((0, len(x) % 2), (0, x.shape[1] % 2), (0, 0)), "edge")
  return 0.25 * (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2])


def _doubled(x: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h2 w2 c"]:
  """Returns texels at twice the resolution, bilinear; the edge repeats."""
  for axis in (0, 1):
    x = np.moveaxis(x, axis, 0)
    edged = np.concatenate([x[:1], x, x[-1:]])
    near = 0.75 * x
    pair = np.stack([near + 0.25 * edged[:-2], near + 0.25 * edged[2:]], 1)
    x = np.moveaxis(pair.reshape(2 * len(x), *x.shape[1:]), 0, axis)
  return x
