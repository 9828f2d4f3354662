"""The splits train, validation and test, assigned by the names of photos alone."""

import hashlib
import re
from collections.abc import Sequence

NAMES = ("train", "validation", "test")


class Splits:
  """A rule that assigns photos to splits by a hash of their names.

  A photo and all its faces stay in their split when other photos come or go.

  Args:
    shares: Shares of train, validation and test, which sum to 1.
    person: Regular expression; the part of a name that it finds (its first group if it
      has one) is hashed in place of the name, so that photos of one person stay
      together. Names that do not match are hashed whole.

  Raises:
    ValueError: The shares do not sum to 1, or `person` is no regular expression.
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
    self.shares = tuple(shares)

  @classmethod
  def parse(cls, text: str, person: str = "") -> "Splits":
    """Returns the rule for shares that are separated by commas, as "0.8,0.1,0.1"."""
    try:
      shares = [float(share) for share in text.split(",")]
    except ValueError:
      raise ValueError(
        f"--splits must be three numbers separated by commas, got {text!r}"
      ) from None
    return cls(shares, person)

  def of(self, name: str) -> str:
    """Returns the split of the photo with a name."""
    match = self._person.search(name) if self._person else None
    if match:
      name = match[1] if match.re.groups and match[1] is not None else match[0]
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    place, limit = int.from_bytes(digest[:8], "little") / 2**64, 0.0
    for split, share in zip(NAMES, self.shares, strict=True):
      limit += share
      if place < limit:
        return split
    return NAMES[max(k for k, share in enumerate(self.shares) if share)]
