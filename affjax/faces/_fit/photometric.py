"""What colours a fitted head: diffuse and light map read off the photo.

Each texel looks where its place on the posed head lies in the photo. Light is a
second-order spherical harmonic of the normal (Ramamoorthi and Hanrahan 2001), fitted
robustly to the brightness of visible skin, so that spots, brows and lips stay in the
diffuse map. What the photo does not show comes from the other half of the face, and
what neither shows from a plain face in the tone of the visible skin.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import ndimage

from affjax.geometry import camera as cameras
from affjax.geometry import mesh, uv
from affjax.ops import resize_bilinear
from affjax.render import head_buffers
from affjax.types import Camera, Template

# Cosines between normal and line of sight from which a texel counts, and fully.
_GRAZING, _FACING = 0.15, 0.5
# Of another surface before it, dm.
_HIDDEN = 0.05
# Light stays in this range about its mean on the face.
_DARK, _BRIGHT = 0.35, 1.9
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclasses.dataclass(frozen=True, eq=False)
class Colors:
  """Maps of a face.

  Attributes:
    diffuse: in [0, 1].
    light: >= 0; about one on the part of the face that is seen.
    seen: how much of each texel the photo itself shows, in [0, 1].
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
) -> Colors:
  """Diffuse and light map of a fitted head.

  Args:
    image: the crop, in [0, 1].
    skin: where it shows the head's own surface (`affjax.faces.regions`).
    vertices: of the fit, head space, dm.
    pose: of the fit.
    template: of the vertices. Its masks "scalp", "eyes", "mouth", "lips", "brows",
      "ears" and "neck" are used where it has them.
    camera: of the crop.
    plain: a diffuse map of nobody, for what is not seen; S is its size.
  """
  size = len(plain)
  table = uv.uv_table(template, size)
  texel = _texels(vertices, pose, template, camera, size, len(image))
  masks = {name: _mask(template, name, size) for name in _MASKS}
  facing = _smooth(_GRAZING, _FACING, texel["cosine"]) * texel["visible"]
  facing = facing * table.support
  color, own = _read(image, texel["px"]), _read(skin, texel["px"])[..., 0]
  # Half a skin is a strand of hair before it.
  own = _smooth(0.4, 0.9, own)
  # Hair on the scalp is what its texture shows.
  own = np.maximum(own, masks["scalp"])
  weight = facing * own
  features = sum(masks[name] for name in ("scalp", "eyes", "mouth", "lips", "brows"))
  bare = weight * np.clip(1 - features, 0, 1)
  light = _light(color, texel["normal"], bare, size)
  shade = np.asarray(
    resize_bilinear(jnp.asarray(light)[None], (size, size))[0], np.float64
  )
  seen = np.clip(color / shade, 0, 1)
  diffuse = _completed(seen, weight, bare, plain, masks, table.support)
  return Colors(diffuse.astype(np.float32), light, weight.astype(np.float32))


_MASKS = ("scalp", "eyes", "mouth", "lips", "brows", "ears", "neck")


def _mask(template: Template, name: str, size: int) -> np.ndarray:
  if name not in template.masks:
    return np.zeros((size, size), np.float32)
  return uv.resize_mask(template.masks[name], size)


def _texels(vertices, pose, template, camera, size: int, width: int) -> dict:
  """Where each texel lies in the crop, its normal, cosine and whether it is seen."""
  out = _compiled(template, camera, size, width)(
    jnp.asarray(vertices), jnp.asarray(pose)
  )
  out = {name: np.asarray(value, np.float64) for name, value in out.items()}
  # The nearest pixel's depth; at the rim that of a neighbour further back counts.
  depth = np.where(out["depth"] > 0, out["depth"], np.inf)
  column, row = (np.clip(np.rint(out["px"][..., k]), 0, width - 1) for k in (0, 1))
  found = depth[row.astype(int), column.astype(int)]
  inside = ((out["px"] > -0.5) & (out["px"] < width - 0.5)).all(-1)
  return {**out, "visible": inside & (out["distance"] < found + _HIDDEN)}


