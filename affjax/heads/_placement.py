"""Conversion of a file's axes, unit and origin to head space, and back."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

UNITS = {"m": 10.0, "dm": 1.0, "cm": 0.1, "mm": 0.01}
_AXES = [f"{sign}{axis}" for axis in "xyz" for sign in "+-"]
# Midpoint of the outer eye corners in head space, as in the embedded head.
_EYES = np.array([0.0, 0.0, 0.55])
_EYE_DISTANCE, _HEIGHT, _USUAL = (0.5, 1.3), (1.4, 4.5), 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
  """`head = scale * rotation @ file + offset`.

  Attributes:
    scale: decimeters in a unit of the file.
    rotation: `[3, 3]`, rows = directions of +x, +y, +z of head space in the file.
    offset: `[3]`, dm.
    flip_u: whether u was replaced by 1 - u, because it ran against +x.
    flip_v: whether v was replaced by 1 - v, because it ran against +y.
  """

  scale: float
  rotation: Float[np.ndarray, "3 3"]
  offset: Float[np.ndarray, "3"]
  flip_u: bool = False
  flip_v: bool = False

  def to_head(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Maps points of the file's space to head space, dm."""
    return self.scale * np.asarray(points) @ self.rotation.T + self.offset

  def to_file(self, points: Float[np.ndarray, "*b 3"]) -> Float[np.ndarray, "*b 3"]:
    """Maps points of head space to the file's space and unit."""
    return (np.asarray(points) - self.offset) @ self.rotation / self.scale


def place(
  vertices: Float[np.ndarray, "v 3"],
  landmarks: Float[np.ndarray, "68 3"] | None,
  *,
  units: str | float = "auto",
  up: str = "auto",
  front: str = "auto",
  mirrored: bool = False,
  own_unit: bool = False,
) -> Placement:
  """Determines the placement of a head in its file, except where options state it.

  Axes, unit and origin follow from the landmarks. Without landmarks, `up` and `front`
  default to +y and +z, the unit follows from the size of the bounding box, and the
  origin is the center of the box: sufficient for display, but not for sharing a camera
  with other templates.

  Args:
    vertices: vertices in the file's space.
    landmarks: the 68 standard landmarks in the file's space.
    units: "m", "dm", "cm", "mm", the number of decimeters in one unit, or "auto".
    up: the file's direction up the head: "+x", "-x", … "-z", or "auto".
    front: the file's direction out of the face, likewise.
    mirrored: whether the file's x axis is reversed (left-handed spaces).
    own_unit: whether a head of a human size in no unit is scaled to a human size.

  Raises:
    ValueError: an option is unknown, or contradicts the landmarks or the vertices.
  """
  hand = np.diag([-1.0, 1.0, 1.0]) if mirrored else np.eye(3)
  vertices = vertices @ hand
  landmarks = None if landmarks is None else landmarks @ hand
  rotation = _rotation(landmarks, up, front)
  turned = vertices @ rotation.T
  if landmarks is None:
    if "auto" in (up, front):
      _check_symmetry(turned)
    middle, target = (turned.min(0) + turned.max(0)) / 2, np.zeros(3)
    scale = _scale(units, float(np.ptp(turned[:, 1])), _HEIGHT, "height")
  else:
    points = landmarks @ rotation.T
    _check_landmarks(points)
    middle, target = points[[36, 45]].mean(0), _EYES
    across = float(np.linalg.norm(points[45] - points[36]))
    if own_unit and units == "auto" and not _fitting(across, _EYE_DISTANCE):
      units = _USUAL / across
    scale = _scale(units, across, _EYE_DISTANCE, "outer eye corners' distance")
  return Placement(scale, rotation @ hand, target - scale * middle)


def _rotation(landmarks: np.ndarray | None, up: str, front: str) -> np.ndarray:
  """Directions of +x, +y, +z of head space in the file, as rows."""
  seen_up, seen_front = np.array([0.0, 1, 0]), np.array([0.0, 0, 1])
  if landmarks is not None:
    x = landmarks[45] - landmarks[36]
    seen_up = landmarks[[36, 45]].mean(0) - landmarks[[48, 54]].mean(0)
    seen_front = _nearest_axis(np.cross(x, seen_up))
  y = _axis("up", up, seen_up)
  z = _axis("front", front, seen_front)
  if abs(y @ z) > 0.5:
    raise ValueError(f"up {up!r} and front {front!r} must be different axes")
  return np.stack([np.cross(y, z), y, z])


def _axis(name: str, given: str, seen: np.ndarray) -> np.ndarray:
  if given == "auto":
    return _nearest_axis(seen)
  if given not in _AXES:
    raise ValueError(f"{name} must be 'auto' or one of {_AXES}, got {given!r}")
  return (1.0 if given[0] == "+" else -1.0) * np.eye(3)["xyz".index(given[1])]


def _nearest_axis(direction: np.ndarray) -> np.ndarray:
  k = int(np.abs(direction).argmax())
  return np.sign(direction[k]) * np.eye(3)[k]


def _fitting(size: float, expected: tuple[float, float]) -> list[str]:
  """Names of the units in which a size is as expected, dm."""
  low, high = expected
  return [name for name, dm in UNITS.items() if low <= size * dm <= high]


def _scale(
  units: str | float, size: float, expected: tuple[float, float], what: str
) -> float:
  """Decimeters in a unit; `size` is that of `what` in the file's unit."""
  low, high = expected
  if units == "auto":
    fitting = _fitting(size, expected)
    if len(fitting) != 1:
      raise ValueError(
        f"units cannot be told: the {what} is {size:.4g}, in no unit of {list(UNITS)} "
        f"within {low} to {high} dm; give units= as decimeters in one unit"
      )
    return UNITS[fitting[0]]
  scale = UNITS.get(units, 0.0) if isinstance(units, str) else float(units)
  if not 0 < scale < np.inf:
    raise ValueError(f"units must be 'auto', {list(UNITS)} or a number, got {units!r}")
  if not low / 2 <= size * scale <= high * 2:
    raise ValueError(
      f"units={units!r} make the {what} {size * scale:.3g} dm, expected {low} to {high}"
    )
  return scale


def _check_symmetry(vertices: np.ndarray) -> None:
  """Refuses a head that is its mirror image about another axis than x."""
  vertices = vertices[:: max(1, len(vertices) // 4000)]
  centred = vertices - (vertices.min(0) + vertices.max(0)) / 2
  tree = KDTree(centred)
  apart = [
    float(np.mean(tree.query(centred * (1 - 2 * np.eye(3)[k]))[0])) for k in range(3)
  ]
  if min(apart[1:]) < 0.5 * apart[0]:
    other = "up" if apart[1] < apart[2] else "front"
    raise ValueError(
      f"the head is symmetric about the axis taken for {other}, not about x: give up= "
      "and front=, or landmarks"
    )


def _check_landmarks(points: np.ndarray) -> None:
  """Refuses landmarks that do not form a face that looks along +z."""
  x = points[45] - points[36]
  nose = points[30, 2] - points[[36, 45], 2].mean()
  mouth = points[[48, 54], 1].mean() - points[[36, 45], 1].mean()
  if x[0] <= 0 or mouth >= 0:
    raise ValueError("up= and front= contradict the landmarks: give neither, or others")
  if nose <= 0:
    raise ValueError(
      "the nose points into the head: the file is a mirror image (give mirrored=True) "
      "or left and right landmarks are swapped"
    )
