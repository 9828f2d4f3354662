"""Photos with 3D truth and the heads that were reconstructed from them.

`Cases` pairs both and computes once what several measures share: texels of both heads,
the texels that a photo shows, and normals.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from affjax.eval import _texels
from affjax.eval._alignment import aligned
from affjax.eval._scan import ScanDistances, scan_distances
from affjax.geometry.camera import head_to_world
from affjax.types import Camera, Template

# The landmarks that the surfaces of other tools are placed by: without the contour.
INNER = range(17, 68)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Photos:
  """N photos of heads.

  Attributes:
    names: Name of each photo.
    template: Topology of the heads; its vertices are the mean head.
    camera: Camera of the photos.
    photos: The photos, square.
    visible: Pixels that show the head's surface, without occluders.
    landmarks: The 68 landmarks that a detector found, px; None where the geometry is
      known instead.
  """

  names: Sequence[str]
  template: Template
  camera: Camera
  photos: UInt8[np.ndarray, "n h h 3"]
  visible: Bool[np.ndarray, "n h h"]
  landmarks: Float[np.ndarray, "n 68 2"] | None = None

  def __len__(self) -> int:
    return len(self.names)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Truths(Photos):
  """N photos of a template's heads whose geometry is known.

  Attributes:
    vertices: Vertices in head space, dm, with expression.
    pose: Axis-angle rotation and translation (dm) in the photo.
    diffuse: Diffuse map in [0, 1]; None where it is unknown.
    light: Light map >= 0; None where it is unknown.
    light_color: Global color of the light; None where it is unknown.
    expression_mm: Mean displacement of the face by the expression, mm; NaN if unknown.
    scans: For each head the points of its surface around the nose that scan distances
      are measured from, head space, dm; None where there are none.
  """

  vertices: Float[np.ndarray, "n v 3"]
  pose: Float[np.ndarray, "n 6"]
  diffuse: Float[np.ndarray, "n s s 3"] | None = None
  light: Float[np.ndarray, "n l l 1"] | None = None
  light_color: Float[np.ndarray, "n 3"] | None = None
  expression_mm: Float[np.ndarray, " n"] | None = None
  scans: Sequence[Float[np.ndarray, "_ 3"]] | None = None

  @functools.cached_property
  def world(self) -> Float[np.ndarray, "n v 3"]:
    """Vertices before the camera, dm."""
    return np.asarray(head_to_world(self.vertices, self.pose))


@dataclasses.dataclass(frozen=True, eq=False)
class Heads:
  """N reconstructed heads in the topology of a template.

  Attributes:
    vertices: Vertices in head space, dm, with expression.
    pose: Pose before the camera of the photo; None if the method gives none.
    diffuse: Diffuse map in [0, 1]; None if the method gives none.
    light: Light map >= 0; None if the method gives none.
    light_color: Global color of the light; None if the method gives none.
  """

  vertices: Float[np.ndarray, "n v 3"]
  pose: Float[np.ndarray, "n 6"] | None = None
  diffuse: Float[np.ndarray, "n s s 3"] | None = None
  light: Float[np.ndarray, "n l l 1"] | None = None
  light_color: Float[np.ndarray, "n 3"] | None = None

  def __len__(self) -> int:
    return len(self.vertices)


@dataclasses.dataclass(frozen=True, eq=False)
class Meshes:
  """N reconstructed surfaces of any topology, such as those of other tools.

  Attributes:
    points: Vertices of each, in any unit.
    faces: Triangles of each.
    landmarks: Places of the inner landmarks 17 to 67 on each surface.
  """

  points: Sequence[Float[np.ndarray, "_ 3"]]
  faces: Sequence[Int[np.ndarray, "_ 3"]]
  landmarks: Float[np.ndarray, "n 51 3"]

  def __len__(self) -> int:
    return len(self.points)


Chosen = TypeVar("Chosen", bound=Photos | Heads | Meshes)


def chosen(whole: Chosen, index: Sequence[int]) -> Chosen:
  """Returns some of the photos or heads.

  Args:
    whole: Photos or heads.
    index: Numbers of those to take, which may repeat.
  """
  changes: dict[str, object] = {}
  for field in dataclasses.fields(whole):
    value = getattr(whole, field.name)
    if isinstance(value, np.ndarray):
      changes[field.name] = value[list(index)]
    elif isinstance(value, Sequence) and not isinstance(value, str):
      changes[field.name] = [value[k] for k in index]
  return dataclasses.replace(whole, **changes)


class Skin(NamedTuple):
  """The surface of a reconstructed head that is compared with a scan.

  Attributes:
    vertices: Its vertices.
    faces: Its triangles.
    start: Landmarks on it and the same ones on the truth.
  """

  vertices: Float[np.ndarray, "v 3"]
  faces: Int[np.ndarray, "t 3"]
  start: tuple[Float[np.ndarray, "k 3"], Float[np.ndarray, "k 3"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
  """N reconstructed heads beside their photos, with what measures share.

  Attributes:
    given: Photos, with their truth where it is known.
    answers: The reconstructed heads, in the same order.

  Raises:
    ValueError: The numbers of heads or of their vertices differ.
  """

  given: Photos
  answers: Heads | Meshes

  def __post_init__(self):
    if len(self.given) != len(self.answers):
      raise ValueError(
        f"there must be {len(self.given)} heads, one a photo, got {len(self.answers)}"
      )
    if isinstance(self.answers, Heads):
      wanted = (len(self.given), *self.template.vertices.shape)
      if self.answers.vertices.shape != wanted:
        raise ValueError(
          f"vertices of the heads must have shape {wanted}, got "
          f"{self.answers.vertices.shape}"
        )

  @property
  def template(self) -> Template:
    """The topology of all heads."""
    return self.given.template

  @property
  def truths(self) -> Truths:
    """The photos, whose geometry must be known."""
    assert isinstance(self.given, Truths)
    return self.given

  @property
  def heads(self) -> Heads:
    """The heads, which must be in the topology of the template."""
    assert isinstance(self.answers, Heads)
    return self.answers

  @functools.cached_property
  def face(self) -> Float[np.ndarray, "s s"]:
    """The weight of each texel in the face."""
    return _texels.face_texels(self.template)

  @functools.cached_property
  def regions(self) -> dict[str, Float[np.ndarray, "s s"]]:
    """The weight of each texel in each region: first "face", then `REGIONS`."""
    return {"face": self.face, **_texels.region_texels(self.template)}

  @functools.cached_property
  def true_texels(self) -> Float[np.ndarray, "n s s 3"]:
    """Position maps of the truth, dm."""
    return _texels.texels(self.truths.vertices, self.template)

  @functools.cached_property
  def head_texels(self) -> Float[np.ndarray, "n s s 3"]:
    """Position maps of the heads, dm."""
    return _texels.texels(self.heads.vertices, self.template)

  def aligned_texels(self, alignment: str) -> Float[np.ndarray, "n p 3"]:
    """Returns the heads' texels after an alignment on the face, see `aligned`."""
    flat = lambda maps: maps.reshape(len(maps), -1, 3)
    return np.asarray(
      aligned(
        flat(self.head_texels), flat(self.true_texels), self.face.ravel(), alignment
      )
    )

  @functools.cached_property
  def exposed(self) -> Bool[np.ndarray, "n s s"]:
    """Texels of the truth that face the camera and that no part of the head hides."""
    return _texels.exposed_texels(self.truths.world, self.template, self.given.camera)

  @functools.cached_property
  def shown(self) -> Bool[np.ndarray, "n s s"]:
    """Exposed texels that the photo shows without an occluder."""
    place = _texels.texels(self.truths.world, self.template)
    return self.exposed & _texels.values_at(
      self.given.visible, place, self.given.camera
    )

  @functools.cached_property
  def skins(self) -> list[Skin]:
    """The surfaces of the heads, with landmarks to place them by."""
    template, answers = self.template, self.answers
    marks = template.landmark_positions(self.truths.vertices)
    if isinstance(answers, Meshes):
      inner = marks[:, list(INNER)]
      rows = zip(answers.points, answers.faces, answers.landmarks, inner, strict=True)
      return [Skin(points, faces, (own, true)) for points, faces, own, true in rows]
    skin = template.faces[template.face_groups == template.group_names.index("skin")]
    own = template.landmark_positions(answers.vertices)
    rows = zip(answers.vertices, own, marks, strict=True)
    return [Skin(vertices, skin, (start, true)) for vertices, start, true in rows]

  @functools.cached_property
  def laid(self) -> list[ScanDistances]:
    """Distances of the scans from the surfaces, and the surfaces laid on the scans."""
    assert self.truths.scans is not None
    return [
      scan_distances(points, skin.vertices, skin.faces, start=skin.start)
      for points, skin in zip(self.truths.scans, self.skins, strict=True)
    ]
