"""Makes a `MorphableModel` of what a file holds, after a look at all of it."""

import contextlib
import dataclasses
import logging
import pathlib
import struct
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from affjax.heads import _unwrapping
from affjax.heads._morphable import MorphableModel
from affjax.types import Template

# The origin of a head, behind the middle of the outer eye corners, dm: as in the
# embedded head.
EYES_BEFORE_ORIGIN = np.array([0, 0, 0.55])
# Distance of eyeballs or outer eye corners, dm: a file in other units, or whose x axis
# runs the other way, is another file.
_EYE_DISTANCE = (0.5, 1.3)
# What readers of files raise, by what is broken in the file.
_DAMAGE = (
  ValueError,
  LookupError,
  TypeError,
  EOFError,
  OSError,
  RuntimeError,
  NotImplementedError,
  MemoryError,
  struct.error,
  zipfile.BadZipFile,
)


class ModelFileError(ValueError):
  """A model's file cannot be used: says which, what it holds, and where to get it."""


@dataclasses.dataclass(frozen=True)
class Source:
  """A file or folder that a user brings.

  Attributes:
    path: where it is.
    model: what it should be, e.g. "FLAME".
    expected: what it should hold.
    offer: where its owner offers it.
  """

  path: pathlib.Path
  model: str
  expected: str
  offer: str

  def error(self, found: str) -> ModelFileError:
    """What to raise."""
    return ModelFileError(
      f"{self.path} is not a usable {self.model} model: {found}. Expected: "
      f"{self.expected}. Its owner offers it at {self.offer}"
    )

  def check(self, condition: bool, found: str) -> None:
    """Raises a ModelFileError unless the condition holds."""
    if not condition:
      raise self.error(found)

  @contextlib.contextmanager
  def reading(self) -> Iterator[None]:
    """Turns whatever a damaged file raises into a ModelFileError."""
    try:
      yield
    except ModelFileError:
      raise
    except _DAMAGE as error:
      raise self.error(f"{type(error).__name__}: {error}") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """A head model in its own units, axes as in head space: +x right, +y up, +z front.

  Attributes:
    name: of the template.
    mean: the mean head.
    faces: triangles.
    identity: modes, each multiplied with its standard deviation.
    expression: displacements at coefficient 1.
    expression_names: of each displacement.
    eyes: outer eye corners, or eyeballs: the person's right, then the left, which has
      the larger x; in the units of the mean.
    decimetres: length of one unit.
    landmarks: vertices of the 68 standard landmarks; none if the file does not say.
    uvs: UV coordinates, if the model has any.
    faces_uv: the triangles as indices into them.
    face_groups: of each triangle, index into the names; all 0 by default.
    group_names: of the groups.
  """

  name: str
  mean: Float[np.ndarray, "v 3"]
  faces: Int[np.ndarray, "t 3"]
  identity: Float[np.ndarray, "k v 3"]
  expression: Float[np.ndarray, "e v 3"]
  expression_names: Sequence[str]
  eyes: Float[np.ndarray, "2 3"]
  decimetres: float
  landmarks: Int[np.ndarray, "68"] | None = None
  uvs: Float[np.ndarray, "u 2"] | None = None
  faces_uv: Int[np.ndarray, "t 3"] | None = None
  face_groups: Int[np.ndarray, " t"] | None = None
  group_names: tuple[str, ...] = ("skin",)


