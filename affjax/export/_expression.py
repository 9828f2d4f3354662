"""The expression units of a head, and its eyes as parts that turn."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix, csgraph
from scipy.spatial.transform import Rotation

from affjax.export._head_mesh import HeadMesh
from affjax.geometry import mesh
from affjax.types import Template

SIDES = ("Left", "Right")
_GAZES = ("In", "Out", "Up", "Down")
# Largest movement of an eye by units other than its gaze, dm.
_STILL = 1e-3
# Largest deviation of a gaze from a rotation, as a share of the eye's radius.
_RIGID = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class Expression:
  """The expression units of a head's model, and how strongly the head shows them.

  Attributes:
    names: Name of each unit, in ARKit if it has one.
    moves: Displacement of each vertex at weight 1, dm.
    weights: Weight of each unit in the head, 0 = none, 1 = full.
  """

  names: tuple[str, ...]
  moves: Float[np.ndarray, "e v 3"]
  weights: Float[np.ndarray, " e"]

  def __post_init__(self) -> None:
    if not len(self.names) == len(self.moves) == len(self.weights):
      raise ValueError(
        "names, moves and weights must be as many, got "
        f"{len(self.names)}, {len(self.moves)} and {len(self.weights)}"
      )
    if not np.isfinite(self.weights).all():
      raise ValueError("weights must be finite, got NaN or infinity")

  @property
  def displacement(self) -> Float[np.ndarray, "v 3"]:
    """The displacement of each vertex by the whole expression, dm."""
    return np.tensordot(self.weights, self.moves, 1).astype(np.float32)

  @property
  def is_arkit(self) -> bool:
    """Whether the units have ARKit's names, which animations use."""
    return "jawOpen" in self.names


@dataclasses.dataclass(frozen=True, eq=False)
class Eye:
  """An eyeball, which turns about its center and does not deform.

  Attributes:
    side: "Left" or "Right", as the person says.
    vertices: Its vertices.
    center: Its center, dm.
    turns: Rotation at weight 1 of each gaze unit, by its name, axis-angle, radians.
  """

  side: str
  vertices: Int[np.ndarray, " n"]
  center: Float[np.ndarray, " 3"]
  turns: Mapping[str, Float[np.ndarray, " 3"]]

  def quaternions(
    self, names: tuple[str, ...], weights: Float[np.ndarray, "*f e"]
  ) -> Float[np.ndarray, "*f 4"]:
    """Returns the rotation for weights, as (x, y, z, w)."""
    return quaternions(self.turns, names, weights)


def quaternions(
  turns: Mapping[str, np.ndarray],
  names: tuple[str, ...],
  weights: Float[np.ndarray, "*f e"],
) -> Float[np.ndarray, "*f 4"]:
  """Returns the rotation of an eye for weights, as (x, y, z, w).

  Args:
    turns: Rotation at weight 1 of each gaze unit, axis-angle, radians.
    names: Names of the units.
    weights: Weights of the units.
  """
  axes = np.zeros((len(names), 3))
  for name, turn in turns.items():
    if name in names:
      axes[names.index(name)] = turn
  vectors = weights @ axes
  found = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_quat()
  return found.reshape(*vectors.shape[:-1], 4)


def target_normals(
  neutral: HeadMesh, expression: Expression
) -> Float[np.ndarray, "e v 3"]:
  """Returns the change of each normal of the neutral head at weight 1 of each unit."""
  moved = neutral.vertices + expression.moves
  normals = mesh.vertex_normals(moved, neutral.template.faces)
  return np.where(normals.any(-1, keepdims=True), normals - neutral.normals, 0)


def find_eyes(neutral: HeadMesh, expression: Expression) -> list[Eye]:
  """Returns the eyeballs of a neutral head, the left one first.

  An eyeball is a separate part of the mesh that only the four gaze units of its side
  move, and rigidly. Heads whose eyes are not like that have none, or only one.
  """
  part = _parts(neutral.template)
  found = (_find_eye(neutral, expression, part, side) for side in SIDES)
  return [eye for eye in found if eye is not None]


def _find_eye(
  neutral: HeadMesh, expression: Expression, part: Int[np.ndarray, " v"], side: str
) -> Eye | None:
  gazes = [f"eyeLook{way}{side}" for way in _GAZES]
  if any(name not in expression.names for name in gazes):
    return None
  rows = [expression.names.index(name) for name in gazes]
  reach = np.abs(expression.moves).max(-1)
  others = np.delete(reach, rows, 0).max(0, initial=0)
  mine = (reach[rows].max(0) > _STILL) & (others < _STILL)
  # A part counts if all of its vertices do.
  count = np.bincount(part)
  whole = np.flatnonzero(np.bincount(part, mine, len(count)) == count)
  vertices = np.flatnonzero(np.isin(part, whole))
  if len(vertices) < 4:
    return None
  points = neutral.vertices[vertices].astype(np.float64)
  center, radius = _sphere(points)
  turns = {}
  for name, row in zip(gazes, rows, strict=True):
    turn, off = _turn(points, points + expression.moves[row, vertices])
    if off > _RIGID * radius:
      return None
    turns[name] = turn
  return Eye(side, vertices, center, turns)


def _parts(template: Template) -> Int[np.ndarray, " v"]:
  """Returns the connected part of each vertex."""
  count = len(template.vertices)
  ends = template.faces.reshape(-1), np.roll(template.faces, 1, 1).reshape(-1)
  links = coo_matrix((np.ones(len(ends[0])), ends), shape=(count, count))
  return csgraph.connected_components(links, directed=False)[1]


def _sphere(
  points: Float[np.ndarray, "n 3"],
) -> tuple[Float[np.ndarray, " 3"], float]:
  """Returns center and radius of the sphere through points, by least squares."""
  system = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
  (*center, rest), *_ = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)
  center = np.array(center)
  return center, float(np.sqrt(max(rest + center @ center, 0)))


def _turn(
  before: Float[np.ndarray, "n 3"], after: Float[np.ndarray, "n 3"]
) -> tuple[Float[np.ndarray, " 3"], float]:
  """Returns the rotation between points, and how far they are from it at most."""
  before, after = before - before.mean(0), after - after.mean(0)
  rotation = Rotation.align_vectors(after, before)[0]
  off = np.linalg.norm(rotation.apply(before) - after, axis=1).max()
  return rotation.as_rotvec(), float(off)
