"""The head's mesh, cut from MakeHuman's body.

Every vertex of the head is a weighted sum of vertices of the base mesh, so that a
sparse product carries each target of MakeHuman over. The half with x >= 0 is built and
then mirrored, so that the mesh is exactly symmetric.
"""

import numpy as np
from scipy import sparse

from experiments.assets import head_refine
from experiments.assets.head_source import BaseMesh
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

_HELPERS = {
  "helper-l-eye": EYE,
  "helper-upper-teeth": UPPER_TEETH,
  "helper-lower-teeth": LOWER_TEETH,
  "helper-tongue": TONGUE,
}
# The neck is cut by the plane through these two points (y, z), front and back, dm.
NECK_FRONT, NECK_BACK = (5.78, 0.67), (6.0, -0.2)
_SNAP = 0.4
# Triangles of the eyeballs further than this from the front pole are omitted, because
# the back of an eye is never visible.
_EYE_OPENING = np.radians(150)


def extract(base: BaseMesh) -> HeadMesh:
  """Cuts, triangulates, mirrors and refines the head."""
  quads, parts = _half_quads(base)
  faces = _triangles(base.vertices, quads)
  parts = np.repeat(parts, 2)
  weights = sparse.identity(len(base.vertices), format="csr")
  weights, faces, parts = _clip(base.vertices, weights, faces, parts)
  faces, parts = _head_component(weights @ base.vertices, faces, parts)
  used, faces = np.unique(faces, return_inverse=True)
  mesh = _mirrored(base, weights[used], faces.reshape(-1, 3), parts)
  mesh = head_refine.refine(mesh, base.vertices)
  return _without_backs_of_eyes(mesh, base.vertices)


def _half_quads(base: BaseMesh) -> tuple[np.ndarray, np.ndarray]:
  """Quads near the head with x >= 0, and their parts."""
  corners = base.vertices[base.quads]
  parts = np.full(len(base.quads), -1)
  for name, part in _HELPERS.items():
    parts[base.quad_groups == name] = part
  near = (corners[..., 1].min(1) > 5.0) & (np.abs(corners[..., 0]).max(1) < 1.5)
  skin = (base.quad_groups == "body") & near
  parts[skin] = SKIN
  # The mouth and the sockets are islands of the atlas that lie inside the head.
  for island in np.unique(base.quad_islands[skin]):
    member = base.quad_islands == island
    size = np.ptp(corners[member].reshape(-1, 3), axis=0)
    if size.max() < 1.2:
      parts[member] = SOCKET if size.max() < 0.4 else MOUTH
  half = (parts >= 0) & (corners[..., 0].min(1) > -1e-9)
  return base.quads[half], parts[half]


def _triangles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
  """Splits each quad along the diagonal that gives less acute triangles."""
  first = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], 1)
  second = np.stack([quads[:, [0, 1, 3]], quads[:, [1, 2, 3]]], 1)

  def acuteness(split):
    corner = vertices[split]
    edge = np.roll(corner, -1, -2) - corner
    edge = edge / np.maximum(np.linalg.norm(edge, axis=-1, keepdims=True), 1e-12)
    return (-edge * np.roll(edge, 1, -2)).sum(-1).max((-1, -2))

  better = acuteness(first) <= acuteness(second)
  return np.where(better[:, None, None], first, second).reshape(-1, 3)


def height_over_cut(points: np.ndarray) -> np.ndarray:
  """Signed distance, dm, of base-mesh points to the plane that cuts the neck."""
  return (points - np.array([0, *NECK_FRONT])) @ cut_normal()


def cut_normal() -> np.ndarray:
  """Unit normal of the cutting plane, pointing up into the head."""
  back, up = np.subtract(NECK_FRONT, NECK_BACK)[::-1]
  normal = np.array([0.0, back, -up])
  return normal / np.linalg.norm(normal)


