"""UV masks, computed per texel from positions on the base mesh."""

import numpy as np

from affjax.geometry import uv
from affjax.types import Template
from experiments.assets import head_regions
from experiments.assets.head_types import (
  EYE,
  LOWER_TEETH,
  MOUTH,
  SKIN,
  SOCKET,
  TONGUE,
  UPPER_TEETH,
  HeadMesh,
)

SIZE = 512
_MOUTH_PARTS = (MOUTH, UPPER_TEETH, LOWER_TEETH, TONGUE)
# Outline of the lips' right half from corner to corner, and the line of the brow.
_LIPS = np.array(
  [[0.275, 6.612], [0.22, 6.66], [0.15, 6.685], [0.1, 6.7], [0.05, 6.712], [0, 6.698],
   [0, 6.515], [0.06, 6.52], [0.12, 6.535], [0.2, 6.572]]
)  # fmt: skip
_BROW = np.array(
  [[0.1, 7.482], [0.21, 7.503], [0.33, 7.5], [0.45, 7.466], [0.545, 7.402]]
)
_BROW_WIDTH = (0.03, 0.031, 0.027, 0.02, 0.01)


def masks(
  mesh: HeadMesh, template: Template, base: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns soft masks in [0, 1], float32 `[SIZE, SIZE]`, by name.

  "face" is the front of the head from hairline to jaw with all features; "skin" is bare
  skin: face, ears and neck without brows, lips and eyes. "eyes" covers the eyeballs and
  the sockets, "mouth" everything behind the lips, including teeth.

  Args:
    mesh: the head.
    template: template with its UV layout.
    base: `[V, 3]`, the head in the base mesh.
  """
  table = uv.uv_table(template, SIZE)
  place = (base[table.corners] * table.weights[..., None]).sum(-2)
  parts = _parts(mesh, table)
  flat = place.reshape(-1, 3)
  skin = (parts == SKIN) & table.support
  shape = skin.shape
  face = head_regions.step(head_regions.face_distance(flat), -0.03, 0.03).reshape(shape)
  ears = head_regions.ear_mask(flat).reshape(shape)
  neck = head_regions.neck_mask(flat).reshape(shape)
  lips = head_regions.step(_polygon(flat), -0.008, 0.008).reshape(shape)
  lips = lips * skin
  brows = head_regions.step(_brow(flat), -0.012, 0.012).reshape(shape) * skin
  eyes = np.isin(parts, (SOCKET, EYE)) & table.support
  rest = skin * (1 - face)
  ears = rest * ears
  neck = (rest - ears) * neck
  scalp = rest - ears - neck
  bare = skin * (1 - lips) * (1 - brows) - scalp
  result = {
    "skin": np.clip(bare, 0, 1),
    "face": face * (table.support & (parts <= SOCKET)),
    "brows": brows,
    "eyes": eyes,
    "lips": lips,
    "mouth": np.isin(parts, _MOUTH_PARTS) & table.support,
    "ears": ears,
    "scalp": scalp,
    "neck": neck,
  }
  return {name: np.asarray(m, np.float32) for name, m in result.items()}


def _parts(mesh, table) -> np.ndarray:
  """The part under each texel."""
  key = {
    tuple(sorted(f)): p for f, p in zip(mesh.faces.tolist(), mesh.parts, strict=True)
  }
  corners, inverse = np.unique(
    np.sort(table.corners.reshape(-1, 3), 1), axis=0, return_inverse=True
  )
  parts = np.array([key[tuple(c)] for c in corners.tolist()])
  return parts[inverse].reshape(table.inside.shape)


def _polygon(points: np.ndarray) -> np.ndarray:
  """Signed distance, dm, to the outline of the lips in the frontal view."""
  p = np.stack([np.abs(points[:, 0]), points[:, 1]], -1)
  distance, inside = np.full(len(p), np.inf), np.zeros(len(p), bool)
  for a, b in zip(_LIPS, np.roll(_LIPS, -1, 0), strict=True):
    if a[0] == b[0] == 0:
      crosses = np.zeros(len(p), bool)
    else:
      distance = np.minimum(distance, _segment(p, a, b)[0])
      crosses = (a[1] > p[:, 1]) != (b[1] > p[:, 1])
      with np.errstate(divide="ignore", invalid="ignore"):
        at = a[0] + (p[:, 1] - a[1]) * (b[0] - a[0]) / (b[1] - a[1])
      crosses &= p[:, 0] < at
    inside ^= crosses
  signed = np.where(inside, distance, -distance)
  return np.where(points[:, 2] > 1.2, signed, -1.0)


def _brow(points: np.ndarray) -> np.ndarray:
  """Signed distance, dm, to a brow as a line of varying width."""
  p = np.stack([np.abs(points[:, 0]), points[:, 1]], -1)
  best = np.full(len(p), -np.inf)
  for k in range(len(_BROW) - 1):
    distance, at = _segment(p, _BROW[k], _BROW[k + 1])
    width = (1 - at) * _BROW_WIDTH[k] + at * _BROW_WIDTH[k + 1]
    best = np.maximum(best, width - distance)
  return np.where(points[:, 2] > 0.6, best, -1.0)


def _segment(p, a, b):
  """Distance of points to a segment, and the position along it in [0, 1]."""
  along = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
  return np.linalg.norm(p - a - along[:, None] * (b - a), axis=1), along
