"""Several photos of one person as one record."""

import operator
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from affjax.data._record_source import Record, RecordFacts, RecordSource

# The number at the end of "anna_03" or "anna (3)", and what stands before it.
_NUMBER = re.compile(r"[\s_.(-]*\d+\)?$")


class Collections:
  """The records of a source in groups; each array gets a leading axis over the group.

  Args:
    source: Source of single photos.
    groups: Indices of the photos of each group; all groups are equally large.
  """

  def __init__(self, source: RecordSource, groups: Sequence[Sequence[int]]):
    self._source, self._groups = source, [tuple(group) for group in groups]

  @property
  def facts(self) -> RecordFacts:
    """Properties that all photos share."""
    return self._source.facts

  def __len__(self) -> int:
    return len(self._groups)

  def __getitem__(self, index: int) -> Record:
    if not 0 <= operator.index(index) < len(self):
      raise IndexError(f"index {index} is out of range for {len(self)} collections")
    records = [self._source[k] for k in self._groups[index]]
    return {name: np.stack([r[name] for r in records]) for name in records[0]}

  def settings(self) -> dict[str, Any]:
    """Returns what determines the records."""
    return {**self._source.settings(), "groups": self._groups}


def consecutive(source: RecordSource, photos: int) -> Collections:
  """Returns groups of photos that follow one another; an incomplete one is left out."""
  last = len(source) - len(source) % photos
  groups = np.arange(last).reshape(-1, photos).tolist()
  return Collections(source, groups)


def by_name(source: RecordSource, names: Sequence[str], photos: int) -> Collections:
  """Returns groups of photos of one person, told by what precedes a number in its name.

  The photos of `anna_1`, `anna_2` are of one person, as are those of LFW. A person with
  more photos is in several groups; photos that fill no group are left out.

  Args:
    source: Source of single photos.
    names: Name of each photo without its suffix.
    photos: Number of photos in a group.

  Raises:
    ValueError: A name is only a number, or no person has enough photos.
  """
  people: dict[str, list[int]] = {}
  for index, name in enumerate(names):
    person = _NUMBER.sub("", name)
    if not person:
      raise ValueError(
        f"names of photos must begin with the person's, such as anna_1, got {name!r}"
      )
    people.setdefault(person, []).append(index)
  groups = [
    found[first : first + photos]
    for found in people.values()
    for first in range(0, len(found) - photos + 1, photos)
  ]
  if not groups:
    most = max(map(len, people.values()), default=0)
    raise ValueError(
      f"photos must be at most the {most} of the person with most photos, got {photos}"
    )
  return Collections(source, groups)
