"""Splits the long edges of the coarse skull and neck, and the whole eyeballs."""

import dataclasses

import numpy as np
from scipy import sparse

from experiments.assets.head_types import EYE, SKIN, HeadMesh

# Skin edges longer than this, dm, are split repeatedly.
_LONGEST = (0.3, 0.19)
_EYE_PASSES = 1


def refine(mesh: HeadMesh, points: np.ndarray) -> HeadMesh:
  """Returns the mesh with split edges, smooth across the new vertices.

  Args:
    mesh: a symmetric HeadMesh.
    points: the base vertices that its weights refer to.
  """
  for longest in _LONGEST:
    place = mesh.weights @ points
    member = mesh.parts == SKIN
    mesh = _split(mesh, _long_edges(mesh, place, member, longest))
  for _ in range(_EYE_PASSES):
    place = mesh.weights @ points
    member = mesh.parts == EYE
    mesh = _split(mesh, _long_edges(mesh, place, member, 0.0))
    mesh = _on_sphere(mesh, points)
  return mesh


def _edge_key(mesh, a, b):
  low, high = np.minimum(a, b), np.maximum(a, b)
  return low.astype(np.int64) * len(mesh.mirror) + high


def _long_edges(mesh, place, member, longest) -> set[int]:
  """Keys of the edges to split, closed under mirroring."""
  corners = mesh.faces[member]
  a, b = corners.reshape(-1), np.roll(corners, -1, 1).reshape(-1)
  length = np.linalg.norm(place[a] - place[b], axis=1)
  # An edge and its mirror image differ only by rounding; round before comparing.
  long = np.round(length, 6) > longest
  a, b = a[long], b[long]
  keys = set(_edge_key(mesh, a, b).tolist())
  return keys | set(_edge_key(mesh, mesh.mirror[a], mesh.mirror[b]).tolist())


def _split(mesh, keys: set[int]):
  """Puts a vertex on each edge of `keys` and retriangulates."""
  count = len(mesh.mirror)
  order = sorted(keys)
  index = {key: count + i for i, key in enumerate(order)}
  opposite = _opposite(mesh)
  weights = sparse.vstack(
    [mesh.weights, _stencils(order, count, opposite) @ mesh.weights]
  )
  mirror = list(mesh.mirror)
  for key in order:
    a, b = divmod(key, count)
    mirror.append(index[int(_edge_key(mesh, mesh.mirror[a], mesh.mirror[b]))])
  mirror = np.array(mirror)
  half = mesh.face_mirror > np.arange(len(mesh.faces))
  faces, parts = [], []
  for face, part in zip(mesh.faces[half], mesh.parts[half], strict=True):
    middle = [
      index.get(int(_edge_key(mesh, face[k], face[(k + 1) % 3])), -1) for k in range(3)
    ]
    new = _subdivided([int(v) for v in face], middle)
    faces += new
    parts += [part] * len(new)
  faces, parts = np.array(faces), np.array(parts)
  number = np.arange(len(faces))
  return dataclasses.replace(
    mesh,
    weights=weights.tocsr(),
    faces=np.concatenate([faces, mirror[faces][:, ::-1]]),
    parts=np.concatenate([parts, parts]),
    mirror=mirror,
    face_mirror=np.concatenate([number + len(faces), number]),
  )


def _subdivided(face: list[int], middle: list[int]) -> list[list[int]]:
  """Triangles of a face; `middle[k]` is the vertex on edge (k, k + 1) or -1."""
  count = sum(m >= 0 for m in middle)
  if count == 0:
    return [face]
  if count == 3:
    (a, b, c), (ab, bc, ca) = face, middle
    return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
  # Turn the face so that the split edge (one), or the whole edge (two), comes first.
  k = next(k for k in range(3) if (middle[k] >= 0) == (count == 1))
  a, b, c = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
  if count == 1:
    return [[a, middle[k], c], [middle[k], b, c]]
  bc, ca = middle[(k + 1) % 3], middle[(k + 2) % 3]
  return [[a, b, bc], [a, bc, ca], [ca, bc, c]]


def _opposite(mesh) -> dict[tuple[int, int], int]:
  """The third corner of the triangle at the left of each directed edge."""
  result = {}
  for a, b, c in mesh.faces.tolist():
    result[a, b], result[b, c], result[c, a] = c, a, b
  return result


def _stencils(keys: list[int], count: int, opposite) -> sparse.csr_matrix:
  """Butterfly weights of the new vertices; plain midpoints at a border."""
  rows, columns, values = [], [], []

  def add(row, column, value):
    rows.append(row)
    columns.append(column)
    values.append(value)

  for row, key in enumerate(keys):
    a, b = divmod(key, count)
    c, d = opposite.get((a, b)), opposite.get((b, a))
    wings = []
    if c is not None and d is not None:
      pairs = ((c, b), (a, c), (d, a), (b, d))
      wings = [opposite.get(pair) for pair in pairs]
    if len(wings) == 4 and None not in wings:
      for column in (a, b):
        add(row, column, 0.5)
      for column in (c, d):
        add(row, column, 0.125)
      for column in wings:
        add(row, column, -0.0625)
    else:
      for column in (a, b):
        add(row, column, 0.5)
  return sparse.csr_matrix((values, (rows, columns)), shape=(len(keys), count))


def _on_sphere(mesh, points: np.ndarray):
  """Moves the eyeballs' vertices to the same distance from their center."""
  place = mesh.weights @ points
  eye = np.unique(mesh.faces[mesh.parts == EYE])
  weights = mesh.weights.tolil()
  for side in (eye[place[eye, 0] > 0], eye[place[eye, 0] < 0]):
    low, high = place[side].min(0), place[side].max(0)
    centre_row = sparse.csr_matrix(mesh.weights[side].mean(0))
    centre = centre_row @ points
    distance = np.linalg.norm(place[side] - centre, axis=1)
    radius = (high - low).max() / 2
    for vertex, r in zip(side, distance, strict=True):
      weights[vertex] = centre_row + (mesh.weights[vertex] - centre_row) * (radius / r)
  return dataclasses.replace(mesh, weights=weights.tocsr())
