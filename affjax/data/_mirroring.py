"""Mirror images of records."""

import numpy as np

from affjax.data._record_source import Record
from affjax.geometry import mirror
from affjax.heads import landmarks
from affjax.types import Template


def mirror_record(record: Record, template: Template) -> Record:
  """Returns the record of the mirrored person in the mirrored photo.

  Args:
    record: Record of a source; fields without sides are kept.
    template: Template of the record.
  """
  out = dict(record)
  for name in ("image", "visible"):
    if name in out:
      out[name] = _flipped(out[name])
  # A missing diffuse map stays black.
  maps = ("diffuse",) if out.get("has_diffuse", 1) else ()
  for name in ("light", *maps):
    if name in out:
      out[name] = _mirrored_map(out[name], template)
  out["vertices"] = mirror.mirror_head(out["vertices"], template)
  out["pose"] = out["pose"] * mirror.POSE_SIGNS
  if "landmarks" in out:
    last = np.float32(out["image"].shape[1] - 1)
    x, y = out["landmarks"][landmarks.MIRRORED].T
    out["landmarks"] = np.stack([last - x, y], -1)
  return out


def _mirrored_map(values: np.ndarray, template: Template) -> np.ndarray:
  """Returns the UV map of the mirrored head."""
  if mirror.is_symmetric(template):
    return _flipped(values)
  texels = mirror.mirror_texels(template, len(values))
  return values.reshape(-1, values.shape[-1])[texels]


def _flipped(picture: np.ndarray) -> np.ndarray:
  """Reverses the columns; moving whole pixels is faster than moving channels."""
  pixels = np.ascontiguousarray(picture)
  whole = pixels.view(f"V{pixels.itemsize * pixels.shape[-1]}")
  return np.ascontiguousarray(whole[:, ::-1]).view(pixels.dtype)
