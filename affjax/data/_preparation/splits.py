"""Which photos train and which are held out: decided by their names alone."""

import hashlib
import re
from collections.abc import Sequence

NAMES = ("train", "validation", "test")


class Splits:
  """Sorts photos into splits by a hash of their name.

  A photo stays where it is whatever else comes or goes, and all its faces with it.

  Args:
    shares: of train, validation and test; they sum to 1.
    person: a regular expression; what it finds in a name (its first group if it has
      one) is hashed in place of the name, so that photos of a person stay together.
      Names that it does not match are hashed whole.

  Raises:
    ValueError: shares that are none, or no regular expression.
  """

  def __init__(self, shares: Sequence[float], person: str = ""):
    if len(shares) != len(NAMES) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
      raise ValueError(
        f"shares must be {len(NAMES)} numbers >= 0 that sum to 1, got {list(shares)}"
      )
    try:
      self._person = re.compile(person) if person else None
    except re.error as error:
      raise ValueError(f"person must be a regular expression: {error}") from None
    self._shares = tuple(shares)

  def of(self, name: str) -> str:
    """The split of a photo."""
    match = self._person.search(name) if self._person else None
    if match:
      name = match[1] if match.re.groups and match[1] is not None else match[0]
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place, limit = int.from_bytes(digest[:8], "little") / 2**64, 0.0
    for split, share in zip(NAMES, self._shares, strict=True):
      limit += share
      if place < limit:
        return split
    return NAMES[max(k for k, share in enumerate(self._shares) if share)]
