"""UV islands of eyeballs, teeth and tongue, in the corners that the skin leaves."""

import numpy as np

from experiments.assets import head_flatten
from experiments.assets.head_types import (
  EYE,
  LOWER_TEETH,
  TONGUE,
  UPPER_TEETH,
  HeadMesh,
)

# Distance between islands: two texels of a 64² map, so that no bilinear read mixes
# them.
GAP = 0.03


def right_half(mesh: HeadMesh, vertices: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles with x >= 0."""
  return vertices[mesh.faces][..., 0].mean(1) > 0


def border_loop(faces: np.ndarray) -> np.ndarray:
  """The only border of a disk, counter-clockwise."""
  edges = {
    (a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)
  }
  following = {a: b for a, b in edges if (b, a) not in edges}
  start = min(following)
  loop = [start]
  while following[loop[-1]] != start:
    loop.append(following[loop[-1]])
  if len(loop) != len(following):
    raise ValueError(
      f"faces must be a disk, got {len(following) - len(loop)} more edges"
    )
  return np.array(loop)


def pieces(mesh, vertices, margin, bottom, top):
  """Triangles of the right side and flat positions by vertex, for each island.

  Args:
    mesh: the head.
    vertices: `[V, 3]`, the head of the base mesh.
    margin: distance of the skin's chart from the border of the square.
    bottom: leg of the corner that the chart leaves for an eye.
    top: leg of the corner that it leaves for teeth and tongue.
  """
  right = right_half(mesh, vertices)
  edge = margin / 2
  # The largest disk in a corner cut off by a diagonal, minus the gap to the chart.
  radius = (bottom + 2 * margin - edge * 2 - np.sqrt(2) * GAP) / (2 + np.sqrt(2))
  centre = np.array([1 - edge - radius, edge + radius])
  eye = np.flatnonzero(right & (mesh.parts == EYE))
  result = [(eye, _eye(mesh, vertices, eye, centre, radius))]
  free = top + 2 * margin - np.sqrt(2) * GAP
  # From the top: upper teeth, a gap, lower teeth, which move with the tongue.
  low, high = 0.03, GAP + 0.03
  rows = {
    UPPER_TEETH: (edge, low),
    LOWER_TEETH: (high, high + 0.018),
    TONGUE: (high + 0.024, high + 0.065),
  }
  for part, (start, end) in rows.items():
    members = np.flatnonzero(right & (mesh.parts == part))
    box = (1 - (free - end), 1 - end, 1 - edge, 1 - start)
    result.append((members, _rectangle(mesh, vertices, members, box)))
  return result


def _eye(mesh, vertices, members, centre, radius) -> dict[int, np.ndarray]:
  """Polar map about the pole in front."""
  used = np.unique(mesh.faces[members])
  place = vertices[used]
  middle = (place.min(0) + place.max(0)) / 2
  offset = place - middle
  angle = np.arctan2(np.hypot(offset[:, 0], offset[:, 1]), offset[:, 2])
  distance = radius * (angle / angle.max()) ** 0.8
  around = np.arctan2(offset[:, 1], offset[:, 0])
  flat = centre + distance[:, None] * np.stack([np.cos(around), np.sin(around)], -1)
  return dict(zip(used.tolist(), flat, strict=True))


def _rectangle(mesh, vertices, members, box) -> dict[int, np.ndarray]:
  """Tutte's embedding of a disk into a box, a slightly rounded rectangle."""
  used = np.unique(mesh.faces[members])
  faces = np.searchsorted(used, mesh.faces[members])
  loop = border_loop(faces)
  place = vertices[used]
  # The border starts at its lowest point on the mid-plane, as the box does.
  on_axis = np.abs(place[loop, 0]) < 1e-9
  key = np.where(on_axis, place[loop, 1] - place[loop, 2], np.inf)
  loop = np.roll(loop, -int(np.argmin(key)))
  step = np.linalg.norm(place[loop] - place[np.roll(loop, -1)], axis=1)
  at = np.concatenate([[0], step.cumsum()[:-1]]) / step.sum()
  angle = 2 * np.pi * at - 3 * np.pi / 4
  # A superellipse: convex, so that the embedding is a bijection.
  power = 2 / 6
  shape = np.stack(
    [np.sign(f(angle)) * np.abs(f(angle)) ** power for f in (np.cos, np.sin)], -1
  )
  low, high = np.array(box[:2]), np.array(box[2:])
  target = (low + high) / 2 + shape * (high - low) / 2
  flat = head_flatten.tutte(len(used), faces, loop, target)
  return dict(zip(used.tolist(), flat, strict=True))
