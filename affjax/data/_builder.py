"""Preparation on Apache Beam: units of photos, then a TFDS builder that writes shards.

Needs `pip install 'affjax[beam]'` and no TensorFlow. All machines must see the input
and the output folder under the same names. Finished units stay beside the data set, so
that a pipeline that failed continues where it stopped.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from affjax.data import _record, _shards, _train_extra
from affjax.data._preparation.assembly import IndexLine
from affjax.data._preparation.splits import NAMES
from affjax.data._preparation.workspace import Workspace
from affjax.data._shards import DatasetFacts

with _train_extra.needed_for("preparing on Apache Beam"):
  import tensorflow_datasets as tfds

# The number of a unit, and the sources of its records.
_Part = tuple[int, Sequence[str]]


class BeamError(ValueError):
  """Apache Beam is missing or unusable; the message is one line for the user."""


class PreparedFaces(  # pyright: ignore[reportGeneralTypeIssues]
  tfds.core.BeamBasedBuilder,
  skip_registration=True,  # pyright: ignore[reportCallIssue]
):
  """A TFDS builder that writes the records of part files.

  TFDS orders records by a hash of their sources: shards are the same for the same
  photos, whatever the runner.

  Args:
    work: Folder of a workspace in which all units are done.
    lines: Records to write.
    facts: Properties that all records share.
    name: Name of the data set.
    data_dir: Folder for data sets.
  """

  VERSION = tfds.core.Version(_shards.VERSION)
  RELEASE_NOTES = {_shards.VERSION: "First version."}  # noqa: RUF012 - TFDS requires it

  def __init__(
    self,
    *,
    work: pathlib.Path,
    lines: Sequence[IndexLine],
    facts: DatasetFacts,
    name: str,
    data_dir: pathlib.Path,
  ):
    self._work, self._lines, self._facts = work, lines, facts
    self.name = name
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="Aligned photos with the geometry of their heads.",
      features=_record.features(self._facts.size, self._facts.vertices),
      metadata=tfds.core.MetadataDict(vars(self._facts)),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    parts: dict[str, list[_Part]] = {name: [] for name in NAMES}
    for unit, lines in itertools.groupby(self._lines, key=lambda line: line.unit):
      wanted = list(lines)
      parts[wanted[0].split].append((unit, [line.source for line in wanted]))
    return {name: self._generate_examples(some) for name, some in parts.items() if some}

  def _generate_examples(self, parts: Sequence[_Part]) -> Any:
    beam = _beam()
    return (
      beam.Create(parts)
      | beam.Reshuffle()
      | beam.FlatMap(functools.partial(_examples, work=self._work))
    )


def require(runner: str) -> None:
  """Raises an error unless Beam is installed and knows the runner.

  Raises:
    BeamError: Beam is not installed, or knows no such runner.
  """
  _beam()
  _runner(runner)


def run_units(
  make: Callable[[], Callable[[Any], Any]],
  units: Sequence[Any],
  *,
  runner: str,
  options: Sequence[str],
) -> tuple[()]:
  """Runs a function over units as a Beam pipeline, and waits for it.

  Args:
    make: Picklable function that makes the function; called once in each Beam worker.
      The function stores its result where all machines can read it.
    units: Arguments of the function.
    runner: Beam's name of the runner, e.g. "DirectRunner".
    options: Options of the pipeline, as `--name=value`.

  Returns:
    No counts: Beam reports the progress in its own way.

  Raises:
    BeamError: Beam is not installed, or knows no such runner.
  """
  beam = _beam()
  doing = beam.ParDo(_do_fn(make))
  with beam.Pipeline(runner=_runner(runner), options=_options(options)) as pipeline:
    _ = pipeline | beam.Create(list(units)) | beam.Reshuffle() | doing
  return ()


def write(
  work: Workspace,
  lines: Sequence[IndexLine],
  building: pathlib.Path,
  facts: DatasetFacts,
  *,
  runner: str,
  options: Sequence[str],
) -> dict[str, list[int]]:
  """Writes a data set with the TFDS builder.

  Args:
    work: Workspace in which all units are done.
    lines: Records to write.
    building: Empty folder `<folder>/<name>/<version>`.
    facts: Properties that all records share.
    runner: Beam's name of the runner.
    options: Options of the pipeline, as `--name=value`.

  Returns:
    The number of records in each shard of each split.
  """
  _beam()
  building.rmdir()
  builder = PreparedFaces(
    work=work.path,
    lines=lines,
    facts=facts,
    name=building.parent.name,
    data_dir=building.parents[1],
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(
      beam_runner=_runner(runner), beam_options=_options(options)
    )
  )
  return {
    name: list(split.shard_lengths or ()) for name, split in builder.info.splits.items()
  }


def _examples(
  part: _Part, *, work: pathlib.Path
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields keys and examples of the wanted records of a unit."""
  unit, sources = part
  wanted = set(sources)
  for kept in Workspace(work).load(unit).kept:
    if kept.source in wanted:
      yield kept.source, _record.tfds_example(kept.content)


def _do_fn(make: Callable[[], Callable[[Any], Any]]) -> Any:
  """Returns a Beam function that processes units by a function made once."""
  beam = _beam()

  class DoUnit(beam.DoFn):
    def setup(self) -> None:
      self._do = make()

    def process(self, element: Any) -> None:
      self._do(element)

  return DoUnit()


def _runner(name: str) -> Any:
  from apache_beam import runners  # pyright: ignore[reportMissingImports]

  try:
    return runners.create_runner(name)
  except (ValueError, ImportError, AttributeError) as error:
    raise BeamError(f"Apache Beam knows no runner {name!r}: {error}") from error


def _options(options: Sequence[str]) -> Any:
  from apache_beam.options import pipeline_options  # pyright: ignore

  return pipeline_options.PipelineOptions(list(options))


def _beam() -> Any:
  try:
    import apache_beam  # pyright: ignore[reportMissingImports]
  except ImportError as error:
    raise BeamError("--runner needs Apache Beam: pip install 'affjax[beam]'") from error
  return apache_beam
