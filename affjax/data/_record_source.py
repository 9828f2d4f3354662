"""The interface that every source of training records implements."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np

# A training record: named arrays, as `affjax.data.to_batch` reads them.
Record = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class RecordFacts:
  """The properties that all records of a source share.

  Attributes:
    template: name of the template whose vertices the records hold.
    vertices: number of those vertices.
    size: width and height of the photos, pixels.
    map_size: width and height of the diffuse maps, texels.
  """

  template: str
  vertices: int
  size: int
  map_size: int


@runtime_checkable
class RecordSource(Protocol):
  """Random access to training records; several threads may read at once."""

  @property
  def facts(self) -> RecordFacts:
    """Properties that all records share."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Record:
    """Returns a record, the same arrays for the same index.

    A record holds at least `image` uint8 `[H, W, 3]`, `visible` uint8 `[H, W, 1]`,
    `vertices` float32 `[V, 3]` (head space, dm), `pose` float32 `[6]`, `diffuse` uint8
    `[S, S, 3]`, and the float32 scalars `has_pose` and `has_diffuse`.

    Raises:
      IndexError: The index is out of range.
    """
    ...

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records, as JSON values: a cache's fingerprint."""
    ...


def require_template(facts: RecordFacts, name: str, vertices: int) -> None:
  """Raises a `ValueError` unless the records hold vertices of the named template."""
  if (facts.template, facts.vertices) != (name, vertices):
    raise ValueError(
      f"the records hold template {facts.template!r} of {facts.vertices} vertices, but "
      f"{name!r} of {vertices} vertices is asked for"
    )
