"""A whole diffuse map from the texels that a photo shows.

Colors are logarithms of ratios to a plain map: a missing texel gets its own plain color
times a factor. Unseen texels take the mirrored ones, moved smoothly onto the colors
around them, and where neither half is seen a smooth factor (`filling.membrane`).
"""

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from affjax.faces._fit import filling
from affjax.geometry import mirror, uv
from affjax.types import Template, per_template

Scalp = Literal["skin", "photo", "none"]
Mask = Float[np.ndarray, "s s"]

_MASKS = ("scalp", "eyes", "mouth", "lips", "brows", "ears", "neck")
_LUMA = np.array([0.299, 0.587, 0.114])
# Colors below this count as this before the logarithm.
_BLACK = 0.02
# How far a thing in front of the skin casts doubt on the skin, as a share of the map.
_DOUBTED = 1 / 8
# Logarithms of brightness below and above the skin around, and of the distance of
# colors, at which a doubtful texel may be hair, cloth or background, and surely is.
_DARKER, _LIGHTER, _TINTED = (0.15, 0.4), (0.2, 0.5), (0.1, 0.25)
# How much farther from the skin's tone colors may be that spread to unseen skin.
_SPREAD = 1.5
# Mirrored features are moved more smoothly than the rest.
_STIFF = 8.0
# Tints from which a texel of teeth, and of the rest of the mouth, may be lips, and
# surely is.
_TEETH_TINTED, _MOUTH_TINTED = (0.25, 0.5), (0.5, 1.0)
# Brightness of a plain white of the eye, from which the photo's exposure is read, and
# the range of the exposure, by which unseen eyes and teeth are scaled.
_WHITE, _EXPOSURE = 0.5, (0.15, 1.1)
_UNPAINTED = 0.5


def smooth_step(low: float, high: float, value: np.ndarray) -> np.ndarray:
  """Returns the smooth step from 0 at `low` to 1 at `high`."""
  t = np.clip((value - low) / (high - low), 0, 1)
  return t * t * (3 - 2 * t)


