"""The interface of providers of geometry, and their answers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from affjax.faces import Crop, Face
from affjax.types import Template

# The largest coordinate of a head's vertices, dm; records cannot hold larger ones.
FARTHEST_DM = 3.2


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
  """The geometry of the head in an aligned photo.

  Attributes:
    vertices: vertices of the provider's template, head space, dm, with expression,
      without pose.
    pose: pose in front of the standard camera; None if unknown.
    quality: estimate of the geometry's accuracy in [0, 1].
    error: mean distance of the landmarks, % of the interocular distance; NaN if
      unknown.
    visible: mask of the head's own surface; None if it is to be estimated.
    diffuse: UV diffuse map; None if unknown.
  """

  vertices: Float[np.ndarray, "v 3"]
  pose: Float[np.ndarray, " 6"] | None
  quality: float
  error: float = float("nan")
  visible: UInt8[np.ndarray, "s s 1"] | None = None
  diffuse: UInt8[np.ndarray, "m m 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Refusal:
  """The one-line reason why a provider has no geometry for a photo."""

  reason: str


@runtime_checkable
class Provider(Protocol):
  """A provider of geometry for aligned photos.

  Attributes:
    template: template of the vertices.
    aligned: whether the photos are the provider's own and aligned already, so that no
      faces are detected.
  """

  template: Template
  aligned: bool

  def __call__(
    self,
    images: UInt8[np.ndarray, "n s s 3"],
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """Returns the geometry of each photo.

    Args:
      images: Aligned photos.
      faces: Faces, as they were found in the photos before alignment.
      crops: Crops by which the photos were aligned.
      names: Names of the photos in the input, with `#face k`.
    """
    ...

  def settings(self) -> Mapping[str, Any]:
    """Returns what determines the geometry, as JSON values."""
    ...


def require_head(vertices: np.ndarray, template: Template) -> np.ndarray:
  """Returns vertices as float32 after checking that they can be a head.

  Raises:
    ValueError: The number of vertices differs from the template's, a value is not
      finite, or the head has another place or size than heads have in head space.
  """
  expected = template.vertices.shape
  if vertices.shape != expected or vertices.dtype.kind not in "fiu":
    raise ValueError(
      f"vertices must be numbers of shape {list(expected)}, got {vertices.dtype} "
      f"{list(vertices.shape)}"
    )
  vertices = vertices.astype(np.float32)
  if not np.isfinite(vertices).all():
    raise ValueError("vertices must be finite, got NaN or infinity")
  span = np.ptp(vertices, axis=0) / np.ptp(template.vertices, axis=0)
  if np.abs(vertices).max() > FARTHEST_DM or span.min() < 0.5 or span.max() > 2:
    raise ValueError(
      "vertices must be a head in head space (decimeters, +y up, +z towards the "
      f"camera, origin in its center); got bounds {np.round(vertices.min(0), 2)} to "
      f"{np.round(vertices.max(0), 2)}, the mean head has "
      f"{np.round(template.vertices.min(0), 2)} to "
      f"{np.round(template.vertices.max(0), 2)}"
    )
  return vertices
