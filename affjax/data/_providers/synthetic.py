"""Geometry of synthetic photos: exact, because they were painted from it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affjax.data._providers.interface import Geometry, Refusal
from affjax.data._synthetic.source import SyntheticFaces
from affjax.faces import Crop, Face

# Records kept: those of a unit of photos.
_RECENT = 32


class RecentRecords:
  """`SyntheticFaces` that remember: who asked for a photo asks for its geometry next.

  Args:
    source: what is remembered.
  """

  def __init__(self, source: SyntheticFaces):
    self.model, self.settings = source.model, source.settings
    self._record = functools.lru_cache(maxsize=_RECENT)(source.__getitem__)

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return dict(self._record(index))


class SyntheticProvider:
  """What `SyntheticFaces` painted its photos from.

  Args:
    source: the photos; their names are their numbers in it.
  """

  aligned = True

  def __init__(self, source: SyntheticFaces | RecentRecords):
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
