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
# Width of the strip beside things in front of the skin that is not believed, and of the
# strip in which only the skin's own tone is, as shares of the map.
_STRIP, _DOUBTED = 1 / 40, 1 / 10
# Where no beard grows: logarithms of brightness below and above the skin's tone, and of
# the distance of colors, at which a texel may be hair and surely is.
_DARKER, _LIGHTER, _TINTED = (0.3, 0.6), (0.35, 0.7), (0.12, 0.25)
# Mirrored features are moved more smoothly than the rest.
_STIFF = 8.0
# Range of the photo's exposure, by which unseen eyes and teeth are scaled.
_EXPOSURE = (0.15, 1.1)
# Logarithm of brightness above the tone of bare skin from which it is a highlight, and
# how much more is left of any highlight.
_SHINE, _SHINE_LEFT = 0.08, 0.1
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
  is beside them), "support" (the charts) and "beardless" (where dark texels are hair
  that hangs before the skin: forehead, ears and neck).
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
  ears = ndimage.maximum_filter(own["ears"], max(size // 20, 1))
  beardless = np.clip(ears + own["neck"] + _forehead(template, size), 0, 1)
  kept = own["brows"] + own["lips"] + inner
  kept = ndimage.maximum_filter(kept, max(size // 64, 1))
  return {
    **own,
    "inner": inner,
    "bare": np.clip(1 - features, 0, 1),
    "beardless": beardless * np.clip(1 - kept, 0, 1),
    "plain": np.clip(1 - kept, 0, 1),
    "support": uv.uv_table(template, size).support.astype(np.float32),
  }


def _forehead(template: Template, size: int) -> Mask:
  """Returns a mask of all that lies above the 68 landmarks' brows."""
  if len(template.landmark_faces) != 68:
    return np.zeros((size, size), np.float32)
  brows = template.landmark_positions(template.vertices)[17:27, 1]
  table = uv.uv_table(template, size)
  height = np.asarray(uv.map_from_vertices(template.vertices[:, 1:2], table))[..., 0]
  return smooth_step(float(brows.mean()), float(brows.max()) + 0.1, height)


def completed(
  seen: Float[np.ndarray, "s s 3"],
  weight: Mask,
  facing: Mask,
  plain: Float[np.ndarray, "s s 3"],
  template: Template,
  scalp: Scalp,
) -> tuple[Float[np.ndarray, "s s 3"], Mask]:
  """Returns the whole diffuse map, and the share of each texel that the photo shows.

  Args:
    seen: Colors of texels without light; only those of some weight mean anything.
    weight: How much the photo shows of each texel's own surface.
    facing: How much it shows of the texel or of what lies before it.
    plain: A plain face.
    template: Head of the maps.
    scalp: What the scalp shows; see `read_colors`.
  """
  size = len(plain)
  masks = texel_masks(template, size)
  ratio = np.log(np.maximum(seen, _BLACK) / np.maximum(plain, _BLACK))
  tone = _median(ratio, weight * masks["bare"] * (1 - masks["beardless"]), np.zeros(3))
  weight = _believed(ratio - tone, weight, facing, masks)
  ratio = _without_shine(ratio, tone, masks["bare"])
  both, known = _mirrored(ratio, weight, template)
  skin = _filled(both, known, tone, masks, template)
  result, share = plain * np.exp(_mixed(skin, both, known)), masks["scalp"]
  if scalp == "photo":
    hair = _hair(ratio, facing, tone, share, template)
    result = _mixed(result, plain * np.exp(hair), share)
    weight = weight + share * (facing - weight)
  if scalp == "none":
    result = _mixed(result, np.full_like(result, _UNPAINTED), share)
    weight = weight * (1 - share)
  return np.clip(result, 0, 1), weight


def _mixed(
  a: Float[np.ndarray, "s s 3"], b: Float[np.ndarray, "s s 3"], share: Mask
) -> Float[np.ndarray, "s s 3"]:
  return a + share[..., None] * (b - a)


def _believed(
  away: Float[np.ndarray, "s s 3"],
  weight: Mask,
  facing: Mask,
  masks: dict[str, Mask],
) -> Mask:
  """Returns weights without what is not skin or lies beside it."""
  beside = masks["plain"] * (1 - _inset(weight, facing, _DOUBTED))
  weight = weight * (1 - np.maximum(masks["beardless"], beside) * _unlike(away))
  # Where the surface turns away the strip runs along it, but not beside eyes and lips.
  strip = np.where(masks["plain"] > 0.5, masks["support"], facing)
  inset = weight * _inset(weight, np.maximum(strip, facing), _STRIP)
  return np.where(masks["inner"] > 0.5, weight, inset)


def _filled(
  ratio: Float[np.ndarray, "s s 3"],
  known: Mask,
  tone: Float[np.ndarray, " 3"],
  masks: dict[str, Mask],
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns smooth ratios of the whole head; eyes and mouth have their own."""
  # Shadows and strands at the border of what is seen do not spread.
  even = known * masks["bare"] * (1 - _unlike(ratio - tone))
  skin = filling.membrane(ratio, even, tone, template)
  inner = _inner(ratio, known * masks["inner"], tone, template)
  return _mixed(skin, inner, masks["inner"])


def _hair(
  ratio: Float[np.ndarray, "s s 3"],
  facing: Mask,
  tone: Float[np.ndarray, " 3"],
  scalp: Mask,
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns the ratios of hair, which is not mirrored: a parting is on one side."""
  known = facing * scalp
  around = filling.membrane(ratio, known, _median(ratio, known, tone), template)
  return _mixed(around, ratio, facing)


def _median(
  ratio: Float[np.ndarray, "s s 3"], weight: Mask, default: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 3"]:
  """Returns the median ratio where the weight is large, or the default without any."""
  chosen = weight > 0.4
  return np.median(ratio[chosen], 0) if chosen.sum() >= 50 else default


def _without_shine(
  ratio: Float[np.ndarray, "s s 3"], tone: Float[np.ndarray, " 3"], bare: Mask
) -> Float[np.ndarray, "s s 3"]:
  """Returns ratios whose highlights on bare skin are dimmed."""
  excess = np.maximum((ratio - tone) @ _LUMA - _SHINE, 0)
  less = excess - _SHINE_LEFT * np.tanh(excess / _SHINE_LEFT)
  return ratio - (bare * less)[..., None]


def _unlike(away: Float[np.ndarray, "s s 3"]) -> Mask:
  """Returns how surely texels are not skin, by their distance from the skin's tone."""
  bright = away @ _LUMA
  tint = np.abs(away - bright[..., None]).max(-1)
  return np.maximum.reduce(
    [
      smooth_step(*_DARKER, -bright),
      smooth_step(*_LIGHTER, bright),
      smooth_step(*_TINTED, tint),
    ]
  )


def _inset(weight: Mask, facing: Mask, width: float) -> Mask:
  """Returns one but in strips along things that are seen before the skin."""
  side = max(round(width * len(weight)), 1)
  around, total = (
    ndimage.uniform_filter(ndimage.uniform_filter(x, side), side)
    for x in (weight, facing)
  )
  return smooth_step(0.75, 0.98, around / np.maximum(total, 1e-3))


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


def _inner(
  ratio: Float[np.ndarray, "s s 3"],
  weight: Mask,
  tone: Float[np.ndarray, " 3"],
  template: Template,
) -> Float[np.ndarray, "s s 3"]:
  """Returns the ratios of eyes and mouth that are not seen: the photo's exposure."""
  bright, chosen = ratio @ _LUMA, weight > 0.4
  # Whites and teeth, not shadows of lids and lips.
  seen = np.quantile(bright[chosen], 0.8) if chosen.sum() >= 50 else tone @ _LUMA
  exposure = np.clip(seen, *np.log(_EXPOSURE))
  return filling.membrane(ratio, weight, np.full(3, exposure), template)
