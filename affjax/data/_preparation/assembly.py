"""Assembles the finished data set from part files."""

import collections
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from affjax.data import _record, _shards
from affjax.data._preparation import outcomes, report
from affjax.data._preparation.outcomes import Kept, Skipped
from affjax.data._preparation.splits import NAMES
from affjax.data._preparation.workspace import Workspace
from affjax.data._shards import DatasetFacts
from affjax.files import replace_folder, sync_folder, write_file
from affjax.types import Camera, Template

SUMMARY, PAGE = "summary.json", "worst.html"
# A shard ends where it has grown to this many bytes.
SHARD_BYTES = 256 << 20
# Number of samples on the page.
WORST = 48


@dataclasses.dataclass(frozen=True)
class IndexLine:
  """A record without its content.

  Attributes:
    unit: number of the unit that holds it.
    size: size of the content, bytes.
    source: name of the photo and `#face k`.
    photo: name of the photo.
    split: name of the split.
    quality: quality in [0, 1].
    error: landmark error, % of the interocular distance; -1 if unknown.
  """

  unit: int
  size: int
  source: str
  photo: str
  split: str
  quality: float
  error: float


# Writes the shards of a data set, and returns their lengths for each split.
ShardWriter = Callable[
  [Workspace, Sequence[IndexLine], pathlib.Path, DatasetFacts], dict[str, list[int]]
]


class AssemblyError(ValueError):
  """The data set cannot be assembled; the message is one line for the user."""


def assemble(
  work: Workspace,
  units: int,
  destination: pathlib.Path,
  *,
  facts: DatasetFacts,
  plan: dict[str, Any],
  extra: Sequence[Skipped],
  template: Template,
  camera: Camera,
  write: ShardWriter,
) -> dict[str, Any]:
  """Writes shards, summary and page, then renames their folder into place.

  The same part files give the same data set.

  Args:
    work: Workspace with a part file for every unit.
    units: Number of units.
    destination: `<root>/<name>/<version>`; replaced at the end if it exists.
    facts: Properties that all records share.
    plan: Options and versions that determined the records, for the summary.
    extra: Members that were skipped before there were units.
    template: Template of the geometry, for the page.
    camera: Camera of the photos, for the page.
    write: Function that writes shards and data set files, such as `write_shards`.

  Returns:
    The content of `summary.json`.

  Raises:
    AssemblyError: No record was kept, or the disk is full.
    WorkspaceError: A part file is missing or damaged.
  """
  building = work.path / destination.parent.name / destination.name
  shutil.rmtree(building, ignore_errors=True)
  building.mkdir(parents=True)
  lines, summary = _survey(work, units, extra)
  summary = {"plan": plan, **summary}
  if not lines:
    raise AssemblyError(f"no photo gave a record: {skipped_line(summary)}")
  _require_room(building, sum(line.size for line in lines))
  try:
    summary["shards"] = write(work, lines, building, facts)
    _write_page(work, lines, building, template, camera, summary)
    text = json.dumps(summary, indent=1, ensure_ascii=True)
    write_file(building / SUMMARY, text, durable=True)
  except (OSError, RuntimeError, ValueError) as error:
    shutil.rmtree(building, ignore_errors=True)
    raise AssemblyError(
      f"cannot write the data set: {' '.join(str(error).split())}; all photos are "
      "done: run the command again when that is fixed"
    ) from error
  sync_folder(building)
  replace_folder(building, destination)
  sync_folder(destination.parent)
  return summary


def skipped_line(summary: Mapping[str, Any]) -> str:
  """Returns the number of skipped photos of each kind, in one line."""
  kinds = (f"{count} {kind}" for kind, count in summary["skipped"].items())
  return ", ".join(kinds) or "nothing was skipped"


def finished(destination: pathlib.Path) -> dict[str, Any] | None:
  """Returns the summary of a finished data set, or None if there is none."""
  try:
    return json.loads((destination / SUMMARY).read_bytes())
  except (OSError, ValueError):
    return None