@functools.lru_cache(maxsize=8)
def _compiled(template: Template, camera: Camera, size: int, width: int):
  table = uv.uv_table(template, size)

  @jax.jit
  def run(vertices, pose):
    world = cameras.head_to_world(vertices[None], pose[None])
    buffers = head_buffers(world, template, camera, (width, width))
    normals = mesh.vertex_normals(world, template.faces)
    values = uv.map_from_vertices(jnp.concatenate([world, normals], -1), table)[0]
    place, normal = values[..., :3], values[..., 3:]
    norm = jnp.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / jnp.where(norm > 0, norm, 1.0)
    sight = jnp.array([[[0.0, 0.0, camera.distance]]]) - place
    sight = sight / jnp.linalg.norm(sight, axis=-1, keepdims=True)
    return {
      "px": cameras.world_to_px(place, camera, width, width),
      "distance": camera.distance - place[..., 2],
      "normal": normal,
      "cosine": (normal * sight).sum(-1),
      "depth": buffers.depth[0, ..., 0],
    }

  return run


def _read(image: np.ndarray, px: np.ndarray) -> np.ndarray:
  """Bilinear; beyond the edge the edge repeats."""
  at = [px[..., 1], px[..., 0]]
  channels = np.moveaxis(np.asarray(image, np.float64), -1, 0)
  read = [ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in channels]
  return np.stack(read, -1)


def _smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


def _harmonics(n: np.ndarray) -> np.ndarray:
  """The nine functions of a unit normal, unnormalised."""
  x, y, z = n[..., 0], n[..., 1], n[..., 2]
  one = np.ones_like(x)
  return np.stack([one, x, y, z, x * y, y * z, z * x, x * x - y * y, 3 * z * z - 1], -1)


def _light(color, normal, weight, size: int) -> Float[np.ndarray, "l l 1"]:
  """The light map at S/8 from the brightness of skin; ones where it sees too little."""
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


def _completed(seen, weight, bare, plain, masks, support) -> np.ndarray:
  """The seen texels, the mirrored ones, and the plain face in the tone of the skin.

  Everything happens in ratios to the plain map, which is mirrored as it is: a missing
  texel gets its own plain colour times the ratio of its surroundings.
  """
  ratio = seen / np.maximum(plain, 0.02)
  tone = _tone(ratio, bare)
  # Hair hangs over ears and neck, and beards do not: dark there is not their own.
  beside = np.clip(masks["ears"] + masks["neck"], 0, 1)
  lit = _smooth(0.45, 0.75, (ratio @ _LUMA) / max(tone @ _LUMA, 0.02))
  weight = weight * (1 - beside * (1 - lit))
  other = weight[:, ::-1] * (1 - weight) if _symmetric(support) else 0 * weight
  total = weight + other
  both = (weight[..., None] * ratio + other[..., None] * ratio[:, ::-1]) / np.maximum(
    total, 1e-6
  )[..., None]
  # Parts have tones of their own: the skin's must not flow into eyes and teeth.
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


def _tone(ratio, weight, default=None) -> np.ndarray:
  """The median ratio where the weight is large."""
  chosen = weight > 0.4
  if chosen.sum() < 50:
    return np.ones(3) if default is None else default
  return np.median(ratio[chosen], 0)


def _symmetric(support: np.ndarray) -> bool:
  """Whether the layout is its own mirror image, as ours is."""
  return bool(np.mean(support == support[:, ::-1]) > 0.97)


def _spread(values, weight, tone) -> np.ndarray:
  """Values carried to where none are, more smoothly the further; then the tone."""
  result = np.broadcast_to(tone, values.shape)
  for sigma in (48, 24, 12, 6, 3):
    sigma = sigma * len(values) / 512
    share = ndimage.gaussian_filter(weight, sigma)[..., None]
    mean = np.stack(
      [
        ndimage.gaussian_filter(weight * values[..., k], sigma)
        for k in range(values.shape[-1])
      ],
      -1,
    )
    known = share / (share + 0.02)
    result = result + (mean / np.maximum(share, 1e-6) - result) * known
  return result
