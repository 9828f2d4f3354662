"""A reconstructed head: maps, pose and place in the photo."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from affjax import compilation
from affjax.export import _projection
from affjax.export._expression import Expression
from affjax.export._head_mesh import HeadMesh, head_mesh
from affjax.geometry import uv
from affjax.render import shade
from affjax.types import Camera, Template

# Confidence from which on a head is sure.
SURE = 0.8
_shade = compilation.saved()(shade)


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
  """One face of one photo as a head, in NumPy arrays.

  Attributes:
    template: Topology of the head.
    camera: Camera of the crop.
    crop_image: The crop that was reconstructed, in [0, 1].
    crop: Affine map from photo px to crop px.
    position: Position map, head-space dm.
    diffuse: Diffuse map in [0, 1].
    light: Light map >= 0.
    light_color: Global color of the light.
    pose: Axis-angle rotation and translation of the head before the crop's camera.
    found: JSON-able facts about the face (box, score, landmarks), for pose.json.
    notes: JSON-able facts about how the head was made, for pose.json.
    expression: Expression units of the model and their weights in the head; None where
      they are not known.
    scale: Size of the person's head over that of head space, for files in meters.
    confidence: Probability that the head lies right on a face; None where it is not
      known.
  """

  template: Template
  camera: Camera
  crop_image: Float[np.ndarray, "c c 3"]
  crop: Float[np.ndarray, "2 3"]
  position: Float[np.ndarray, "s s 3"]
  diffuse: Float[np.ndarray, "s s 3"]
  light: Float[np.ndarray, "l l 1"]
  light_color: Float[np.ndarray, " 3"]
  pose: Float[np.ndarray, " 6"]
  found: Mapping[str, Any]
  notes: Mapping[str, Any]
  expression: Expression | None = None
  scale: float = 1.0
  confidence: float | None = None

  @property
  def unsure(self) -> bool:
    """Whether the confidence is known and below `SURE`."""
    return self.confidence is not None and self.confidence < SURE

  @functools.cached_property
  def mesh(self) -> HeadMesh:
    """The head without its pose."""
    table = uv.uv_table(self.template, len(self.position))
    vertices = uv.vertices_from_map(self.position, table)
    return head_mesh(vertices, self.template, scale=self.scale)

  @functools.cached_property
  def neutral(self) -> HeadMesh | None:
    """The head without pose and expression; None where that is not known."""
    if self.expression is None:
      return None
    vertices = self.mesh.vertices - self.expression.displacement
    return head_mesh(vertices, self.template, scale=self.scale)

  @functools.cached_property
  def projection(self) -> _projection.Projection:
    """The matrix from head space, dm, to px of the photo."""
    return _projection.head_to_photo(
      self.pose, self.camera, crop=self.crop, crop_size=len(self.crop_image)
    )

  @functools.cached_property
  def rotation(self) -> Float[np.ndarray, "3 3"]:
    """The rotation of the head in the photo."""
    return _projection.photo_rotation(self.pose, self.crop)

  @functools.cached_property
  def shaded(self) -> Float[np.ndarray, "s s 3"]:
    """The diffuse map under the light."""
    maps = (self.diffuse, self.light, self.light_color)
    texture = _shade(*(np.asarray(values)[None] for values in maps))
    return np.asarray(texture[0])
