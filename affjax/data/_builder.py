"""Preparation on Apache Beam: units of photos, then a TFDS builder that writes shards.

Needs `pip install apache-beam`, and no TensorFlow. All machines must see the input and
the output folder under the same names. Units that are done stay beside the data set, so
that a pipeline that failed goes on where it was.
"""

import functools
import io
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from affjax.data import _record, _shards, _tf_example
from affjax.data._preparation.splits import NAMES
from affjax.data._preparation.workspace import Workspace
from affjax.data._shards import About

_IMAGES = ("image", "visible", "diffuse")


class BeamError(ValueError):
  """Apache Beam is missing or refuses; the message is one line for the user."""


class PreparedFaces(  # pyright: ignore[reportGeneralTypeIssues]
  tfds.core.BeamBasedBuilder,
  skip_registration=True,  # pyright: ignore[reportCallIssue]
):
  """A TFDS builder that writes the records of part files.

  Its shards hold the records in the order of a hash of their sources, as TFDS does it:
  the same for the same photos, whatever the runner.

  Args:
    work: folder of a workspace with all units done.
    lines: of `assembly.assemble`: the records that are wanted.
    about: what they share.
    name: of the data set.
    data_dir: folder for data sets.
  """

  VERSION = tfds.core.Version(_shards.VERSION)
  RELEASE_NOTES = {_shards.VERSION: "First."}  # noqa: RUF012 - as TFDS wants it

  def __init__(
    self,
    *,
    work: pathlib.Path,
    lines: Sequence[Mapping[str, Any]],
    about: About,
    name: str,
    data_dir: pathlib.Path,
  ):
    self._work, self._lines, self._about = work, lines, about
    self.name = name
    super().__init__(data_dir=data_dir, file_format="array_record")

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description="Aligned photos with the geometry of their heads.",
      features=_record.features(self._about.size, self._about.vertices),
      metadata=tfds.core.MetadataDict(vars(self._about)),
    )

  def _split_generators(self, dl_manager) -> dict[str, Any]:
    parts = {name: [] for name in NAMES}
    for unit, lines in itertools.groupby(self._lines, key=lambda line: line["unit"]):
      wanted = list(lines)
      sources = [line["source"] for line in wanted]
      parts[wanted[0]["split"]].append((unit, sources))
    return {name: self._generate_examples(some) for name, some in parts.items() if some}

  def _generate_examples(self, parts) -> Any:
    beam = _beam()
    return (
      beam.Create(parts)
      | beam.Reshuffle()
      | beam.FlatMap(functools.partial(_examples, work=self._work))
    )


def require(runner: str) -> None:
  """Nothing, where Beam is installed and knows the runner.

  Raises:
    BeamError: it is not, or does not.
  """
  _beam()
  _runner(runner)


def do_units(
  make: Callable[[], Callable[[Any], Any]],
  units: Sequence[Any],
  *,
  runner: str,
  options: Sequence[str],
) -> tuple[()]:
  """Runs a function over units as a Beam pipeline, and waits for it.

  Args:
    make: makes the function; called once where units are done, hence picklable. The
      function leaves its result where all can see it.
    units: arguments of the function.
    runner: as Beam names it, e.g. "DirectRunner".
    options: of the pipeline, as `--name=value`.

  Returns:
    Nothing to look at: what runs elsewhere tells in its own way how far it is.

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
  lines: Sequence[Mapping[str, Any]],
  building: pathlib.Path,
  about: About,
  *,
  runner: str,
  options: Sequence[str],
) -> dict[str, list[int]]:
  """Writes a data set by the TFDS builder.

  Args:
    work: has all units done.
    lines: the records that are wanted.
    building: `<folder>/<name>/<version>`, empty.
    about: what the records share.
    runner: as Beam names it.
    options: of the pipeline.

  Returns:
    For each split the numbers of records of its shards.
  """
  _beam()
  building.rmdir()
  builder = PreparedFaces(
    work=work.path,
    lines=lines,
    about=about,
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
  part: tuple[int, Sequence[str]], *, work: pathlib.Path
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Keys and examples of the wanted records of a unit."""
  unit, sources = part
  wanted = set(sources)
  for kept in Workspace(work).load(unit).kept:
    if kept.source in wanted:
      yield kept.source, _example(kept.content)


def _example(content: bytes) -> dict[str, Any]:
  """A record as TFDS's features take it; images stay the bytes that they are."""
  packed = _tf_example.unpack(content)
  fields = [name for name in _record.FIELDS if name not in _IMAGES]
  known = _record.decode(content, fields=tuple(fields))
  known["vertices"] = np.rint(known["vertices"] / _record.STEP_DM).astype(np.int16)
  images = {name: io.BytesIO(bytes(packed[name])) for name in _IMAGES}
  return {**known, **images}


def _do_fn(make: Callable[[], Callable[[Any], Any]]) -> Any:
  """Does units, with a function that is made once."""
  beam = _beam()

  class DoUnit(beam.DoFn):
    def setup(self):
      self._do = make()

    def process(self, element):
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