def _clip(points, weights, faces, parts):
  """Cuts the skin at the neck; vertices close to the plane are moved onto it."""
  height = height_over_cut(points)
  skin = parts == SKIN
  weights = weights.tolil()
  edges = np.unique(
    np.concatenate(
      [faces[skin][:, [a, b]] for a in range(3) for b in range(3) if a != b]
    ),
    axis=0,
  )
  a, b = edges[(height[edges[:, 0]] * height[edges[:, 1]] < 0)].T
  fraction = height[a] / (height[a] - height[b])
  on_axis = np.abs(points[:, 0]) < 1e-9
  fits = (fraction < _SNAP) & (~on_axis[a] | on_axis[b])
  original, moved = weights.copy(), set()
  for k in np.argsort(fraction, kind="stable"):
    if fits[k] and a[k] not in moved:
      moved.add(a[k])
      weights[a[k]] = original[a[k]] * (1 - fraction[k]) + original[b[k]] * fraction[k]
      height[a[k]] = 0.0
  rows, new_faces, new_parts = [], [], []
  made: dict[tuple[int, int], int] = {}

  def crossing(p, q):
    key = (min(p, q), max(p, q))
    if key not in made:
      made[key] = len(points) + len(rows)
      t = height[key[0]] / (height[key[0]] - height[key[1]])
      rows.append(weights[key[0]] * (1 - t) + weights[key[1]] * t)
    return made[key]

  for face, part in zip(faces, parts, strict=True):
    polygon = _clipped(face, height, crossing) if part == SKIN else list(face)
    for k in range(1, len(polygon) - 1):
      new_faces.append([polygon[0], polygon[k], polygon[k + 1]])
      new_parts.append(part)
  stacked = sparse.vstack([weights.tocsr(), *[r.tocsr() for r in rows]]).tocsr()
  return stacked, np.array(new_faces), np.array(new_parts)


def _clipped(face, height, crossing) -> list[int]:
  """The part of a triangle above the plane as a polygon; empty without area."""
  polygon = []
  for p, q in zip(face, np.roll(face, -1), strict=True):
    if height[p] >= 0:
      polygon.append(int(p))
    if height[p] * height[q] < 0:
      polygon.append(crossing(int(p), int(q)))
  inside = [height[p] > 0 for p in face]
  return polygon if any(inside) else []


def _head_component(points, faces, parts):
  """Keeps the helpers, and the part of the skin that is connected to the crown."""
  body = np.isin(parts, (SKIN, MOUTH, SOCKET))
  label = np.arange(len(points))
  while True:
    new = label.copy()
    np.minimum.at(new, faces[body].reshape(-1), np.repeat(label[faces[body]].min(1), 3))
    if (new == label).all():
      break
    label = new
  crown = np.unique(faces[body])[np.argmax(points[np.unique(faces[body]), 1])]
  keep = ~body | (label[faces[:, 0]] == label[crown])
  return faces[keep], parts[keep]


def _mirrored(base, weights, faces, parts) -> HeadMesh:
  """Adds the half with x < 0; vertices on the mid-plane are shared."""
  points = weights @ base.vertices
  x_flip = np.array([-1.0, 1.0, 1.0])
  order = {tuple(p): i for i, p in enumerate(np.round(base.vertices, 6) + 0.0)}
  swap = np.array(
    [
      order.get(tuple(p), i)
      for i, p in enumerate(np.round(base.vertices * x_flip, 6) + 0.0)
    ]
  )
  on_axis = np.abs(points[:, 0]) < 1e-9
  count = len(points)
  mirror = np.arange(count)
  mirror[~on_axis] = count + np.arange((~on_axis).sum())
  other = weights[:, swap]
  both = sparse.csr_matrix(sparse.vstack([weights, other[~on_axis]]))
  both_mirror = np.concatenate([mirror, np.flatnonzero(~on_axis)])
  flipped = mirror[faces][:, ::-1]
  half = np.arange(len(faces))
  return HeadMesh(
    both,
    np.concatenate([faces, flipped]),
    np.concatenate([parts, parts]),
    both_mirror,
    np.concatenate([half + len(faces), half]),
  )


def _without_backs_of_eyes(mesh: HeadMesh, points: np.ndarray) -> HeadMesh:
  """Opens the eyeballs at the back, so that each is a disk for the UV layout."""
  place = mesh.weights @ points
  corners = place[mesh.faces]
  right_eye = (mesh.parts == EYE) & (corners[..., 0].mean(1) > 0)
  used = np.unique(mesh.faces[right_eye])
  middle = (place[used].min(0) + place[used].max(0)) / 2
  offset = corners - middle * np.where(
    corners[..., :1].mean(1, keepdims=True) > 0, 1, [-1, 1, 1]
  )
  angle = np.arctan2(np.hypot(offset[..., 0], offset[..., 1]), offset[..., 2])
  keep = (mesh.parts != EYE) | (angle.max(1) < _EYE_OPENING)
  keep &= keep[mesh.face_mirror]
  number = np.cumsum(keep) - 1
  used, faces = np.unique(mesh.faces[keep], return_inverse=True)
  index = np.full(len(mesh.mirror), -1)
  index[used] = np.arange(len(used))
  return HeadMesh(
    sparse.csr_matrix(mesh.weights[used]),
    faces.reshape(-1, 3),
    mesh.parts[keep],
    index[mesh.mirror[used]],
    number[mesh.face_mirror[keep]],
  )
