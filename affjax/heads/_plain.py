"""The diffuse map of a face of which nothing is known."""

import numpy as np
from jaxtyping import Float

from affjax.geometry import uv
from affjax.heads._carrying import CarriedMasks
from affjax.types import Template

# sRGB color of skin, for templates without a diffuse map of their own.
_SKIN = np.array([0.78, 0.6, 0.52], np.float32)


def plain_diffuse(template: Template, size: int) -> Float[np.ndarray, "s s 3"]:
  """Returns a smooth diffuse map without personal features: skin, brows, eyes, teeth.

  Args:
    template: the head. That of the embedded head is carried over to heads of
      `open_head`; other heads without a diffuse map get a single skin color.
    size: S, the side of the map, texels.

  Returns:
    float32 sRGB colors in [0, 1], row 0 at v = 1.
  """
  masks, diffuse = template.masks, template.diffuse
  if diffuse is None and isinstance(masks, CarriedMasks):
    diffuse = masks.diffuse
  if diffuse is None:
    return np.broadcast_to(_SKIN, (size, size, 3))
  channels = np.moveaxis(diffuse.astype(np.float32) / 255, -1, 0)
  return np.stack([uv.resize_mask(channel, size) for channel in channels], -1)
