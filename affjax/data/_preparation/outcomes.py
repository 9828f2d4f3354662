"""The outcome of a unit of photos, and the part file that keeps it."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence

_MAGIC = b"affjax part 1\n"


@dataclasses.dataclass(frozen=True)
class Kept:
  """A record that is kept.

  Attributes:
    source: name of the photo and `#face k`.
    photo: name of the photo.
    split: name of the split.
    quality: quality in [0, 1].
    error: landmark error, % of the interocular distance; -1 if unknown.
    digest: digest of the photo's pixels.
    content: the record as `_record.encode` returns it.
  """

  source: str
  photo: str
  split: str
  quality: float
  error: float
  digest: str
  content: bytes


@dataclasses.dataclass(frozen=True)
class Skipped:
  """A photo or face that gave no record.

  Attributes:
    source: name of the photo, and `#face k` if it is a face of it.
    kind: the reason in a few words, the same for all of a kind.
    reason: the reason in full.
  """

  source: str
  kind: str
  reason: str


@dataclasses.dataclass(frozen=True)
class UnitOutcome:
  """The outcome of a unit of photos.

  Attributes:
    photos: number of photos in the unit.
    kept: records.
    skipped: photos and faces that gave no record.
  """

  photos: int
  kept: Sequence[Kept]
  skipped: Sequence[Skipped]


def pack(outcome: UnitOutcome) -> bytes:
  """Returns the content of a part file; it ends in a digest of all that precedes it."""
  about = {
    "photos": outcome.photos,
    "kept": [_without_content(k) for k in outcome.kept],
    "sizes": [len(k.content) for k in outcome.kept],
    "skipped": [dataclasses.asdict(s) for s in outcome.skipped],
  }
  header = json.dumps(about).encode()
  body = _MAGIC + len(header).to_bytes(8, "little") + header
  body += b"".join(k.content for k in outcome.kept)
  return body + hashlib.sha256(body).digest()


def unpack(data: bytes) -> UnitOutcome:
  """Returns the outcome that a part file holds; the inverse of `pack`.

  Raises:
    ValueError: The bytes are cut short, changed or no part file.
  """
  body, digest = data[:-32], data[-32:]
  if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
    raise ValueError("part file is damaged")
  start = len(_MAGIC) + 8
  end = start + int.from_bytes(body[len(_MAGIC) : start], "little")
  about = json.loads(body[start:end])
  kept = []
  for fields, size in zip(about["kept"], about["sizes"], strict=True):
    kept.append(Kept(**fields, content=body[end : end + size]))
    end += size
  return UnitOutcome(about["photos"], kept, [Skipped(**s) for s in about["skipped"]])


def without_repeats(outcome: UnitOutcome, seen: dict[str, str]) -> UnitOutcome:
  """Returns an outcome without photos that came before under another name.

  Args:
    outcome: Outcome of a unit.
    seen: Name under which each photo came first, by digest; updated.
  """
  kept, repeats = [], {}
  for record in outcome.kept:
    first = seen.setdefault(record.digest, record.photo)
    if first == record.photo:
      kept.append(record)
    else:
      reason = f"the same pixels as {first!r}"
      repeats[record.photo] = Skipped(record.photo, "repeated photo", reason)
  skipped = [*outcome.skipped, *repeats.values()]
  return UnitOutcome(outcome.photos, kept, skipped)


@dataclasses.dataclass
class Tally:
  """Counts over units, for the progress bar."""

  photos: int = 0
  kept: int = 0
  skipped: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )

  def add(self, outcome: UnitOutcome) -> None:
    """Adds the counts of a unit."""
    self.photos += outcome.photos
    self.kept += len(outcome.kept)
    self.skipped.update(s.kind for s in outcome.skipped)

  def merge(self, other: "Tally") -> None:
    """Adds the counts of another tally."""
    self.photos += other.photos
    self.kept += other.kept
    self.skipped.update(other.skipped)


def _without_content(kept: Kept) -> dict[str, str | float]:
  fields = dataclasses.asdict(kept)
  del fields["content"]
  return fields
