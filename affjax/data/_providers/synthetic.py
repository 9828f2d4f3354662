"""The exact geometry of synthetic photos."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affjax.data._providers.interface import Geometry, Refusal
from affjax.data._record_source import Record
from affjax.data._synthetic.source import SyntheticFaces
from affjax.faces import Crop, Face
from affjax.heads import open_head

# Number of records that are kept: those of a unit of photos.
_RECENT = 32


class RecentRecords:
  """Synthetic faces that keep recent records, so that each is painted only once.

  A preparation reads a photo first and asks for its geometry later.

  Args:
    source: Source of the records.
  """

  def __init__(self, source: SyntheticFaces):
    self.model, self.settings = source.model, source.settings
    self._record = functools.lru_cache(maxsize=_RECENT)(source.__getitem__)

  def __getitem__(self, index: int) -> Record:
    return dict(self._record(index))


@functools.lru_cache(maxsize=4)
def painted_faces(template: str, size: int, seed: int) -> RecentRecords:
  """Returns the photos of `synthetic:COUNT`; one object for input and provider.

  Args:
    template: Head, as `open_head` takes it.
    size: Width and height of photos and maps, px.
    seed: Seed of the photos.
  """
  faces = SyntheticFaces(open_head(template), 1 << 40, size, seed=seed)
  return RecentRecords(faces)


class SyntheticProvider:
  """A provider of the geometry that synthetic photos were painted from.

  Args:
    source: Photos; their names are their indices in it.
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
    """Returns shape, pose, mask and diffuse map of each photo."""
    return [self._exact(int(name.partition("#")[0])) for name in names]

  def settings(self) -> Mapping[str, Any]:
    """Returns what determines the geometry."""
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
