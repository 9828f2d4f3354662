"""Builds a `MorphableModel` from the arrays of a file, after checking all of them."""

import contextlib
import dataclasses
import logging
import pathlib
import struct
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from affjax.geometry import surface
from affjax.heads import _unwrapping
from affjax.heads._morphable import MorphableModel
from affjax.types import Template

# From the origin of a head to the midpoint of its outer eye corners, dm; the same as
# in the embedded head.
EYES_BEFORE_ORIGIN = np.array([0, 0, 0.55])
# Range of the distance between eyeballs or outer eye corners, dm. Files in other units
# or with a reversed x axis are refused by it.
_EYE_DISTANCE = (0.5, 1.3)
# Exceptions that readers raise for damaged files.
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
  """A model file cannot be used; names the file, its content and its source."""


@dataclasses.dataclass(frozen=True)
class Source:
  """A file or folder that a user provides.

  Attributes:
    path: its location.
    model: the expected model, e.g. "FLAME".
    expected: the expected content.
    offer: the address where its owner offers it.
  """

  path: pathlib.Path
  model: str
  expected: str
  offer: str

  def error(self, found: str) -> ModelFileError:
    """Returns the error that says what was found."""
    return ModelFileError(
      f"{self.path} is not a usable {self.model} model: {found}. Expected: "
      f"{self.expected}. Its owner offers it at {self.offer}"
    )

  def check(self, condition: bool | np.bool_, found: str) -> None:
    """Raises a ModelFileError unless the condition holds."""
    if not condition:
      raise self.error(found)

  @contextlib.contextmanager
  def reading(self) -> Iterator[None]:
    """Converts the exceptions of damaged files to a ModelFileError."""
    try:
      yield
    except ModelFileError:
      raise
    except _DAMAGE as error:
      raise self.error(f"{type(error).__name__}: {error}") from error


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """A head model in its own unit, along head space's axes: +x right, +y up, +z front.

  Attributes:
    name: name of the template.
    mean: vertices of the mean head.
    faces: triangles.
    identity: identity modes, each multiplied with its standard deviation.
    expression: displacements at coefficient 1.
    expression_names: names of the displacements.
    eyes: outer eye corners or eyeballs, first the person's right one, then the left
      one, which has the larger x; in the unit of the mean.
    decimeters: length of one unit, dm.
    landmarks: vertices of the 68 standard landmarks, or None if the file has none.
    uvs: UV coordinates, or None.
    faces_uv: the triangles as indices into `uvs`.
    face_groups: index of each triangle's group; all 0 by default.
    group_names: names of the groups.
  """

  name: str
  mean: Float[np.ndarray, "v 3"]
  faces: Int[np.ndarray, "t 3"]
  identity: Float[np.ndarray, "k v 3"]
  expression: Float[np.ndarray, "e v 3"]
  expression_names: Sequence[str]
  eyes: Float[np.ndarray, "2 3"]
  decimeters: float
  landmarks: Int[np.ndarray, "68"] | None = None
  uvs: Float[np.ndarray, "u 2"] | None = None
  faces_uv: Int[np.ndarray, "t 3"] | None = None
  face_groups: Int[np.ndarray, " t"] | None = None
  group_names: tuple[str, ...] = ("skin",)


def assemble(source: Source, parts: Parts) -> MorphableModel:
  """Returns the model in head space: decimeters, outward triangles, common origin.

  A model without UV coordinates gets those of a cylinder, and a warning is logged.

  Raises:
    ModelFileError: shapes do not match, numbers are not finite, indices are out of
      range, or the size is not a head's.
  """
  _check(source, parts)
  across = float(parts.eyes[1, 0] - parts.eyes[0, 0]) * parts.decimeters
  source.check(
    _EYE_DISTANCE[0] <= across <= _EYE_DISTANCE[1],
    f"its eyes are {across:.3g} dm apart along +x, not {_EYE_DISTANCE}",
  )
  center = parts.eyes.mean(0)
  vertices = (parts.mean - center) * parts.decimeters + EYES_BEFORE_ORIGIN
  faces, uvs, faces_uv = parts.faces, parts.uvs, parts.faces_uv
  if surface.looks_inward(vertices, faces):
    faces, faces_uv = faces[:, ::-1], None if faces_uv is None else faces_uv[:, ::-1]
  if uvs is None or faces_uv is None:
    logging.getLogger(__name__).warning(
      "%s has no UV coordinates: those of a cylinder are used; docs/models.md tells "
      "how to provide others",
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
  identity = (parts.identity * parts.decimeters).astype(np.float32)
  return MorphableModel(
    template=template,
    identity_basis=identity,
    identity_std=np.sqrt((identity**2).sum(-1).mean(-1)),
    expression_basis=(parts.expression * parts.decimeters).astype(np.float32),
    expression_names=tuple(parts.expression_names),
  )


def _check(source: Source, parts: Parts) -> None:
  """Checks shapes, numbers and ranges."""
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


def _surface_points(
  vertices: np.ndarray | None, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """A triangle of each vertex, -1 for vertices without any, and barycentric weights."""
  if vertices is None:
    return np.zeros(0, np.int32), np.zeros((0, 3), np.float32)
  hit = faces[None] == vertices[:, None, None]
  inside = hit.any(-1)
  triangle = np.where(inside.any(1), inside.argmax(1), -1).astype(np.int32)
  return triangle, hit[np.arange(len(hit)), triangle].astype(np.float32)