def assemble(source: Source, parts: Parts) -> MorphableModel:
  """The model in head space: decimetres, origin behind the eyes, outward triangles.

  A model without UV coordinates gets those of a cylinder around it, and a warning.

  Raises:
    ModelFileError: shapes that do not fit together, numbers that are not finite,
      indices out of range, a head of an impossible size.
  """
  _check(source, parts)
  across = float(parts.eyes[1, 0] - parts.eyes[0, 0]) * parts.decimetres
  source.check(
    _EYE_DISTANCE[0] <= across <= _EYE_DISTANCE[1],
    f"its eyes are {across:.3g} dm apart along +x, not {_EYE_DISTANCE}",
  )
  centre = parts.eyes.mean(0)
  vertices = (parts.mean - centre) * parts.decimetres + EYES_BEFORE_ORIGIN
  faces, uvs, faces_uv = parts.faces, parts.uvs, parts.faces_uv
  if _looks_inward(vertices, faces):
    faces, faces_uv = faces[:, ::-1], None if faces_uv is None else faces_uv[:, ::-1]
  if uvs is None or faces_uv is None:
    logging.getLogger(__name__).warning(
      "%s has no UV coordinates: a cylinder's are used; docs/models.md tells how to "
      "bring others",
      source.path,
    )
    uvs, faces_uv = _unwrapping.cylinder(vertices, faces)
  landmark_faces, landmark_weights = _surface_points(parts.landmarks, faces)
  source.check(bool((landmark_faces >= 0).all()), "its landmarks lie on no triangle")
  groups = parts.face_groups
  template = Template(
    name=parts.name,
    vertices=vertices.astype(np.float32),
    faces=faces.astype(np.int32),
    uvs=uvs.astype(np.float32),
    faces_uv=faces_uv.astype(np.int32),
    face_groups=np.zeros(len(faces), np.int32) if groups is None else groups,
    group_names=parts.group_names,
    masks={},
    landmark_faces=landmark_faces,
    landmark_weights=landmark_weights,
  )
  identity = (parts.identity * parts.decimetres).astype(np.float32)
  return MorphableModel(
    template=template,
    identity_basis=identity,
    identity_std=np.sqrt((identity**2).sum(-1).mean(-1)),
    expression_basis=(parts.expression * parts.decimetres).astype(np.float32),
    expression_names=tuple(parts.expression_names),
  )


def _check(source: Source, parts: Parts) -> None:
  """Shapes, numbers and ranges."""
  count = len(parts.mean)
  for name, array, shape in (
    ("mean", parts.mean, (count, 3)),
    ("identity basis", parts.identity, (len(parts.identity), count, 3)),
    ("expression basis", parts.expression, (len(parts.expression), count, 3)),
    ("triangle list", parts.faces, (len(parts.faces), 3)),
    ("list of landmarks", parts.landmarks, (68,)),
    ("UV coordinates", parts.uvs, (-1 if parts.uvs is None else len(parts.uvs), 2)),
    ("UV triangles", parts.faces_uv, parts.faces.shape),
  ):
    if array is None:
      continue
    found = f"its {name} has shape {array.shape}, not {shape}"
    source.check(array.shape == shape, found)
    bad = array.size - int(np.isfinite(array).sum())
    source.check(bad == 0, f"its {name} has {bad} numbers that are not finite")
  source.check(len(parts.faces) > 0, "it has no triangles")
  for name, indices, end in (
    ("triangle list", parts.faces, count),
    ("list of landmarks", parts.landmarks, count),
    ("UV triangles", parts.faces_uv, 0 if parts.uvs is None else len(parts.uvs)),
  ):
    if indices is not None:
      low, high = int(indices.min()), int(indices.max())
      source.check(
        low >= 0 and high < end,
        f"its {name} has indices in [{low}, {high}], not in [0, {end})",
      )


def _looks_inward(vertices: np.ndarray, faces: np.ndarray) -> bool:
  """Whether the triangles are clockwise, seen from outside.

  Measured about the middle of its vertices, a head as well as a mere face encloses a
  positive volume if its triangles look outward.
  """
  corner = vertices[faces]
  normals = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
  return bool((normals * (corner.mean(1) - vertices.mean(0))).sum() < 0)


def _surface_points(vertices: np.ndarray | None, faces: np.ndarray):
  """A triangle that each vertex is a corner of, and barycentric weights there.

  A vertex of no triangle has triangle -1.
  """
  if vertices is None:
    return np.zeros(0, np.int32), np.zeros((0, 3), np.float32)
  hit = faces[None] == vertices[:, None, None]
  inside = hit.any(-1)
  triangle = np.where(inside.any(1), inside.argmax(1), -1).astype(np.int32)
  return triangle, hit[np.arange(len(hit)), triangle].astype(np.float32)