@per_template
def texel_masks(template: Template, size: int) -> dict[str, Mask]:
  """Returns masks of a map in [0, 1], zeros where the template has none of the name.

  Beside the template's own there are "inner" (eyes and the mouth's interior), "bare"
  (skin without hair, brows, lips), "plain" (all but brows, lips, eyes, mouth and what
  is beside them), "hairy" (ears, neck and scalp, before which hair hangs), and
  "beardless" (what lies above the nose's tip).
  """
  empty = np.zeros((size, size), np.float32)
  own = {
    name: uv.resize_mask(template.masks[name], size)
    if name in template.masks
    else empty
    for name in _MASKS
  }
  inner = np.clip(own["eyes"] + own["mouth"], 0, 1)
  features = inner + own["scalp"] + own["lips"] + own["brows"]
  kept = own["brows"] + own["lips"] + inner
  kept = ndimage.maximum_filter(kept, max(size // 64, 1))
  return {
    **own,
    "inner": inner,
    "bare": np.clip(1 - features, 0, 1),
    "plain": np.clip(1 - kept, 0, 1),
    "beardless": _beardless(template, size),
    "hairy": np.clip(own["ears"] + own["neck"] + own["scalp"], 0, 1),
  }


def _beardless(template: Template, size: int) -> Mask:
  """Returns a mask of what lies above the landmark at the tip of the nose."""
  if len(template.landmark_faces) != 68:
    return np.ones((size, size), np.float32)
  tip, base = template.landmark_positions(template.vertices)[[30, 33], 1]
  table = uv.uv_table(template, size)
  height = np.asarray(uv.map_from_vertices(template.vertices[:, 1:2], table))[..., 0]
  return smooth_step(float(base), float(tip), height)


def near(blocked: Mask, share: float) -> Mask:
  """Returns how near texels are to things in front of the skin: 0.5 at a long edge."""
  side = max(round(share * len(blocked)), 1)
  return ndimage.uniform_filter(ndimage.uniform_filter(blocked, side), side)


def completed(
  seen: Float[np.ndarray, "s s 3"],
  weight: Mask,
  blocked: Mask,
  shown: Mask,
  plain: Float[np.ndarray, "s s 3"],
  template: Template,
  scalp: Scalp,
) -> tuple[Float[np.ndarray, "s s 3"], Mask]:
  """Returns the whole diffuse map, and the share of each texel that the photo shows.

  Args:
    seen: Colors of texels without light; only those of some weight mean anything.
    weight: How much the photo shows of each texel's own surface.
    blocked: How surely something else lies before the texel.
    shown: How much the photo shows of the texel or of what lies before it.
    plain: A plain face.
    template: Head of the maps.
    scalp: The look of the scalp; see `read_colors`.
  """
  masks = texel_masks(template, len(plain))
  ratio = np.log(np.maximum(seen, _BLACK) / np.maximum(plain, _BLACK))
  tone = _median(ratio, weight * masks["bare"] * (1 - masks["hairy"]), np.zeros(3))
  weight = weight * (1 - _unlike(ratio, weight, blocked, tone, masks, template))
  weight = weight * (1 - _lips_in_mouth(ratio, weight, plain, tone, masks))
  both, known = _mirrored(ratio, weight, template)
  skin = _filled(both, known, plain, tone, masks, template)
  result, share = _painted(plain, skin, both, known), masks["scalp"]
  if scalp == "photo":
    hair = _hair(ratio, shown, tone, share, template)
    result = _mixed(result, _painted(plain, hair, ratio, shown), share)
    weight = weight + share * (shown - weight)
  if scalp == "none":
    result = _mixed(result, np.full_like(result, _UNPAINTED), share)
    weight = weight * (1 - share)
  return np.clip(result, 0, 1), weight


def _painted(
  plain: Float[np.ndarray, "s s 3"],
  around: Float[np.ndarray, "s s 3"],
  ratio: Float[np.ndarray, "s s 3"],
  known: Mask,
) -> Float[np.ndarray, "s s 3"]:
  """Returns the plain map times the ratios, or those around where they are unknown.

  Colors are mixed, not logarithms, in which a little of something dark is much.
  """
  return _mixed(plain * np.exp(around), plain * np.exp(ratio), known)


def _mixed(
  a: Float[np.ndarray, "s s 3"], b: Float[np.ndarray, "s s 3"], share: Mask
) -> Float[np.ndarray, "s s 3"]:
  return a + share[..., None] * (b - a)


def _unlike(
  ratio: Float[np.ndarray, "s s 3"],
  weight: Mask,
  blocked: Mask,
  tone: Float[np.ndarray, " 3"],
  masks: dict[str, Mask],
  template: Template,
) -> Mask:
  """Returns how surely doubtful texels are not skin: those unlike the skin around."""
  doubt = smooth_step(0.02, 0.2, near(blocked, _DOUBTED))
  doubt = np.maximum(doubt, masks["hairy"]) * masks["plain"]
  sure = weight * masks["bare"] * masks["plain"] * (1 - doubt)
  away = ratio - filling.membrane(ratio, sure, tone, template)
  return doubt * _distant(away, 1.0)


def _lips_in_mouth(
  ratio: Float[np.ndarray, "s s 3"],
  weight: Mask,
  plain: Float[np.ndarray, "s s 3"],
  tone: Float[np.ndarray, " 3"],
  masks: dict[str, Mask],
) -> Mask:
  """Returns how surely texels of the mouth show lips: they lie a little off the fit."""
  away = ratio - _exposure(ratio, weight * _whites(plain, masks), tone)
  tint = np.abs(away - (away @ _LUMA)[..., None]).max(-1)
  teeth = plain @ _LUMA > _WHITE
  limits = _TEETH_TINTED, _MOUTH_TINTED
  of_teeth, of_rest = (smooth_step(*limit, tint) for limit in limits)
  return masks["mouth"] * np.where(teeth, of_teeth, of_rest)


def _whites(plain: Float[np.ndarray, "s s 3"], masks: dict[str, Mask]) -> Mask:
  """Returns the whites of the eyes and teeth, not irises and the depth of the mouth."""
  return masks["inner"] * (plain @ _LUMA > _WHITE)


def _distant(away: Float[np.ndarray, "s s 3"], scale: float) -> Mask:
  """Returns how surely a color is too far from the skin's to be skin."""
  bright = away @ _LUMA / scale
  tint = np.abs(away / scale - bright[..., None]).max(-1)
  lighter, darker = smooth_step(*_LIGHTER, bright), smooth_step(*_DARKER, -bright)
  return np.maximum.reduce([lighter, darker, smooth_step(*_TINTED, tint)])


def _filled(
  ratio: Float[np.ndarray, "s s 3"],
  known: Mask,
  plain: Float[np.ndarray, "s s 3"],
  tone: Float[np.ndarray, " 3"],
  masks: dict[str, Mask],
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns smooth ratios of the whole head, of eyes and mouth by their own."""
  # Shadows and make-up do not spread; a beard does.
  odd = masks["beardless"] * _distant(ratio - tone, _SPREAD)
  even = known * masks["bare"] * masks["plain"] * (1 - odd)
  skin = filling.membrane(ratio, even, tone, template)
  white = known * _whites(plain, masks)
  around = np.maximum(white, known * masks["mouth"])
  inner = filling.membrane(ratio, around, _exposure(ratio, white, tone), template)
  return _mixed(skin, inner, masks["inner"])


def _hair(
  ratio: Float[np.ndarray, "s s 3"],
  shown: Mask,
  tone: Float[np.ndarray, " 3"],
  scalp: Mask,
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns smooth ratios of hair, which is not mirrored: a parting is on one side."""
  known = shown * scalp
  return filling.membrane(ratio, known, _median(ratio, known, tone), template)


def _median(
  ratio: Float[np.ndarray, "s s 3"], weight: Mask, default: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"]:
  """Returns the median ratio where the weight is large, or the default without any."""
  chosen = weight > 0.4
  return np.median(ratio[chosen], 0) if chosen.sum() >= 50 else default


def _mirrored(
  ratio: Float[np.ndarray, "s s 3"], weight: Mask, template: Template
) -> tuple[Float[np.ndarray, "s s 3"], Mask]:
  """Returns the ratios with those of the other half where they are missing.

  A smooth factor, known where both halves are seen, moves the other half's ratios.
  """
  twin = mirror.mirror_texels(template, len(weight))
  other, other_weight = ratio.reshape(-1, 3)[twin], weight.reshape(-1)[twin]
  both = weight * other_weight
  away = ratio - other
  default = _median(away, both, np.zeros(3))
  other = other + filling.membrane(away, both, default, template, _STIFF)
  total = weight + (1 - weight) * other_weight
  return _mixed(other, ratio, weight / np.maximum(total, 1e-6)), total


def _exposure(
  ratio: Float[np.ndarray, "s s 3"],
  white: Mask,
  tone: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " 3"]:
  """Returns the ratio of eyes and teeth that are not seen, from those that are."""
  found = _median(ratio, white, np.full(3, tone @ _LUMA))
  return np.clip(found, *np.log(_EXPOSURE))
