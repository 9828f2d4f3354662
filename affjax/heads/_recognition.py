"""Finds the 68 landmarks of a human head by its shape alone.

The front of the embedded head is sought in views of the mesh along its axes, by the
normalized cross-correlation of normals at many scales. Iterated closest points refine
the best views to similarities, and the relief of eyes, nose and mouth decides between
them. The error is a few millimeters, small enough for a non-rigid registration
(`affjax.heads._registration`) to start from.
"""

import dataclasses
import functools
import itertools

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import fft
from scipy import ndimage
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from affjax.geometry import surface
from affjax.heads import _embedded

# The window of the front of the embedded head: left, right, bottom, top, dm.
_WINDOW = (-0.8, 0.8, -1.2, 0.6)
# Side of the views, px, and the tested heights of the window, px.
_VIEW = 72
_HEIGHTS = np.unique(np.rint(np.geomspace(15, 84, 11)).astype(int))
# Number of random points on a surface, for views and for closest points.
_DENSE, _SPARSE = 30_000, 8_000
# Least share of the window that the mesh covers.
_COVERED = 0.75
# Number of refined orientations; rounds of closest points for each and for the best.
_TRIED, _ROUGH, _FINE = 4, 8, 12
# Distance that a right angle between normals counts as, dm; shares of pairs kept.
_LEAN, _KEPT, _KEPT_BACK = 0.15, 0.85, 0.7
# Scales between which the relief of a face lies, px in a window 42 px high.
_FINEST, _COARSEST = 0.7, 5.0
# Largest distance from the embedded face, dm, and least correlation of the relief.
# Heads of three sources had at most 0.011 and at least 0.69; a ball, a capsule and the
# back of a head had at least 0.025 and at most 0.29.
_FAR, _ALIKE = 0.02, 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
  """A face found in a mesh.

  Attributes:
    turn: scaled rotation from the mesh's space to head space.
    shift: translation to head space, dm.
    distance: median distance between the surfaces of both faces, dm.
    correlation: similarity of their relief in [-1, 1], seen from the front.
  """

  turn: Float[np.ndarray, "3 3"]
  shift: Float[np.ndarray, "3"]
  distance: float
  correlation: float

  def to_head(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    """Maps points of the mesh to head space, dm."""
    return points @ self.turn.T + self.shift

  def to_mesh(self, points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    """Maps points of head space to the mesh's space."""
    return (points - self.shift) @ np.linalg.inv(self.turn).T


@dataclasses.dataclass(frozen=True, eq=False)
class _View:
  """A surface seen along -z: the frontmost position and normal of each pixel."""

  place: Float[np.ndarray, "h w 3"]
  normal: Float[np.ndarray, "h w 3"]
  filled: Bool[np.ndarray, "h w"]


def find_face(
  vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> Found:
  """Returns the similarity that brings a mesh's face onto the embedded head's.

  Args:
    vertices: vertices in any unit, with any axes up and to the front.
    faces: triangles, all outward or all inward.

  Raises:
    ValueError: no side of the mesh is large enough for a face.
  """
  if surface.looks_inward(vertices, faces):
    faces = faces[:, ::-1]
  points, normals = _sampled(vertices, faces, _DENSE)
  views = []
  for rotation in _rotations():
    found = _best_place(points @ rotation.T, normals @ rotation.T)
    if found is not None:
      score, scale, shift = found
      views.append((score, scale * rotation, shift))
  if not views:
    raise doubt("no side of it is large enough for a face")
  views.sort(key=lambda view: -view[0])
  few = slice(None, None, len(points) // _SPARSE)
  near = functools.partial(_closest, points[few], normals[few])
  refined = [near(turn, shift, _ROUGH, both=True) for _, turn, shift in views[:_TRIED]]
  alike = [_correlation(points, normals, *found[:2]) for found in refined]
  turn, shift, _ = refined[int(np.argmax(alike))]
  turn, shift, distance = near(turn, shift, _FINE, both=False)
  return Found(turn, shift, distance, _correlation(points, normals, turn, shift))


def _correlation(
  points: np.ndarray, normals: np.ndarray, turn: np.ndarray, shift: np.ndarray
) -> float:
  """Correlation in [-1, 1] of the relief in the window with a face's."""
  face = _face_view(int(_HEIGHTS[-1]) // 2)
  left, _, bottom, top = _WINDOW
  pixel = (top - bottom) / face.filled.shape[0]
  looks = normals @ turn.T / np.cbrt(np.linalg.det(turn))
  view = _seen(
    points @ turn.T + shift, looks, np.array([left, bottom]), pixel, face.filled.shape
  )
  a, b = _relief(view), _relief(face)
  return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-9))


def _relief(view: _View) -> Float[np.ndarray, "h w 2"]:
  """Normals minus those of the smooth shape: the relief of eyes, nose and mouth."""
  filled = view.filled.astype(np.float64)[..., None]
  blurred = lambda sigma: (
    ndimage.gaussian_filter(view.normal[..., :2], (sigma, sigma, 0))
    / np.maximum(ndimage.gaussian_filter(filled, (sigma, sigma, 0)), 1e-3)
  )
  return (blurred(_FINEST) - blurred(_COARSEST)) * filled


def rough_landmarks(
  vertices: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "t 3"]
) -> Float[np.ndarray, "68 3"]:
  """Returns approximate positions of the 68 landmarks, in the mesh's space.

  Raises:
    ValueError: the mesh shows no human face.
  """
  found = find_face(vertices, faces)
  if found.distance > _FAR or found.correlation < _ALIKE:
    raise doubt(
      f"the part most like a human face is {found.distance * 100:.1f} mm off one (at "
      f"most {_FAR * 100:.0f} mm expected), with a correlation of "
      f"{found.correlation:.2f} (at least {_ALIKE} expected)"
    )
  head = _embedded.load().template
  return found.to_mesh(head.landmark_positions(head.vertices))


def doubt(reason: str) -> ValueError:
  """Returns the error that says why landmarks cannot be found, and what to do."""
  return ValueError(
    f"its landmarks cannot be told by its shape: {reason}; name 8 or more of the 68 by "
    'vertex in a .json file of the same name beside it: {"landmarks": {"some": {"36": '
    "12, ...}}}, see docs/templates.md"
  )


def _rotations() -> list[Float[np.ndarray, "3 3"]]:
  """The 24 rotations that map axes to axes."""
  signed = (
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
  )
  return [matrix for matrix in signed if np.linalg.det(matrix) > 0]


def _sampled(
  vertices: np.ndarray, faces: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
  """Random points on a surface, `[P, 3]`, and their unit normals."""
  rng = np.random.default_rng(0)
  a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
  cross = np.cross(b - a, c - a)
  area = np.linalg.norm(cross, axis=-1)
  chosen = np.searchsorted(np.cumsum(area), rng.random(count) * area.sum())
  chosen = np.minimum(chosen, len(faces) - 1)
  u, v = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
  places = (1 - u) * a[chosen] + u * (1 - v) * b[chosen] + u * v * c[chosen]
  return places, cross[chosen] / np.maximum(area[chosen, None], 1e-30)


def _seen(
  points: np.ndarray,
  normals: np.ndarray,
  low: np.ndarray,
  pixel: float,
  shape: tuple[int, int],
) -> _View:
  """The view of a surface; row 0 is at the bottom, at `low`."""
  column, row = np.floor((points[:, :2] - low) / pixel).astype(int).T
  inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
  order = np.flatnonzero(inside)[np.argsort(points[inside, 2], kind="stable")]
  place, normal = np.zeros((*shape, 3)), np.zeros((*shape, 3))
  # Points further in front come later and replace those behind them.
  place[row[order], column[order]] = points[order]
  normal[row[order], column[order]] = normals[order]
  filled = normal[..., 2] > 0
  return _View(place, normal * filled[..., None], filled)


@functools.cache
def _face_samples() -> tuple[np.ndarray, np.ndarray]:
  """Points and normals on the front of the embedded head."""
  head = _embedded.load().template
  skin = head.face_groups == head.group_names.index("skin")
  front = head.vertices[head.faces][..., 2].max(1) > -0.3
  return _sampled(head.vertices, head.faces[skin & front], _DENSE)


@functools.cache
def _face_view(height: int) -> _View:
  """The window of the embedded head, `height` pixels high."""
  points, normals = _face_samples()
  left, right, bottom, top = _WINDOW
  pixel = (top - bottom) / height
  width = round((right - left) / pixel)
  return _seen(points, normals, np.array([left, bottom]), pixel, (height, width))


@functools.cache
def _face_spectra(height: int) -> tuple[list[np.ndarray], np.ndarray, int, float]:
  """Spectra of the window's normals (x, y) and mask, its area, its energy."""
  view = _face_view(height)
  size = (2 * _VIEW, 2 * _VIEW)
  spectra = [np.conj(fft.rfft2(view.normal[..., k], size)) for k in (0, 1)]
  mask = np.conj(fft.rfft2(view.filled.astype(np.float64), size))
  return spectra, mask, int(view.filled.sum()), float((view.normal[..., :2] ** 2).sum())


def _best_place(
  points: np.ndarray, normals: np.ndarray
) -> tuple[float, float, np.ndarray] | None:
  """Score, scale and shift of the part of a view most like a face, or None."""
  low, high = points.min(0), points.max(0)
  pixel = float((high - low)[:2].max()) / (_VIEW - 1)
  view = _seen(points, normals, low[:2], pixel, (_VIEW, _VIEW))
  size = (2 * _VIEW, 2 * _VIEW)
  flat = view.normal[..., :2]
  x, y, energy, filled = (
    fft.rfft2(values, size)
    for values in (flat[..., 0], flat[..., 1], (flat**2).sum(-1), view.filled * 1.0)
  )
  best = None
  for height in _HEIGHTS.tolist():
    (face_x, face_y), mask, count, face_energy = _face_spectra(height)
    covered = fft.irfft2(mask * filled, size) / count
    same = fft.irfft2(face_x * x + face_y * y, size)
    there = np.maximum(fft.irfft2(mask * energy, size), 1e-3 * face_energy)
    score = same / np.sqrt(there * face_energy) * np.minimum(covered, 1)
    score[covered < _COVERED] = -1
    row, column = np.unravel_index(score.argmax(), score.shape)
    if score[row, column] <= max(0.0, best[0] if best else 0.0):
      continue
    scale = (_WINDOW[3] - _WINDOW[2]) / (height * pixel)
    corner = low[:2] + pixel * np.array([_signed(column), _signed(row)])
    shift = np.array([_WINDOW[0], _WINDOW[2], 0]) - scale * np.array([*corner, 0])
    # In depth, the foremost points coincide.
    found, face = scale * points + shift, _face_view(height)
    left, right, bottom, top = _WINDOW
    x_inside = (found[:, 0] > left) & (found[:, 0] < right)
    inside = x_inside & (found[:, 1] > bottom) & (found[:, 1] < top)
    shift[2] = face.place[..., 2].max() - found[inside, 2].max()
    best = (float(score[row, column]), scale, shift)
  return best


def _signed(offset: np.integer) -> int:
  """The offset that an index of a circular correlation stands for."""
  return int(offset) if offset < _VIEW else int(offset) - 2 * _VIEW


def _closest(
  points: np.ndarray,
  normals: np.ndarray,
  turn: np.ndarray,
  shift: np.ndarray,
  rounds: int,
  *,
  both: bool,
) -> tuple[np.ndarray, np.ndarray, float]:
  """Refines a similarity by closest points; returns it and the median distance, dm.

  Points of the face are matched with the mesh. If `both`, points of the mesh are also
  matched with the face, which stabilizes the scale while the two are far apart.
  """
  face = _face_view(int(_HEIGHTS[-1]) // 2)
  goals, looks = face.place[face.filled], face.normal[face.filled]
  here = np.concatenate([goals, _LEAN * looks], 1)
  tree = KDTree(here)
  left, right, bottom, top = _WINDOW
  distance = np.inf
  for _ in range(rounds):
    moved, scale = points @ turn.T + shift, np.cbrt(np.linalg.det(turn))
    there = np.concatenate([moved, _LEAN * normals @ turn.T / scale], 1)
    near = (moved[:, 0] > left) & (moved[:, 0] < right) & (moved[:, 2] > -0.3)
    near = np.flatnonzero(near & (moved[:, 1] > bottom) & (moved[:, 1] < top))
    if len(near) < 100:
      return turn, shift, np.inf
    apart, match = KDTree(there[near]).query(here)
    own, to = near[match], np.argsort(apart)[: int(_KEPT * len(apart))]
    off = ((moved[own] - goals) * looks).sum(-1)
    distance = float(np.median(np.abs(off[to])))
    own = own[to]
    if both:
      apart, match = map(np.asarray, tree.query(there[near]))
      kept = np.argsort(apart)[: int(_KEPT_BACK * len(near))]
      kept = kept[:: max(1, len(kept) // len(to))]
      own, to = np.concatenate([own, near[kept]]), np.concatenate([to, match[kept]])
    step, along = _step_to_planes(moved[own], goals[to], looks[to])
    turn, shift = step @ turn, step @ shift + along
  return turn, shift, distance


def _step_to_planes(
  points: np.ndarray, goals: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The small similarity that moves points to the tangent planes of their goals."""
  middle = points.mean(0)
  arm = points - middle
  rows = np.concatenate(
    [np.cross(arm, normals), normals, (arm * normals).sum(-1, keepdims=True)], 1
  )
  right = ((goals - points) * normals).sum(-1)
  found = np.linalg.solve(rows.T @ rows + 1e-9 * np.eye(7), rows.T @ right)
  turn = Rotation.from_rotvec(found[:3]).as_matrix() * (1 + found[6])
  return turn, middle + found[3:6] - turn @ middle
