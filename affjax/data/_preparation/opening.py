"""From what a user calls an input to the input."""

import functools
import pathlib
import re
import tarfile
import zipfile

from affjax.data import _shards
from affjax.data._preparation.archives import TarInput, ZipInput
from affjax.data._preparation.datasets import TfdsInput
from affjax.data._preparation.inputs import (
  FolderInput,
  Input,
  InputError,
  PaintedInput,
)
from affjax.data._preparation.options import Options
from affjax.data._providers.synthetic import RecentRecords
from affjax.data._synthetic.source import SyntheticFaces
from affjax.heads import open_head

_SYNTHETIC = re.compile(r"synthetic:(\d+)")


def open_input(source: str, options: Options) -> Input:
  """The photos that a user named.

  Args:
    source: a folder, a zip or tar archive, the folder of an installed TFDS data set,
      `tfds:NAME` for one where TFDS keeps them, or `synthetic:COUNT`.
    options: its provider and size decide what is painted.

  Raises:
    InputError: there is no such input.
  """
  painted = _SYNTHETIC.fullmatch(source)
  if bool(painted) != (options.provider == "synthetic"):
    raise InputError(
      "input synthetic:COUNT and provider 'synthetic' belong together, got "
      f"{source!r} and {options.provider!r}"
    )
  if painted:
    return PaintedInput(painted_source(options.size, options.seed), int(painted[1]))
  path = pathlib.Path(source)
  if source.startswith("tfds:"):
    return TfdsInput(_installed(source.removeprefix("tfds:")))
  if (path / _shards.INFO).is_file():
    return TfdsInput(path)
  if path.is_dir():
    return FolderInput(path)
  if not path.is_file():
    raise InputError(f"input {source!r}: no such folder or archive")
  if zipfile.is_zipfile(path):
    return ZipInput(path)
  try:
    if tarfile.is_tarfile(path):
      return TarInput(path)
  except (OSError, EOFError) as error:
    raise InputError(f"input {source!r} cannot be read: {error}") from error
  raise InputError(
    f"input {source!r} must be a folder, a zip or tar archive, or a TFDS data set; it "
    "is none, or damaged"
  )


def _installed(name: str) -> pathlib.Path:
  """Where TFDS keeps an installed data set."""
  import tensorflow_datasets as tfds

  try:
    return pathlib.Path(tfds.builder(name).data_dir)
  except Exception as error:
    line = " ".join(str(error).split())[:300]
    raise InputError(f"TFDS has no data set {name!r} installed: {line}") from error


@functools.lru_cache(maxsize=4)
def painted_source(size: int, seed: int) -> RecentRecords:
  """All photos of `synthetic:COUNT`; one object for input and provider."""
  faces = SyntheticFaces(open_head("embedded"), 1 << 40, size, seed=seed)
  return RecentRecords(faces)
