"""From photos to a data set: list, divide into units, prepare each, assemble.

`affjax.cli` is a thin skin over `prepare`; everything here can be called from Python.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import affjax
from affjax.data import _shards
from affjax.data._preparation import assembly, inputs, opening, pool, workspace
from affjax.data._preparation.assembly import Writer
from affjax.data._preparation.inputs import Entry, InputError, Listing
from affjax.data._preparation.options import Options
from affjax.data._preparation.outcomes import Skipped, Tally
from affjax.data._preparation.splits import NAMES as SPLITS
from affjax.data._preparation.splits import Splits
from affjax.data._preparation.unit import Preparer, Rules, Unit
from affjax.data._preparation.workspace import Workspace
from affjax.data._providers.deep3d import Deep3DProvider
from affjax.data._providers.embedded import EmbeddedProvider
from affjax.data._providers.interface import Provider
from affjax.data._providers.precomputed import PrecomputedProvider
from affjax.data._providers.synthetic import SyntheticProvider
from affjax.heads import open_head
from affjax.types import Camera

# Does units, and says what came of them as they are done.
Do = Callable[["UnitWorker", Sequence[Unit]], Iterable[Tally]]
# Raise it when the same photo gives another record.
_VERSION = 1
# Photos of a unit: what a kill loses of each worker's work at most.
UNIT = 32


@dataclasses.dataclass(frozen=True)
class Report:
  """What came of it.

  Attributes:
    folder: the data set.
    summary: as `summary.json` in it holds it.
    photos: how many this run prepared itself; the others were done by earlier ones.
    seconds: that those took.
  """

  folder: pathlib.Path
  summary: Mapping[str, Any]
  photos: int
  seconds: float


@dataclasses.dataclass(frozen=True)
class UnitWorker:
  """Prepares units into a workspace; picklable, opens what it needs where it runs.

  Attributes:
    source: as the user named the input.
    options: what decides the records.
    work: folder of the workspace.
  """

  source: str
  options: Options
  work: pathlib.Path

  def __call__(self) -> Callable[[Unit], Tally]:
    """The function that does a unit: made once in each process."""
    preparer = preparer_of(self.source, self.options)
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
  options: Options,
  *,
  workers: int = 0,
  runner: str = "",
  beam: Sequence[str] | None = None,
  restart: bool = False,
  overwrite: bool = False,
  progress: Callable[[Tally, int], None] = lambda tally, total: None,
) -> Report:
  """Makes a TFDS data set of photos: `OUT/<name>/1.0.0/`.

  Killed at any moment and called again, it goes on where it was: the files are the same
  to the byte, whatever the number of workers. They appear all at once.

  Args:
    source: as `opening.open_input` takes it.
    out: folder for data sets.
    options: what decides the records.
    workers: processes; 0 = one a core.
    runner: of Apache Beam, by its name there, in place of our processes. All machines
      must see the input and `out` under these names.
    beam: the runner's own options, as `--name=value`.
    restart: throw away an unfinished preparation with other options.
    overwrite: replace a finished data set that was made with other options.
    progress: called with the counts so far and the number of all photos.

  Raises:
    ValueError: the input cannot be used, or nothing of it gave a record.
    OSError: the output cannot be written.
  """
  destination = _shards.data_folder(out, options.name)
  do, write = _means(workers, runner, beam or ())
  listing = _listing(source, options)
  provider = make_provider(options)
  plan = _plan(listing, provider, options)
  place = destination.parent / ".preparing"
  if report := _made_before(destination, plan, overwrite):
    Workspace(place).remove()
    return report
  with workspace.opened(place, plan, restart=restart) as work:
    started = time.monotonic()
    units = _units(listing.entries, Splits(options.splits, options.person))
    done = _do_units(work, units, do, UnitWorker(source, options, work.path), progress)
    seconds = time.monotonic() - started
    summary = assembly.assemble(
      work,
      len(units),
      destination,
      about=_about(provider, options),
      plan=plan,
      extra=_refused(listing),
      template=provider.template,
      camera=Camera(),
      write=write,
    )
    work.remove()
  return Report(destination, summary, done, seconds)


def _refused(listing: Listing) -> list[Skipped]:
  return [Skipped(n, "refused member", r) for n, r in listing.refused.items()]


def _listing(source: str, options: Options) -> Listing:
  """The photos of an input, as many as are wanted; none is an error."""
  listing = opening.open_input(source, options).listing()
  if not listing.entries:
    raise InputError(
      f"input {source!r} holds no photos ({len(listing.refused)} refused, "
      f"{listing.ignored} files not called like photos)"
    )
  wanted = inputs.with_maps(listing.entries)[: options.limit or None]
  return dataclasses.replace(listing, entries=wanted)


def make_provider(options: Options) -> Provider:
  """The provider that the options name.

  Raises:
    ValueError: a file that it needs is missing or unfit.
  """
  camera = Camera()
  if options.provider == "synthetic":
    return SyntheticProvider(opening.painted_source(options.size, options.seed))
  if options.provider == "precomputed":
    if options.geometry is None:
      raise ValueError("provider 'precomputed' needs --geometry, a folder of results")
    return PrecomputedProvider(options.geometry, open_head("embedded").template, camera)
  if options.provider == "deep3d":
    return _deep3d(options, camera)
  from affjax.faces import fit_faces

  return EmbeddedProvider(open_head("embedded"), camera, fit_faces)


def preparer_of(source: str, options: Options) -> Preparer:
  """What turns units of an input into records."""
  rules = Rules(
    size=options.size,
    licence=options.licence,
    smallest=options.smallest_face,
    least_quality=options.least_quality,
    largest_only=options.largest_only,
    splits=Splits(options.splits, options.person),
  )
  photos, provider = opening.open_input(source, options), make_provider(options)
  return Preparer(photos, provider, rules, Camera())


def _means(workers: int, runner: str, beam: Sequence[str]) -> tuple[Do, Writer]:
  """What does the units and what writes the shards: our processes, or Beam."""
  if not runner:
    count = workers or os.cpu_count() or 1
    return functools.partial(pool.run, workers=count), assembly.write_shards
  from affjax.data import _builder

  _builder.require(runner)
  given = {"runner": runner, "options": beam}
  return (
    functools.partial(_builder.do_units, **given),
    functools.partial(_builder.write, **given),
  )


def _do_units(
  work: Workspace,
  units: Sequence[Unit],
  do: Do,
  worker: UnitWorker,
  progress: Callable[[Tally, int], None],
) -> int:
  """Does the units that are not done; returns how many photos those had."""
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
  for part in do(worker, missing) if missing else ():
    tally.merge(part)
    progress(tally, total)
  return total - before


def _plan(listing: Listing, provider: Provider, options: Options) -> dict[str, Any]:
  """What decides the records, as plain values."""
  plan: dict[str, Any] = dataclasses.asdict(options)
  for name in ("geometry", "model", "weights"):
    del plan[name]  # where they lie decides nothing; the provider's settings do
  return {
    **plan,
    "splits": list(options.splits),
    "version": _VERSION,
    "affjax": affjax.__version__,
    "photos": len(listing.entries),
    "input": listing.digest(),
    "ignored": listing.ignored,
    "unit": UNIT,
    "geometry": dict(provider.settings()),
  }


def _units(entries: Sequence[Entry], splits: Splits) -> list[Unit]:
  """Units of photos; all of a unit are of one split."""
  of_split: dict[str, list[Entry]] = {name: [] for name in SPLITS}
  for entry in entries:
    of_split[splits.of(entry.name)].append(entry)
  parts = [
    some[k : k + UNIT] for some in of_split.values() for k in range(0, len(some), UNIT)
  ]
  return list(enumerate(parts))


def _about(provider: Provider, options: Options) -> _shards.About:
  return _shards.About(
    template=provider.template.name,
    vertices=len(provider.template.vertices),
    size=options.size,
    map_size=options.size,
    provider=options.provider,
    affjax=affjax.__version__,
  )


def _made_before(
  destination: pathlib.Path, plan: Mapping[str, Any], overwrite: bool
) -> Report | None:
  """The finished data set, if that is what is wanted; None where there is none.

  Raises:
    ValueError: something else lies there that the user did not say may be replaced.
  """
  if not destination.exists():
    return None
  known = assembly.finished(destination)
  if known is not None and known.get("plan") == plan:
    return Report(destination, known, 0, 0.0)
  if not overwrite:
    raise ValueError(
      f"{str(destination)!r} exists and was made with other photos or options; choose "
      "another --name or folder, or add --overwrite"
    )
  if known is None:
    raise ValueError(f"{str(destination)!r} is no data set of affjax; not replaced")
  return None


def _deep3d(options: Options, camera: Camera) -> Provider:
  """Deep3D's network and the BFM that it speaks of, carried to our template."""
  if options.model is None or options.weights is None:
    raise ValueError(
      "provider 'deep3d' needs --model (BFM_model_front.mat) and --weights "
      "(epoch_20.pth)"
    )
  import jax
  import jax.numpy as jnp

  from affjax.heads import Retargeter
  from affjax.models import deep3d

  network, model = deep3d.load(options.weights), open_head(options.model)
  template, carry = None, None
  if options.template == "embedded":
    template = open_head("embedded").template
    carry = jax.jit(Retargeter(model.template, template).__call__)

  @jax.jit
  def coefficients(images):
    found = deep3d.predict(network, images)
    return found.identity, found.expression

  return Deep3DProvider(
    model,
    camera,
    regressor=lambda images: coefficients(jnp.asarray(images)),
    alignment=lambda px, head: deep3d.alignment(
      deep3d.five_points(px), deep3d.five_points(head)
    ),
    retarget=carry,
    template=template,
    files={
      "model_sha256": _sha256(options.model),
      "weights_sha256": _sha256(options.weights),
    },
  )


def _sha256(path: pathlib.Path) -> str:
  with path.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()


def options(given: Mapping[str, Any]) -> Options:
  """Options from the command line's words; others in `given` are not looked at.

  Raises:
    ValueError: one has no sense.
  """
  fields = {f.name: given[f.name] for f in dataclasses.fields(Options)}
  try:
    shares = tuple(float(share) for share in given["splits"].split(","))
  except ValueError:
    raise ValueError(
      f"--splits must be three numbers with commas, got {given['splits']!r}"
    ) from None
  return Options(**{**fields, "splits": shares})


def told(report: Report) -> list[str]:
  """What a user wants to read at the end."""
  summary = report.summary
  splits = ", ".join(f"{count} {name}" for name, count in summary["splits"].items())
  lines = [
    f"{summary['kept']} samples ({splits}) from {summary['photos']} photos: "
    f"{report.folder}",
    f"skipped: {assembly.told(summary)}",
  ]
  if report.photos:
    rate = report.photos / max(report.seconds, 1e-9)
    lines.append(f"{report.photos} photos in {report.seconds:.0f} s, {rate:.1f}/s")
  return [*lines, f"worst samples to look at: {report.folder / assembly.PAGE}"]
