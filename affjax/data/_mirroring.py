"""Mirror images of records."""

import numpy as np

from affjax.data._record_source import Record
from affjax.geometry import mirror
from affjax.heads import landmarks


def mirror_record(record: Record, opposite: np.ndarray) -> Record:
  """Returns the record of the mirrored person in the mirrored photo.

  Args:
    record: Record of a source; fields without sides are kept.
    opposite: Opposite vertices, as `geometry.mirror.mirror_vertices` returns them.
  """
  out = dict(record)
  # A missing diffuse map stays black.
  maps = ("diffuse",) if out.get("has_diffuse", 1) else ()
  for name in ("image", "visible", "light", *maps):
    if name in out:
      out[name] = _flipped(out[name])
  out["vertices"] = out["vertices"][opposite] * mirror.POINT_SIGNS
  out["pose"] = out["pose"] * mirror.POSE_SIGNS
  if "landmarks" in out:
    last = np.float32(out["image"].shape[1] - 1)
    x, y = out["landmarks"][landmarks.MIRRORED].T
    out["landmarks"] = np.stack([last - x, y], -1)
  return out


def _flipped(picture: np.ndarray) -> np.ndarray:
  """Reverses the columns; moving whole pixels is faster than moving channels."""
  pixels = np.ascontiguousarray(picture)
  whole = pixels.view(f"V{pixels.itemsize * pixels.shape[-1]}")
  return np.ascontiguousarray(whole[:, ::-1]).view(pixels.dtype)
