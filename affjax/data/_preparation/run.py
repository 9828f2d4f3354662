"""Preparation from photos to a data set: list, divide into units, prepare, assemble."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import affjax
from affjax import pool
from affjax.data import _shards
from affjax.data._preparation import assembly, inputs, opening, workspace
from affjax.data._preparation.assembly import ShardWriter
from affjax.data._preparation.inputs import Entry, InputError, Listing
from affjax.data._preparation.options import PrepareOptions, PrepareRun
from affjax.data._preparation.outcomes import Skipped, Tally
from affjax.data._preparation.splits import NAMES, Splits
from affjax.data._preparation.unit import Preparer, Rules, Unit
from affjax.data._preparation.workspace import Workspace
from affjax.data._providers.interface import Provider
from affjax.data._providers.opening import open_provider
from affjax.types import Camera, Template

# Prepares units and yields the counts of each when it is done.
UnitRunner = Callable[["UnitWorker", Sequence[Unit]], Iterable[Tally]]
# Raise it when the same photo gives another record.
_VERSION = 1
# Number of photos in a unit: the most work that a killed process loses.
UNIT = 32


@dataclasses.dataclass(frozen=True)
class PrepareReport:
  """The result of a preparation.

  Attributes:
    folder: folder of the data set.
    summary: content of its `summary.json`.
    photos: number of photos that this run prepared; earlier runs did the others.
    seconds: time that those took.
  """

  folder: pathlib.Path
  summary: Mapping[str, Any]
  photos: int
  seconds: float

  def lines(self) -> list[str]:
    """Returns what a user wants to read at the end, line by line."""
    counts = self.summary["splits"]
    splits = ", ".join(f"{count} {name}" for name, count in counts.items())
    lines = [
      f"{self.summary['kept']} samples ({splits}) from {self.summary['photos']} "
      f"photos: {self.folder}",
      f"skipped: {assembly.skipped_line(self.summary)}",
    ]
    if self.photos:
      rate = self.photos / max(self.seconds, 1e-9)
      lines.append(f"{self.photos} photos in {self.seconds:.0f} s, {rate:.1f}/s")
    return [*lines, f"worst samples to look at: {self.folder / assembly.PAGE}"]


@dataclasses.dataclass(frozen=True)
class UnitWorker:
  """A picklable worker that prepares units and opens what it needs where it runs.

  Attributes:
    source: the input, as `open_input` takes it.
    options: options that determine the records.
    work: folder of the workspace that the results go to.
  """

  source: str
  options: PrepareOptions
  work: pathlib.Path

  def __call__(self) -> Callable[[Unit], Tally]:
    """Returns the function that prepares a unit; called once in each process."""
    preparer = open_preparer(self.source, self.options)
    work = Workspace(self.work)

    def do(unit: Unit) -> Tally:
      outcome = preparer(unit[1])
      work.store(unit[0], outcome)
      tally = Tally()
      tally.add(outcome)
      return tally

    return do


def prepare(
  source: str,
  out: pathlib.Path,
  options: PrepareOptions,
  run: PrepareRun | None = None,
  *,
  progress: Callable[[Tally, int], None] = lambda tally, total: None,
) -> PrepareReport:
  """Makes a TFDS data set of photos in `OUT/NAME/1.0.0/`.

  A call after a killed one continues where that one stopped. The files are the same to
  the byte, whatever the number of workers, and appear all at once.

  Args:
    source: Folder of photos, zip or tar archive, folder of an installed TFDS data set,
      `tfds:NAME` for one where TFDS keeps them, or `synthetic:COUNT`.
    out: Folder for data sets. With a Beam runner, all machines must see it and the
      input under the same names.
    options: Options that determine the records.
    run: Way in which the work is done; the defaults of `PrepareRun` if not given.
    progress: Function called with the counts so far and the number of all photos.

  Raises:
    ValueError: The input cannot be used, or none of its photos gave a record.
    OSError: The output cannot be written.
  """
  run = run or PrepareRun()
  destination = _shards.data_folder(out, options.name)
  run_units, write = _means(run)
  listing = _listing(source, options)
  provider = open_provider(options)
  plan = _plan(listing, provider, options)
  place = destination.parent / ".preparing"
  if report := _made_before(destination, plan, run.overwrite):
    Workspace(place).remove()
    return report
  with workspace.opened(place, plan, restart=run.restart) as work:
    started = time.monotonic()
    units = _units(listing.entries, options.splitter())
    worker = UnitWorker(source, options, work.path)
    done = _run_units(work, units, run_units, worker, progress)
    seconds = time.monotonic() - started
    summary = assembly.assemble(
      work,
      len(units),
      destination,
      facts=_facts(provider, options),
      plan=plan,
      extra=_refused(listing),
      template=provider.template,
      camera=Camera(),
      write=write,
    )
    work.remove()
  return PrepareReport(destination, summary, done, seconds)


def _refused(listing: Listing) -> list[Skipped]:
  return [Skipped(n, "refused member", r) for n, r in listing.refused.items()]


def _listing(source: str, options: PrepareOptions) -> Listing:
  """Returns the photos of an input, at most `limit` of them."""
  listing = opening.open_input(source, options).listing()
  if not listing.entries:
    raise InputError(
      f"input {source!r} holds no photos ({len(listing.refused)} refused, "
      f"{listing.ignored} files without a photo's suffix)"
    )
  wanted = inputs.with_maps(listing.entries)[: options.limit or None]
  return dataclasses.replace(listing, entries=wanted)


def open_preparer(source: str, options: PrepareOptions) -> Preparer:
  """Returns the function that turns units of an input into records."""
  rules = Rules(
    size=options.size,
    licence=options.licence,
    smallest=options.smallest_face,
    least_quality=options.least_quality,
    largest_only=options.largest_only,
    splits=options.splitter(),
  )
  photos, provider = opening.open_input(source, options), open_provider(options)
  return Preparer(photos, provider, rules, Camera())


def _means(run: PrepareRun) -> tuple[UnitRunner, ShardWriter]:
  """Returns what prepares units and what writes shards: our processes, or Beam."""
  if not run.runner:
    count = run.workers or os.cpu_count() or 1
    return functools.partial(pool.run, workers=count), assembly.write_shards
  from affjax.data import _builder

  _builder.require(run.runner)
  return (
    functools.partial(_builder.run_units, runner=run.runner, options=run.beam),
    functools.partial(_builder.write, runner=run.runner, options=run.beam),
  )


def _run_units(
  work: Workspace,
  units: Sequence[Unit],
  run_units: UnitRunner,
  worker: UnitWorker,
  progress: Callable[[Tally, int], None],
) -> int:
  """Prepares the units that are missing; returns the number of photos in them."""
  tally, missing = Tally(), []
  total = sum(len(entries) for _, entries in units)
  for unit in units:
    outcome = work.found(unit[0])
    if outcome is None:
      missing.append(unit)
    else:
      tally.add(outcome)
  before = tally.photos
  progress(tally, total)
  for part in run_units(worker, missing) if missing else ():
    tally.merge(part)
    progress(tally, total)
  return total - before


def _plan(
  listing: Listing, provider: Provider, options: PrepareOptions
) -> dict[str, Any]:
  """Returns what determines the records, as JSON values."""
  plan: dict[str, Any] = dataclasses.asdict(options)
  for name in ("geometry", "model", "weights"):
    del plan[name]  # where files lie decides nothing; the provider's settings do
  return {
    **plan,
    "template": provider.template.name,
    "template_sha256": _template_digest(provider.template),
    "splits": list(options.splitter().shares),
    "version": _VERSION,
    "affjax": affjax.__version__,
    "photos": len(listing.entries),
    "input": listing.digest(),
    "ignored": listing.ignored,
    "unit": UNIT,
    "geometry": dict(provider.settings()),
  }


def _template_digest(template: Template) -> str:
  """Returns a digest that tells templates of one name apart."""
  digest = hashlib.sha256()
  for array in (template.vertices, template.faces, template.uvs, template.faces_uv):
    digest.update(str(array.shape).encode())
    digest.update(array.tobytes())
  return digest.hexdigest()


def _units(entries: Sequence[Entry], splits: Splits) -> list[Unit]:
  """Divides photos into units; all photos of a unit are in one split."""
  of_split: dict[str, list[Entry]] = {name: [] for name in NAMES}
  for entry in entries:
    of_split[splits.of(entry.name)].append(entry)
  parts = [
    some[k : k + UNIT] for some in of_split.values() for k in range(0, len(some), UNIT)
  ]
  return list(enumerate(parts))


def _facts(provider: Provider, options: PrepareOptions) -> _shards.DatasetFacts:
  return _shards.DatasetFacts(
    template=provider.template.name,
    vertices=len(provider.template.vertices),
    size=options.size,
    map_size=options.size,
    provider=options.provider,
    affjax=affjax.__version__,
  )


def _made_before(
  destination: pathlib.Path, plan: Mapping[str, Any], overwrite: bool
) -> PrepareReport | None:
  """Returns the report of a data set that was finished by the same plan, if any.

  Raises:
    ValueError: Something else is at `destination` and may not be replaced.
  """
  if not destination.exists():
    return None
  known = assembly.finished(destination)
  if known is not None and known.get("plan") == plan:
    return PrepareReport(destination, known, 0, 0.0)
  if not overwrite:
    raise ValueError(
      f"{str(destination)!r} exists and was made with other photos or options; choose "
      "another --name or folder, or add --overwrite"
    )
  if known is None:
    raise ValueError(
      f"{str(destination)!r} is no data set of affjax and is not replaced"
    )
  return None