def _survey(
  work: Workspace, units: int, extra: Sequence[Skipped]
) -> tuple[list[IndexLine], dict[str, Any]]:
  """Returns every record that is kept, in order, and the counts."""
  seen: dict[str, str] = {}
  lines, skipped, photos = [], list(extra), 0
  for unit in range(units):
    outcome = outcomes.without_repeats(work.load(unit), seen)
    photos += outcome.photos
    skipped += outcome.skipped
    lines += [_line(unit, kept) for kept in outcome.kept]
  kinds = collections.Counter(s.kind for s in skipped)
  quality = sorted(line.quality for line in lines)
  errors = sorted(line.error for line in lines if line.error >= 0)
  return lines, {
    "photos": photos + len(extra),
    "kept": len(lines),
    "photos_kept": len({line.photo for line in lines}),
    "splits": dict(collections.Counter(line.split for line in lines)),
    "skipped": dict(kinds.most_common()),
    "median_quality": _median(quality),
    "median_error": _median(errors),
    "skipped_names": [dataclasses.asdict(s) for s in skipped],
  }


def _line(unit: int, kept: Kept) -> IndexLine:
  return IndexLine(
    unit=unit,
    size=len(kept.content),
    source=kept.source,
    photo=kept.photo,
    split=kept.split,
    quality=kept.quality,
    error=kept.error,
  )


def _median(values: Sequence[float]) -> float | None:
  return values[len(values) // 2] if values else None


def _require_room(place: pathlib.Path, needed: int) -> None:
  free = shutil.disk_usage(place).free
  if free < needed * 1.02 + (1 << 20):
    raise AssemblyError(
      f"no room for the data set in {str(place.parents[2])!r}: needs {needed} bytes, "
      f"{free} are free; all photos are done: run the command again when there is room"
    )


def write_shards(
  work: Workspace,
  lines: Sequence[IndexLine],
  building: pathlib.Path,
  facts: DatasetFacts,
  *,
  shard_bytes: int = SHARD_BYTES,
) -> dict[str, list[int]]:
  """Writes each split's shards one after the other, then `dataset_info.json`.

  Args:
    work: Workspace in which all units are done.
    lines: Records to write, in order.
    building: Empty folder `<folder>/<name>/<version>`.
    facts: Properties that all records share.
    shard_bytes: Size at which a shard is full.

  Returns:
    The number of records in each shard of each split.
  """
  counts, name = {}, building.parent.name
  for split in NAMES:
    cuts = _cut([line for line in lines if line.split == split], shard_bytes)
    if not cuts:
      continue
    for index, cut in enumerate(cuts):
      path = building / _shards.shard_name(name, split, index, len(cuts))
      _shards.write_shard(path, _contents(work, cut))
    counts[split] = [len(cut) for cut in cuts]
  _shards.write_info(building, counts, facts)
  return counts


def _cut(lines: list[IndexLine], most: int) -> list[list[IndexLine]]:
  """Divides lines into shards; a shard ends where it has `most` bytes."""
  cuts, size = [], most
  for line in lines:
    if size >= most:
      cuts.append([])
      size = 0
    cuts[-1].append(line)
    size += line.size
  return cuts


def _contents(work: Workspace, lines: Sequence[IndexLine]) -> Iterator[bytes]:
  """Yields the content of records; each part file is read once."""
  unit, known = -1, {}
  for line in lines:
    if line.unit != unit:
      unit = line.unit
      known = {kept.source: kept.content for kept in work.load(unit).kept}
    yield known[line.source]


def _write_page(
  work: Workspace,
  lines: Sequence[IndexLine],
  building: pathlib.Path,
  template: Template,
  camera: Camera,
  summary: dict[str, Any],
) -> None:
  """Writes the page of the samples of lowest quality."""
  worst = sorted(lines, key=lambda line: line.quality)[:WORST]
  shown = [
    report.ShownRecord(
      line.source,
      line.quality,
      line.error,
      _record.decode(next(_contents(work, [line]))),
    )
    for line in worst
  ]
  text = report.page(shown, template, camera, counts=summary)
  write_file(building / PAGE, text.encode("utf-8", "replace"), durable=True)
