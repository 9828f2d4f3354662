"""Regions of a head for errors by region."""

import numpy as np
from jaxtyping import Float

from affjax.geometry import uv
from affjax.types import Template

REGIONS = ("nose", "mouth", "eyes", "forehead", "cheeks", "jaw", "ears", "rest")
# How far a feature reaches beyond its landmarks, dm.
_REACH = {"nose": 0.12, "mouth": 0.1, "eyes": 0.1}
_LANDMARKS = {"nose": range(27, 36), "mouth": range(48, 68), "eyes": range(36, 48)}


def face_regions(template: Template, size: int) -> dict[str, Float[np.ndarray, "s s"]]:
  """Returns the weight of each texel in each region of the head.

  The regions of `REGIONS` are disjoint and cover the template's texels: "nose", "mouth"
  and "eyes" lie within a centimeter of their landmarks, "forehead" above the brows,
  "jaw" below the mouth, "cheeks" are the rest of the mask "face", "ears" the mask of
  that name, "rest" everything else (scalp, neck, inner mouth).

  Args:
    template: a head with the 68 landmarks and a mask "face".
    size: width of the UV map.

  Raises:
    ValueError: the template lacks the landmarks or the mask.
  """
  if "face" not in template.masks or len(template.landmark_faces) != 68:
    names = ", ".join(sorted(template.masks)) or "none"
    raise ValueError(
      f"template {template.name!r} must have 68 landmarks and a mask 'face', has "
      f"{len(template.landmark_faces)} landmarks and the masks {names}"
    )
  table = uv.uv_table(template, size)
  place = np.einsum("sxkc,sxk->sxc", template.vertices[table.corners], table.weights)
  corner = template.vertices[template.faces[template.landmark_faces]]
  landmarks = np.einsum("lk,lkx->lx", template.landmark_weights, corner)
  nothing = np.zeros((size, size), np.float32)
  ears = uv.resize_mask(template.masks.get("ears", nothing), size) > 0.5
  free = table.inside.copy()
  face = free & (uv.resize_mask(template.masks["face"], size) > 0.5)
  regions = {}
  for name, which in _LANDMARKS.items():
    points = landmarks[list(which)]
    gap = np.linalg.norm(place[..., None, :] - points, axis=-1).min(-1)
    regions[name] = face & free & (gap < _REACH[name])
    free &= ~regions[name]
  brows, chin = landmarks[17:27, 1].mean(), landmarks[57, 1]
  for name, chosen in (
    ("forehead", face & (place[..., 1] > brows)),
    ("jaw", face & (place[..., 1] < chin)),
    ("cheeks", face),
    ("ears", ears),
    ("rest", np.ones_like(face)),
  ):
    regions[name] = free & chosen
    free &= ~regions[name]
  return {name: regions[name].astype(np.float32) for name in REGIONS}
