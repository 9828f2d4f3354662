"""The UV layout: one chart for the skin, small islands for eyes and teeth.

The right half of the skin (x >= 0) is a disk between the mid-plane and the border of
the neck. Its front mid-line lies on u = 0.5; the neck's border and the mid-line of the
back of the head, where the seam is, slide along the border of the chart. The left half
is its mirror image to the last bit.
"""

import numpy as np
from scipy import interpolate, ndimage, sparse

from experiments.assets import head_flatten, head_islands, head_regions
from experiments.assets.head_types import SOCKET, HeadMesh

# Distance of the chart from the border of the square, and the legs of the corners for
# the islands: eyes at the bottom, teeth and tongue at the top.
_MARGIN = 0.006
_BOTTOM_CORNER, _TOP_CORNER = 0.235, 0.215


def layout(
  mesh: HeadMesh, base: np.ndarray, shape: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Lays out all groups.

  Args:
    mesh: the head.
    base: `[V, 3]`, the head of the base mesh, where regions are told apart.
    shape: `[V, 3]`, symmetric, the head whose distortion is made small.

  Returns:
    `uvs [U, 2]` float32 and `faces_uv [T, 3]`.
  """
  uvs: list[np.ndarray] = []
  faces_uv = np.full(mesh.faces.shape, -1)
  count = 0
  right = head_islands.right_half(mesh, base)
  pieces = [(np.flatnonzero(right & (mesh.parts <= SOCKET)), _skin(mesh, base, shape))]
  pieces += head_islands.pieces(mesh, base, _MARGIN, _BOTTOM_CORNER, _TOP_CORNER)
  for members, flat in pieces:
    flat32 = {v: np.float32(p) for v, p in flat.items()}
    used = np.unique(mesh.faces[members])
    place = np.stack([flat32[v] for v in used])
    middle = place[:, 0] == 0.5
    index = np.searchsorted(used, mesh.faces[members])
    faces_uv[members] = count + index
    # The left side shares the vertices that lie on u = 0.5.
    other = np.where(middle, np.arange(len(used)), 0)
    other[~middle] = len(used) + np.arange((~middle).sum())
    reflected = place[~middle] * np.array([-1, 1], np.float32) + np.array(
      [1, 0], np.float32
    )
    faces_uv[mesh.face_mirror[members]] = count + other[index][:, ::-1]
    uvs += [place, reflected]
    count += len(place) + len(reflected)
  return np.concatenate(uvs).astype(np.float32), faces_uv


def _skin(mesh: HeadMesh, base: np.ndarray, shape: np.ndarray) -> dict[int, np.ndarray]:
  """Flat positions of the right half of the skin, by vertex."""
  right = head_islands.right_half(mesh, base) & (mesh.parts <= SOCKET)
  used = np.unique(mesh.faces[right])
  faces = np.searchsorted(used, mesh.faces[right])
  place = base[used]
  loop = head_islands.border_loop(faces)
  neck, seam, middle = _split_loop(place, loop)
  curve = _border_curve()
  border = np.concatenate([neck, seam[1:]])
  at = _first_guess(place, neck, seam)
  fixed = np.concatenate([border, middle[1:-1]])
  height = np.linspace(curve(1.0)[1], curve(0.0)[1], len(middle))[1:-1]
  target = np.concatenate(
    [curve(at), np.stack([np.full(len(height), 0.5), height], -1)]
  )
  flat = head_flatten.tutte(len(used), faces, fixed, target)
  problem, start = _problem(
    place, shape[used], faces, mesh.parts[right], border, at, middle[1:-1], flat, curve
  )
  x = head_flatten.minimise(problem, start, steps=500)
  flat = problem.place(x)
  return dict(zip(used.tolist(), flat, strict=True))


def _split_loop(place: np.ndarray, loop: np.ndarray):
  """Neck border (front to back), seam (neck to crown), mid-line (crown to neck)."""
  on_axis = np.abs(place[loop, 0]) < 1e-9
  # The loop runs counter-clockwise; turn it so that it starts at the neck's front.
  start = next(
    k
    for k in range(len(loop))
    if on_axis[k - 1] and on_axis[k] and not on_axis[(k + 1) % len(loop)]
  )
  loop, on_axis = np.roll(loop, -start), np.roll(on_axis, -start)
  back = next(k for k in range(1, len(loop)) if on_axis[k])
  axis = np.concatenate([loop[back:], loop[:1]])
  top = int(np.argmax(place[axis, 1]))
  # The seam ends a little behind the crown.
  end = head_regions.seam_end(place[axis], top)
  return loop[: back + 1], axis[: end + 1], axis[end:]


def _border_curve():
  """The right border of the chart from bottom to top, as a function of [0, 1]."""
  m, b, t = _MARGIN, _BOTTOM_CORNER, _TOP_CORNER
  corners = np.array(
    [[0.5, m], [1 - m - b, m], [1 - m, m + b], [1 - m, 1 - m - t], [1 - m - t, 1 - m],
     [0.5, 1 - m]]
  )  # fmt: skip
  mirrored = corners[::-1] * [-1, 1] + [1, 0]
  whole = np.concatenate([corners, mirrored[1:-1]])
  closed = np.concatenate([whole, whole[:1]])
  length = np.concatenate(
    [[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()]
  )
  dense = interpolate.interp1d(length, closed, axis=0)(
    np.linspace(0, length[-1], 4001)[:-1]
  )
  dense = ndimage.gaussian_filter1d(dense, 40, axis=0, mode="wrap")
  half = dense[:2001].copy()
  half[[0, -1], 0] = 0.5
  return interpolate.CubicSpline(np.linspace(0, 1, 2001), half)


def _first_guess(place, neck, seam) -> np.ndarray:
  """Positions on the border curve, in proportion to length along neck and seam."""

  def lengths(path):
    step = np.linalg.norm(np.diff(place[path], axis=0), axis=1)
    return np.concatenate([[0], step.cumsum() / step.sum()])

  return np.concatenate([0.25 * lengths(neck), 0.25 + 0.75 * lengths(seam)[1:]])


def _problem(place, shape, faces, parts, border, at, middle, flat, curve):
  """Variables: x and y of the inner vertices, y of the mid-line, t of the border."""
  count = len(place)
  inner = np.setdiff1d(np.arange(count), np.concatenate([border, middle]))
  n, m = len(inner), len(middle)
  ends = at[[0, -1]]
  scale, weights = head_regions.flat_size(place, faces, parts)
  rest = head_flatten.rest_edges(shape, faces) * scale[:, None, None]
  slope = curve.derivative()

  def position(x):
    result = np.full((count, 2), 0.5)
    result[inner, 0], result[inner, 1] = x[:n], x[n : 2 * n]
    result[middle, 1] = x[2 * n : 2 * n + m]
    t = np.concatenate([ends[:1], x[2 * n + m :], ends[1:]])
    result[border] = curve(t)
    result[border[[0, -1]], 0] = 0.5
    return result

  def jacobian(x):
    tangent = slope(x[2 * n + m :])
    moving = border[1:-1]
    k = np.arange(len(moving)) + 2 * n + m
    rows = np.concatenate(
      [inner, count + inner, count + middle, moving, count + moving]
    )
    columns = np.concatenate([np.arange(2 * n + m), k, k])
    values = np.concatenate([np.ones(2 * n + m), tangent[:, 0], tangent[:, 1]])
    shape = (2 * count, 2 * n + m + len(moving))
    return sparse.csr_matrix((values, (rows, columns)), shape=shape)

  start = np.concatenate([flat[inner, 0], flat[inner, 1], flat[middle, 1], at[1:-1]])
  weights = weights * np.linalg.det(rest)
  return head_flatten.Problem(faces, rest, weights, position, jacobian), start
