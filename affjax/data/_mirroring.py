"""Mirror images of records."""

import functools

import numpy as np
from scipy import spatial

from affjax.data._record_source import Record
from affjax.types import Template

# The opposite of each of the 68 landmarks: jaw, brows, bridge of the nose, nostrils,
# eyes, outer and inner lips.
LANDMARKS = np.array(
  [
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *range(54, 47, -1),
    *range(59, 54, -1),
    *range(64, 59, -1),
    *range(67, 64, -1),
  ]
)


@functools.lru_cache(maxsize=8)
def mirror_vertices(template: Template) -> np.ndarray:
  """Returns the opposite of each vertex, int32 `[V]`.

  Opposites are found in UV space, where no two parts overlap; the layout must be
  symmetric about u = 0.5.

  Raises:
    ValueError: The template's UV layout is not mirror-symmetric.
  """
  mirrored = template.uvs * [-1, 1] + [1, 0]
  found = spatial.KDTree(template.uvs).query(mirrored)
  distance, twin = np.asarray(found[0]), np.asarray(found[1])
  vertex = np.zeros(len(template.uvs), np.int64)
  vertex[template.faces_uv.reshape(-1)] = template.faces.reshape(-1)
  used = np.unique(template.faces_uv)
  out = np.arange(len(template.vertices))
  out[vertex[used]] = vertex[twin[used]]
  if distance[used].max() > 2e-3 or (out[out] != np.arange(len(out))).any():
    raise ValueError(
      f"the UV layout of template {template.name!r} is not mirror-symmetric about "
      f"u = 0.5 (largest deviation {distance[used].max():.2g}); train without mirroring"
    )
  return out.astype(np.int32)


def mirror_record(record: Record, opposite: np.ndarray) -> Record:
  """Returns the record of the mirrored person in the mirrored photo.

  Args:
    record: Record of a source; fields without sides are kept.
    opposite: Result of `mirror_vertices`.
  """
  out = dict(record)
  # A missing diffuse map stays black.
  maps = ("diffuse",) if out.get("has_diffuse", 1) else ()
  for name in ("image", "visible", "light", *maps):
    if name in out:
      out[name] = _flipped(out[name])
  flip = np.array([-1, 1, 1], np.float32)
  out["vertices"] = out["vertices"][opposite] * flip
  out["pose"] = out["pose"] * np.array([1, -1, -1, -1, 1, 1], np.float32)
  if "landmarks" in out:
    last = np.float32(out["image"].shape[1] - 1)
    x, y = out["landmarks"][LANDMARKS].T
    out["landmarks"] = np.stack([last - x, y], -1)
  return out


def _flipped(picture: np.ndarray) -> np.ndarray:
  """Reverses the columns; moving whole pixels is faster than moving channels."""
  pixels = np.ascontiguousarray(picture)
  whole = pixels.view(f"V{pixels.itemsize * pixels.shape[-1]}")
  return np.ascontiguousarray(whole[:, ::-1]).view(pixels.dtype)
