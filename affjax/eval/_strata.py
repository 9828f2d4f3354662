"""Strata of photos: by yaw, occlusion, skin tone and expression."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from affjax.eval import _cases, _image
from affjax.eval._cases import Truths
from affjax.geometry import uv

# The upper ends of the strata of each property, with their names; the last has none.
STRATA: dict[str, tuple[tuple[float, str], ...]] = {
  "yaw": ((15, "0-15°"), (30, "15-30°"), (np.inf, "30° and more")),
  "occlusion": ((0.05, "below 5 %"), (0.25, "5-25 %"), (np.inf, "25 % and more")),
  # Individual typology angle (Chardon et al. 1991): brown and dark, tan, light.
  "skin tone": ((10, "dark"), (41, "medium"), (np.inf, "light")),
  "expression": ((0.5, "neutral"), (1.5, "moderate"), (np.inf, "strong")),
}


def properties(truths: Truths) -> dict[str, Float[np.ndarray, " n"]]:
  """Returns the properties of photos that strata are made of; NaN where unknown.

  Returns:
    "yaw" (absolute, degrees), "occlusion" (share of the face's surface towards the
    camera that the photo does not show), "skin tone" (individual typology angle of the
    diffuse map's face, degrees), "expression" (mean displacement of the face, mm).
  """
  unknown = np.full(len(truths), np.nan, np.float32)
  turns = Rotation.from_rotvec(truths.pose[:, :3].astype(float))
  cases = _cases.Cases(truths, _cases.Heads(truths.vertices))
  share = lambda which: (which * cases.face).sum((1, 2))
  exposed = np.maximum(share(cases.exposed), 1e-6)
  return {
    "yaw": np.abs(np.degrees(turns.as_euler("YXZ")[:, 0])).astype(np.float32),
    "occlusion": (1 - share(cases.shown) / exposed).astype(np.float32),
    "skin tone": unknown if truths.diffuse is None else _typology_angle(truths),
    "expression": unknown if truths.expression_mm is None else truths.expression_mm,
  }


def stratum(name: str, value: float) -> str | None:
  """Returns the name of the stratum of a property's value; None if it is NaN."""
  if np.isnan(value):
    return None
  return next(label for end, label in STRATA[name] if value < end)


def _typology_angle(truths: Truths) -> Float[np.ndarray, " n"]:
  """Returns `arctan((L* - 50) / b*)`, degrees, of the median color of the face."""
  assert truths.diffuse is not None
  size = truths.diffuse.shape[1]
  face = uv.resize_mask(truths.template.masks["face"], size) > 0.5
  color = np.median(truths.diffuse[:, face], 1)
  values = np.asarray(_image.lab(color[:, None, None]))[:, 0, 0]
  # A face of bluish light has b* <= 0; the angle is that of the smallest positive one.
  angle = np.arctan2(values[:, 0] - 50, np.maximum(values[:, 2], 1e-3))
  return np.degrees(angle).astype(np.float32)
