"""Geometry of synthetic photos: exact, because they were painted from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affjax.data.providers.interface import Geometry, Refusal
from affjax.data.synthetic.source import SyntheticFaces
from affjax.faces.crop import Crop
from affjax.faces.find import Face


class SyntheticProvider:
  """What `SyntheticFaces` painted its photos from.

  Args:
    source: the photos; their names are their numbers in it.
  """

  aligned = True

  def __init__(self, source: SyntheticFaces):
    self.source, self.template = source, source.model.template

  def __call__(
    self,
    images: np.ndarray,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    names: Sequence[str],
  ) -> list[Geometry | Refusal]:
    """Shape, pose, mask and diffuse map of each photo."""
    return [self._exact(int(name.partition("#")[0])) for name in names]

  def settings(self) -> Mapping[str, Any]:
    """What decides the geometry."""
    return {"provider": "synthetic", **self.source.settings()}

  def _exact(self, index: int) -> Geometry:
    record = self.source[index]
    return Geometry(
      vertices=record["vertices"],
      pose=record["pose"],
      quality=1.0,
      error=0.0,
      visible=record["visible"],
      diffuse=record["diffuse"],
    )
