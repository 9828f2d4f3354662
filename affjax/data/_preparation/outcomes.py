"""What came of a unit of photos, and the file that keeps it."""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Sequence

_MAGIC = b"affjax part 1\n"


@dataclasses.dataclass(frozen=True)
class Kept:
  """A record.

  Attributes:
    source: photo's name and `#face k`.
    photo: the photo's name.
    split: of the data set.
    quality: in [0, 1].
    error: landmark error, % of the interocular distance; -1 = not known.
    digest: of the photo's pixels.
    content: the record as `record.encode` gives it.
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
  """What gave no record.

  Attributes:
    source: photo's name, and `#face k` if it is one face of several.
    kind: the reason in few words, the same for all of a kind.
    reason: the reason in full.
  """

  source: str
  kind: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Outcome:
  """All of a unit: how many photos it had, what is kept, what is not."""

  photos: int
  kept: Sequence[Kept]
  skipped: Sequence[Skipped]


def pack(outcome: Outcome) -> bytes:
  """The content of a part file; it ends in a digest of all before it."""
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


def unpack(data: bytes) -> Outcome:
  """The inverse of `pack`.

  Raises:
    ValueError: the bytes are cut short, changed or something else.
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
  return Outcome(about["photos"], kept, [Skipped(**s) for s in about["skipped"]])


def without_repeats(outcome: Outcome, seen: dict[str, str]) -> Outcome:
  """An outcome without the photos that came before under another name.

  Args:
    outcome: of a unit.
    seen: the name under which each photo came first; grows.
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
  return Outcome(outcome.photos, kept, skipped)


@dataclasses.dataclass
class Tally:
  """Counts over units, for a progress bar and the summary."""

  photos: int = 0
  kept: int = 0
  skipped: collections.Counter = dataclasses.field(default_factory=collections.Counter)

  def add(self, outcome: Outcome) -> None:
    """Counts a unit."""
    self.photos += outcome.photos
    self.kept += len(outcome.kept)
    self.skipped.update(s.kind for s in outcome.skipped)

  def merge(self, other: "Tally") -> None:
    """Adds other counts."""
    self.photos += other.photos
    self.kept += other.kept
    self.skipped.update(other.skipped)


def _without_content(kept: Kept) -> dict:
  fields = dataclasses.asdict(kept)
  del fields["content"]
  return fields
