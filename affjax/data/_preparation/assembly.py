"""From part files to the finished data set."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from affjax.data import _record, _shards
from affjax.data._preparation import outcomes, report, workspace
from affjax.data._preparation.outcomes import Kept, Skipped
from affjax.data._preparation.splits import NAMES
from affjax.data._preparation.workspace import Workspace
from affjax.data._shards import About
from affjax.types import Camera, Template

SUMMARY, PAGE = "summary.json", "worst.html"
# A shard is cut where it has grown to this many bytes.
SHARD_BYTES = 256 << 20
# Worst samples that the page shows.
WORST = 48


# A record without its content: unit, size, source, photo, split, quality, error.
Line = dict[str, Any]
Writer = Callable[
  [Workspace, Sequence[Line], pathlib.Path, About], dict[str, list[int]]
]


class AssemblyError(ValueError):
  """The data set cannot be put together; the message is one line for the user."""


def assemble(
  work: Workspace,
  units: int,
  destination: pathlib.Path,
  *,
  about: About,
  plan: dict[str, Any],
  extra: Sequence[Skipped],
  template: Template,
  camera: Camera,
  write: Writer,
) -> dict[str, Any]:
  """Writes shards, summary and page, then moves them to their place, whole.

  The same parts give the same files.

  Args:
    work: holds a part file for every unit.
    units: how many there are.
    destination: `<root>/<name>/<version>`; replaced at the end if it exists.
    about: what all records share.
    plan: what decided the records, for the summary.
    extra: what was skipped before there were units.
    template: of the geometry, for the page.
    camera: of the photos, for the page.
    write: writes the shards and what makes them a data set, see `write_shards`.

  Returns:
    The summary, as `summary.json` holds it.

  Raises:
    AssemblyError: nothing was kept, or the disk is full.
    WorkspaceError: a part is missing or damaged.
  """
  building = work.path / destination.parent.name / destination.name
  for left in (building, work.path / "replaced"):
    shutil.rmtree(left, ignore_errors=True)
  building.mkdir(parents=True)
  lines, summary = _survey(work, units, extra)
  summary = {"plan": plan, **summary}
  if not lines:
    raise AssemblyError(f"no photo gave a record: {told(summary)}")
  _require_room(building, sum(line["size"] for line in lines))
  try:
    summary["shards"] = write(work, lines, building, about)
    _write_page(work, lines, building, template, camera, summary)
    text = json.dumps(summary, indent=1, ensure_ascii=True)
    workspace.write_whole(building / SUMMARY, text.encode())
  except (OSError, RuntimeError, ValueError) as error:
    shutil.rmtree(building, ignore_errors=True)
    raise AssemblyError(
      f"cannot write the data set: {' '.join(str(error).split())}; all photos are "
      "done, run the command again when that is mended"
    ) from error
  workspace.sync_folder(building)
  if destination.exists():
    os.rename(destination, work.path / "replaced")
  os.rename(building, destination)
  workspace.sync_folder(destination.parent)
  return summary


def told(summary: Mapping[str, Any]) -> str:
  """What was skipped and why, in one line."""
  kinds = (f"{count} {kind}" for kind, count in summary["skipped"].items())
  return ", ".join(kinds) or "nothing was skipped"


def finished(destination: pathlib.Path) -> dict[str, Any] | None:
  """The summary of a finished data set; None if there is none."""
  try:
    return json.loads((destination / SUMMARY).read_bytes())
  except (OSError, ValueError):
    return None


def _survey(
  work: Workspace, units: int, extra: Sequence[Skipped]
) -> tuple[list[Line], dict[str, Any]]:
  """Every record that is kept, in order, and the counts."""
  seen: dict[str, str] = {}
  lines, skipped, photos = [], list(extra), 0
  for unit in range(units):
    outcome = outcomes.without_repeats(work.load(unit), seen)
    photos += outcome.photos
    skipped += outcome.skipped
    lines += [_line(unit, kept) for kept in outcome.kept]
  kinds = collections.Counter(s.kind for s in skipped)
  quality = sorted(line["quality"] for line in lines)
  errors = sorted(line["error"] for line in lines if line["error"] >= 0)
  return lines, {
    "photos": photos + len(extra),
    "kept": len(lines),
    "photos_kept": len({line["photo"] for line in lines}),
    "splits": dict(collections.Counter(line["split"] for line in lines)),
    "skipped": dict(kinds.most_common()),
    "median_quality": _median(quality),
    "median_error": _median(errors),
    "skipped_names": [dataclasses.asdict(s) for s in skipped],
  }


def _line(unit: int, kept: Kept) -> Line:
  fields = {
    name: getattr(kept, name)
    for name in ("source", "photo", "split", "quality", "error")
  }
  return {"unit": unit, "size": len(kept.content), **fields}


def _median(values: Sequence[float]) -> float | None:
  return values[len(values) // 2] if values else None


def _require_room(place: pathlib.Path, needed: int) -> None:
  free = shutil.disk_usage(place).free
  if free < needed * 1.02 + (1 << 20):
    raise AssemblyError(
      f"no room for the data set in {str(place.parents[2])!r}: needs {needed} bytes, "
      f"{free} are free; all photos are done, run the command again when there is room"
    )


def write_shards(
  work: Workspace,
  lines: Sequence[Line],
  building: pathlib.Path,
  about: About,
  *,
  shard_bytes: int = SHARD_BYTES,
) -> dict[str, list[int]]:
  """Writes each split's shards one after the other, then `dataset_info.json`.

  Args:
    work: has all units done.
    lines: the records that are wanted, in order.
    building: `<folder>/<name>/<version>`, empty.
    about: what the records share.
    shard_bytes: size at which a shard is full.

  Returns:
    For each split the numbers of records of its shards.
  """
  counts, name = {}, building.parent.name
  for split in NAMES:
    cuts = _cut([line for line in lines if line["split"] == split], shard_bytes)
    if not cuts:
      continue
    for index, cut in enumerate(cuts):
      path = building / _shards.shard_name(name, split, index, len(cuts))
      _shards.write_shard(path, _contents(work, cut))
    counts[split] = [len(cut) for cut in cuts]
  _shards.write_info(building, counts, about)
  return counts


def _cut(lines: list[Line], most: int) -> list[list[Line]]:
  """Lines in shards; a shard ends where it has `most` bytes."""
  cuts, size = [], most
  for line in lines:
    if size >= most:
      cuts.append([])
      size = 0
    cuts[-1].append(line)
    size += line["size"]
  return cuts


def _contents(work: Workspace, lines: Sequence[Line]) -> Iterator[bytes]:
  """The records behind lines; each part file is read once."""
  unit, known = -1, {}
  for line in lines:
    if line["unit"] != unit:
      unit = line["unit"]
      known = {kept.source: kept.content for kept in work.load(unit).kept}
    yield known[line["source"]]


def _write_page(
  work: Workspace,
  lines: Sequence[Line],
  building: pathlib.Path,
  template: Template,
  camera: Camera,
  summary: dict[str, Any],
) -> None:
  """The page of the samples of lowest quality."""
  worst = sorted(lines, key=lambda line: line["quality"])[:WORST]
  shown = [
    report.Sample(
      line["source"],
      line["quality"],
      line["error"],
      _record.decode(next(_contents(work, [line]))),
    )
    for line in worst
  ]
  text = report.page(shown, template, camera, title=told(summary), counts=summary)
  workspace.write_whole(building / PAGE, text.encode("utf-8", "replace"))
