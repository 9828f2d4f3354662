"""Opens the input that a user named."""

import pathlib
import re
import tarfile
import zipfile

from affjax.data import _shards
from affjax.data._preparation.archives import TarInput, ZipInput
from affjax.data._preparation.datasets import TfdsInput, installed_folder
from affjax.data._preparation.inputs import (
  FolderInput,
  Input,
  InputError,
  PaintedInput,
)
from affjax.data._preparation.options import PrepareOptions
from affjax.data._providers.synthetic import painted_faces

_SYNTHETIC = re.compile(r"synthetic:(\d+)")


def open_input(source: str, options: PrepareOptions) -> Input:
  """Returns the photos that a user named.

  Args:
    source: A folder, a zip or tar archive, the folder of an installed TFDS data set,
      `tfds:NAME` for one where TFDS keeps them, or `synthetic:COUNT`.
    options: Options; provider, template, size and seed determine synthetic photos.

  Raises:
    InputError: There is no such input.
  """
  painted = _SYNTHETIC.fullmatch(source)
  if bool(painted) != (options.provider == "synthetic"):
    raise InputError(
      "input synthetic:COUNT and provider 'synthetic' belong together, got "
      f"{source!r} and {options.provider!r}"
    )
  if painted:
    faces = painted_faces(options.template, options.size, options.seed)
    return PaintedInput(faces, int(painted[1]))
  path = pathlib.Path(source)
  if source.startswith("tfds:"):
    return TfdsInput(installed_folder(source.removeprefix("tfds:")))
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
