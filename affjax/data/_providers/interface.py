"""What gives a photo its geometry, and what it answers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, UInt8

from affjax.faces import Crop, Face
from affjax.types import Template

# Beyond this, dm, a vertex is no part of a head; records could not hold it either.
FARTHEST = 3.2


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
  """The head in a photo.

  Attributes:
    vertices: of the provider's template, head space, dm, expression in, pose not.
    pose: in the aligned photo, before the standard camera; None where not known.
    quality: how far to trust it, in [0, 1].
    error: mean distance of the landmarks, % of the interocular distance; NaN where the
      provider does not know.
    visible: uint8 mask of the head's own surface; None = to be found in the photo.
    diffuse: uint8 UV map; None where not known.
  """

  vertices: Float[np.ndarray, "v 3"]
  pose: Float[np.ndarray, " 6"] | None
  quality: float
  error: float = float("nan")
  visible: UInt8[np.ndarray, "s s 1"] | None = None
  diffuse: UInt8[np.ndarray, "m m 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Refusal:
  """A photo that the provider has no geometry for, and why, in one line."""

  reason: str


class Provider(Protocol):
  """Maps aligned photos to geometry; one of `affjax.data.providers`.

  Attributes:
    template: whose vertices it gives.
    aligned: its photos are aligned already and it knows all of them: no faces are
      looked for.
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
    """Geometry for each photo.

    Args:
      images: aligned photos.
      faces: what was found in the photos before they were aligned.
      crops: how the aligned photos were cut out.
      names: of the photos, as the input names them, with `#face k`.
    """
    ...

  def settings(self) -> Mapping[str, Any]:
    """What decides the geometry, as plain values."""
    ...


def require_head(vertices: np.ndarray, template: Template) -> np.ndarray:
  """Vertices as float32, if they can be a head in head space.

  Raises:
    ValueError: another number of vertices, values that are not finite, a head that is
      centimetres away from where heads are, or one of another size.
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
  if np.abs(vertices).max() > FARTHEST or span.min() < 0.5 or span.max() > 2:
    raise ValueError(
      "vertices must be a head in head space (decimetres, +y up, +z towards the "
      f"camera, origin in its middle); got bounds {np.round(vertices.min(0), 2)} to "
      f"{np.round(vertices.max(0), 2)}, the mean head has "
      f"{np.round(template.vertices.min(0), 2)} to "
      f"{np.round(template.vertices.max(0), 2)}"
    )
  return vertices
